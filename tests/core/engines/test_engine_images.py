"""The table of images: what it may say, which image an engine gets, what a platform's pins change."""

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.images import (
    LAST_WITH_ENGINES,
    EngineImage,
    Pin,
    image_for,
    load_images,
    packaged_images,
    with_pins,
)
from paddock_core.catalog.loader import CatalogError
from paddock_core.planning.types import Engine

DIGEST = "sha256:" + "a" * 64
RELEASES = [image.release for image in packaged_images()]


def document(**changes: object) -> bytes:
    row = {
        "release": "26.07",
        "engines": ["LLMAPI"],
        "tensorrt_llm": "1.2.1",
        "tensorrt": "10.14.1.48",
        "cuda": "13.1",
        "driver": "590.44.01",
        "python": "3.12",
        "base_digest": None,
        "serving_digest": None,
    }
    base = {"repository": "registry.example/base", "suffix": "-py3"}
    rows = [row | changes]
    return yaml.safe_dump({"base": base, "serving": {"repository": "registry.example/ours"}, "images": rows}).encode()


def test_no_digest_of_the_packaged_table_is_invented() -> None:
    """Nobody has asked the registry yet: whoever does replaces this test by one that says when and how."""
    assert {(image.base.digest, image.serving.digest) for image in packaged_images()} == {(None, None)}


def test_every_engine_of_the_table_is_one_that_the_planner_knows() -> None:
    assert {name for image in packaged_images() for name in image.engines} <= {engine.value for engine in Engine}


def test_the_newest_image_that_carries_the_engine_is_taken() -> None:
    chosen = image_for("LLMAPI", packaged_images())
    assert chosen is not None
    assert chosen.release == max(RELEASES)
    engines = image_for("TensorRTEngine", packaged_images())
    assert engines is not None
    assert engines.release == LAST_WITH_ENGINES
    assert image_for("LlamaCpp", packaged_images()) is None


def test_compiled_engines_stay_on_the_last_release_that_loads_them() -> None:
    newest = replace(packaged_images()[0], release="27.01", engines=("LLMAPI",))
    images = (newest, *packaged_images())
    assert image_for("LLMAPI", images) == newest
    assert (image_for("TensorRTEngine", images) or newest).release == LAST_WITH_ENGINES
    with pytest.raises(CatalogError, match="no release after"):
        load_images(document(release="26.08", engines=["TensorRTEngine"]))


@given(st.sampled_from(RELEASES))
def test_a_pinned_image_goes_before_a_newer_one_that_is_not(release: str) -> None:
    images = with_pins(packaged_images(), {f"trtllm-{release}": Pin(digest=DIGEST)})
    chosen = image_for("LLMAPI", images)
    assert chosen is not None
    assert (chosen.release, chosen.pinned) == (release, True)
    assert str(chosen.serving).endswith(f":{release}@{DIGEST}")


def test_a_pin_moves_the_serving_image_and_leaves_the_rest() -> None:
    before = packaged_images()[0]
    pin = Pin(repository="registry.example/llm", tag="7", digest=DIGEST, base_digest="sha256:" + "b" * 64)
    after = with_pins(packaged_images(), {before.id: pin})[0]
    assert str(after.serving) == f"registry.example/llm:7@{DIGEST}"
    assert after.base == replace(before.base, digest=pin.base_digest)
    assert replace(after, serving=before.serving, base=before.base) == before


def test_a_digest_of_the_table_does_not_travel_to_another_place() -> None:
    images = load_images(document(serving_digest=DIGEST))
    moved = with_pins(images, {"trtllm-26.07": Pin(repository="registry.example/other")})
    assert not moved[0].pinned
    assert with_pins(images, {})[0].pinned


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"serving_digest": "latest"}, "is no digest"), ({"base_digest": "sha256:12"}, "is no digest")],
)
def test_what_is_no_digest_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        load_images(document(**changes))


def test_rows_are_complete_and_releases_unique() -> None:
    row = yaml.safe_load(document())
    row["images"] *= 2
    with pytest.raises(CatalogError, match="twice"):
        load_images(yaml.safe_dump(row).encode())
    del row["images"][0]["cuda"]
    with pytest.raises(CatalogError, match="cuda"):
        load_images(yaml.safe_dump(row).encode())


def test_a_pin_of_no_row_is_refused() -> None:
    with pytest.raises(CatalogError, match="no image trtllm-1"):
        with_pins(packaged_images(), {"trtllm-1": Pin(digest=DIGEST)})


def test_images_are_listed_newest_first() -> None:
    images: tuple[EngineImage, ...] = packaged_images()
    assert [image.release for image in images] == sorted(RELEASES, reverse=True)
