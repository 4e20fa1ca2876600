"""Which image does an engine run in, and may it?"""

from paddock_core.catalog.images import image_for
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds

from paddock_operator.decide.outcome import Config

_ADVICE = "the platform team looks it up with `paddock images pin`"


def image_of(config: Config, engine: str) -> str:
    """What pods with this engine run in: the table's image, else the platform's general one."""
    image = image_for(engine, config.images)
    return config.serving_image if image is None else str(image.serving)


def judge(config: Config, engine: str) -> Finding | None:
    """The condition ImageAccepted; None for an engine that runs in the platform's general image."""
    image = image_for(engine, config.images)
    if image is None:
        return None
    kind = ConditionType.IMAGE_ACCEPTED
    if image.pinned:
        text = f"{image.id}, with TensorRT-LLM {image.tensorrt_llm}: {image.serving}"
        return holds(kind, ConditionReason.IMAGE_PINNED, text)
    text = f"the digest of {image.serving} ({image.id}) is not known, so it may be another image tomorrow: {_ADVICE}"
    if config.allow_unpinned_images:
        return holds(kind, ConditionReason.IMAGE_NOT_PINNED, f"{text}; the platform allows it for now")
    return fails(kind, ConditionReason.IMAGE_NOT_PINNED, text)
