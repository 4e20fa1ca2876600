"""The ways in which one model is made from another, and what each means for its registration and its service."""

from dataclasses import dataclass

from paddock_core.licensing.types import Verb


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """One way of making a model."""

    verb: Verb
    """What its maker exercises of the base's license."""
    whole: bool = True
    """False for what is only a part: it is nothing without its base's weights beside it."""
    taught: bool = False
    """True where it cannot be made without a teacher, so that at least one must be named."""
    merged: bool = False
    """True where it has several parents, so that the others beside its base must be named."""


MODEL_KINDS: dict[str, ModelKind] = {
    "fine_tune": ModelKind(verb=Verb.FINE_TUNE),
    "adapter": ModelKind(verb=Verb.REGISTER_ADAPTER, whole=False),
    "merge": ModelKind(verb=Verb.FINE_TUNE, merged=True),
    "quantization": ModelKind(verb=Verb.FINE_TUNE),
    "distillation": ModelKind(verb=Verb.DISTILL, taught=True),
}
