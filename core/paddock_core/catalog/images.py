"""The images that serve models on GPUs: the packaged table `images.yaml`, and the pins that a platform adds."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec
import yaml

from paddock_core.catalog.loader import CatalogError

LAST_WITH_ENGINES: Final = "26.07"
"""The last release whose TensorRT-LLM loads compiled engines (see docs/engines.md)."""
TENSORRT_ENGINE: Final = "TensorRTEngine"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image. Without a digest it may be another one tomorrow."""

    repository: str
    tag: str
    digest: str | None = None

    def __str__(self) -> str:
        named = f"{self.repository}:{self.tag}"
        return named if self.digest is None else f"{named}@{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """A row of the table."""

    release: str
    """Year and month, as NVIDIA counts."""
    engines: tuple[str, ...]
    tensorrt_llm: str
    tensorrt: str
    cuda: str
    driver: str
    """Least NVIDIA driver of a node that runs it."""
    python: str
    base: Reference
    """NVIDIA's image."""
    serving: Reference
    """What runs in pods: the base with this package in it."""

    @property
    def id(self) -> str:
        return f"trtllm-{self.release}"

    @property
    def pinned(self) -> bool:
        """True if what runs in pods cannot change unnoticed."""
        return self.serving.digest is not None


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What a platform says of one row: where its copy of the serving image is, and both digests. None: as the table."""

    repository: str | None = None
    tag: str | None = None
    digest: str | None = None
    base_digest: str | None = None


def load_images(data: bytes) -> tuple[EngineImage, ...]:
    """The table from its file, newest first. Raises CatalogError where it cannot be used."""
    document = yaml.load(data, Loader=yaml.CSafeLoader)
    try:
        images = [_row(row, base=document["base"], serving=document["serving"]) for row in document["images"]]
    except (KeyError, TypeError) as error:
        raise CatalogError(f"images.yaml: a row lacks {error}") from error
    if len({image.id for image in images}) != len(images):
        raise CatalogError("images.yaml: a release is there twice")
    for image in images:
        _check(image)
    return tuple(sorted(images, key=lambda image: image.release, reverse=True))


@cache
def packaged_images() -> tuple[EngineImage, ...]:
    """The table that ships with Paddock."""
    return load_images((resources.files(__package__) / "images.yaml").read_bytes())


def with_pins(images: Iterable[EngineImage], pins: Mapping[str, Pin]) -> tuple[EngineImage, ...]:
    """The table as this platform has it. Raises CatalogError for a row that is not there, or a digest that is none."""
    rows = tuple(images)
    unknown = sorted(set(pins) - {image.id for image in rows})
    if unknown:
        raise CatalogError(f"no image {', '.join(unknown)}: `paddock images` lists them")
    pinned = tuple(_pinned(image, pins.get(image.id, Pin())) for image in rows)
    for image in pinned:
        _check(image)
    return pinned


def image_for(engine: str, images: Iterable[EngineImage]) -> EngineImage | None:
    """The image that an engine runs in: the newest pinned one that carries it, else the newest; None for an engine that
    the table does not have, which runs in the platform's general serving image."""
    carrying = [image for image in images if engine in image.engines]
    return max(carrying, key=lambda image: (image.pinned, image.release), default=None)


def _row(row: Mapping[str, Any], *, base: Mapping[str, str], serving: Mapping[str, str]) -> EngineImage:
    release = row["release"]
    return EngineImage(
        release=release,
        engines=tuple(row["engines"]),
        tensorrt_llm=row["tensorrt_llm"],
        tensorrt=row["tensorrt"],
        cuda=row["cuda"],
        driver=row["driver"],
        python=row["python"],
        base=Reference(repository=base["repository"], tag=release + base["suffix"], digest=row["base_digest"]),
        serving=Reference(repository=serving["repository"], tag=release, digest=row["serving_digest"]),
    )


def _pinned(image: EngineImage, pin: Pin) -> EngineImage:
    serving = image.serving
    moved = replace(serving, repository=pin.repository or serving.repository, tag=pin.tag or serving.tag)
    same = moved == serving
    return replace(
        image,
        # A digest of the table is that of the table's place, not of another one.
        serving=replace(moved, digest=pin.digest or (serving.digest if same else None)),
        base=replace(image.base, digest=pin.base_digest or image.base.digest),
    )


def _check(image: EngineImage) -> None:
    for reference in (image.base, image.serving):
        if reference.digest is not None and not _DIGEST.fullmatch(reference.digest):
            raise CatalogError(f"{image.id}: {reference.digest!r} is no digest: sha256: and 64 hex digits")
    if TENSORRT_ENGINE in image.engines and image.release > LAST_WITH_ENGINES:
        raise CatalogError(f"{image.id}: no release after {LAST_WITH_ENGINES} loads compiled engines")
