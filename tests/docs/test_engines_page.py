"""docs/engines.md shows the table of images as it is; PADDOCK_RENEW_DOCS=1 writes it."""

import os
from pathlib import Path

from paddock_core.catalog.images import packaged_images

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
BEGIN, END = "<!-- generated -->\n", "<!-- end -->\n"


def table() -> str:
    rows = [
        "| image | engines | base image | TensorRT-LLM | TensorRT | CUDA | least driver |",
        "|---|---|---|---|---|---|---|",
    ]
    for image in packaged_images():
        base = f"`{image.base.repository}:{image.base.tag}`"
        cells = (
            f"`{image.id}`",
            ", ".join(image.engines),
            base,
            image.tensorrt_llm,
            image.tensorrt,
            image.cuda,
            image.driver,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}{table()}{END}{after}"
    if os.environ.get("PADDOCK_RENEW_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted


def test_every_reason_of_engines_and_images_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    reasons = ("Building", "BuildFailed", "EngineIncompatible", "EngineUnsupported", "EngineReady", "ImageNotPinned")
    assert [reason for reason in reasons if f"`{reason}`" not in text] == []
