"""The pictures of the documentation, taken anew each time so that they can be: of the form, its errors, the receipt.

PADDOCK_PICTURES=docs/images .paddock/venv/bin/pytest tests/controlplane/console/test_console_pictures.py
"""

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.postgres

ANSWERS = {
    "value": "1,250,000",
    "method": "Distinct accounts in product analytics, all regions",
    "title": "Director of Legal",
    "authority": "Managing director, commercial register HRB 1234",
    "jurisdiction": "US",
    "signature": "Ada Moreno",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures go: into the documentation where that is asked for."""
    wished = os.environ.get("PADDOCK_PICTURES")
    return Path(wished) if wished else tmp_path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wide", {"viewport": {"width": 1000, "height": 800}}),
        ("narrow", {"viewport": {"width": 390, "height": 800}, "device_scale_factor": 2}),
        ("dark", {"viewport": {"width": 1000, "height": 800}, "color_scheme": "dark"}),
    ],
)
def test_the_page_is_pictured(
    name: str, options: dict[str, Any], folder: Path, plane: Any, tenant: str, window: Any
) -> None:
    with window(**options) as page:
        page.goto(plane.link(tenant))
        page.get_by_role("button", name="Read what is to be signed").click()
        page.get_by_label("At most 700,000,000").check()
        page.get_by_label("affiliates are counted").check()
        for field, text in ANSWERS.items():
            page.locator(f"#{field}").fill(text)
        page.screenshot(path=folder / f"console-form-{name}.png", full_page=True)
        page.get_by_role("button", name="Sign for").click()
        page.locator("#summary").wait_for()
        page.screenshot(path=folder / f"console-error-{name}.png")
        page.get_by_label("agrees to the").check()
        page.get_by_role("button", name="Sign for").click()
        page.get_by_role("heading", name="What was agreed").wait_for()
        page.screenshot(path=folder / f"console-receipt-{name}.png", full_page=True)
        page.goto(f"{plane.url}/console/models")
        page.screenshot(path=folder / f"console-models-{name}.png")
    taken = sorted(folder.glob(f"console-*-{name}.png"))
    assert len(taken) == 4
    assert all(picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size > 10_000 for picture in taken)
