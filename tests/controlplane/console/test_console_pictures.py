"""The pictures of the documentation, taken anew each time so that they can be: of the form, its errors, the receipt.

PADDOCK_PICTURES=docs/pictures .paddock/venv/bin/pytest tests/controlplane/console/test_console_pictures.py
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


def fill(page: Any, plane: Any, tenant: str) -> None:
    """Everything but the last box."""
    page.goto(plane.link(tenant))
    page.get_by_role("button", name="Read what is to be signed").click()
    page.get_by_label("At most 700,000,000").check()
    page.get_by_label("affiliates are counted").check()
    for field, text in ANSWERS.items():
        page.locator(f"#{field}").fill(text)


def test_the_form_its_errors_and_the_receipt(folder: Path, plane: Any, tenant: str, window: Any) -> None:
    with window(viewport={"width": 1000, "height": 1000}) as page:
        fill(page, plane, tenant)
        page.screenshot(path=folder / "console-form.png", full_page=True)
        page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        page.screenshot(path=folder / "console-top.png")
        page.locator("#method").fill("")
        page.get_by_role("button", name="Sign for").click()
        page.locator("#summary").wait_for()
        page.set_viewport_size({"width": 1000, "height": 640})
        page.screenshot(path=folder / "console-errors.png")
        page.locator("#method").fill(ANSWERS["method"])
        page.get_by_label("agrees to the").check()
        page.get_by_role("button", name="Sign for").click()
        page.get_by_role("heading", name="What was agreed").wait_for()
        page.screenshot(path=folder / "console-receipt.png", full_page=True)
        page.goto(f"{plane.url}/console/models")
        page.locator("#group4").scroll_into_view_if_needed()
        page.screenshot(path=folder / "console-models.png")
    _all_there(folder, "form", "top", "errors", "receipt", "models")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("narrow", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "reduced_motion": "reduce"}),
        ("dark", {"viewport": {"width": 1000, "height": 900}, "color_scheme": "dark", "reduced_motion": "reduce"}),
    ],
)
def test_a_phone_and_a_dark_screen(
    name: str, options: dict[str, Any], folder: Path, plane: Any, tenant: str, window: Any
) -> None:
    with window(**options) as page:
        fill(page, plane, tenant)
        page.get_by_role("link", name="Questions").click()
        page.screenshot(path=folder / f"console-{name}.png")
    _all_there(folder, name)


def _all_there(folder: Path, *names: str) -> None:
    for name in names:
        picture = (folder / f"console-{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 10_000
