"""What a person with a keyboard, a screen reader, poor sight or a narrow window meets, asked of the real browser."""

from itertools import pairwise
from typing import Any

import pytest

pytestmark = pytest.mark.postgres

PUBLIC = ("/console/", "/console/models", "/console/licenses/llama3.1")
CONTROLS = {"textbox", "checkbox", "radio", "button", "link"}
COLOURS = """() => {
    const solid = colour => !/, 0\\)$|transparent/.test(colour);
    const found = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        const element = node.parentElement;
        if (!node.textContent.trim() || !element.getClientRects().length) continue;
        let behind = element;
        while (behind && !solid(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
        const style = getComputedStyle(element);
        found.push([node.textContent.trim().slice(0, 40), style.color,
            behind ? getComputedStyle(behind).backgroundColor : 'none', parseFloat(style.fontSize)]);
    }
    for (const control of document.querySelectorAll('input[type=text], input[type=email], textarea'))
        found.push([control.id, getComputedStyle(control).color, getComputedStyle(control).backgroundColor, 16]);
    return found;
}"""
EDGES = """() => [...document.querySelectorAll('input[type=text], input[type=email], textarea')].map(control => [
    control.id, getComputedStyle(control).borderTopColor, getComputedStyle(control.closest('fieldset')).backgroundColor
])"""


def opened(page: Any, plane: Any, tenant: str, *, role: str = "deployer") -> None:
    page.goto(plane.link(tenant, role=role))
    page.get_by_role("button").click()
    page.get_by_role("heading", name="Questions").wait_for()


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2."""
    channels = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio, WCAG 2."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def tree(page: Any) -> list[dict[str, Any]]:
    """The accessibility tree as the browser tells it to a screen reader."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    return [node for node in nodes if not node["ignored"]]


def value(node: dict[str, Any], name: str) -> str:
    return str(node.get(name, {}).get("value", ""))


def test_contrast_is_the_ratio_of_the_guidelines() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_both_schemes(scheme: str, plane: Any, tenant: str, window: Any) -> None:
    with window(color_scheme=scheme) as page:
        opened(page, plane, tenant)
        page.get_by_role("button", name="Sign for").click()
        page.locator("#summary").wait_for()
        seen = page.evaluate(COLOURS)
        edges = page.evaluate(EDGES)
        page.locator("#band-gt_700m").check()
        page.locator("#affiliates_included").check()
        page.locator("#agree").check()
        for field in ("method", "title", "authority"):
            page.locator(f"#{field}").fill("x")
        page.locator("#jurisdiction").fill("US")
        page.locator("#signature").fill("Ada Moreno")
        page.get_by_role("button", name="Sign for").click()
        page.get_by_role("heading", name="What was agreed").wait_for()
        seen += page.evaluate(COLOURS)
        for path in PUBLIC:
            page.goto(plane.url + path)
            seen += page.evaluate(COLOURS)
        backgrounds = {behind for _, _, behind, _ in seen}
        poor = [(text, ink, behind) for text, ink, behind, _ in seen if contrast(ink, behind) < 4.5]
    assert len(seen) > 200
    assert poor == []
    assert min(size for _, _, _, size in seen) >= 11
    assert [(name, edge) for name, edge, behind in edges if contrast(edge, behind) < 3] == []
    assert (luminance(max(backgrounds, key=luminance)) > 0.5) == (scheme == "light")


@pytest.mark.parametrize("role", ["deployer", "consumer"])
def test_every_control_has_a_name_and_the_page_its_landmarks(role: str, plane: Any, tenant: str, page: Any) -> None:
    opened(page, plane, tenant, role=role)
    nodes = tree(page)
    controls = [node for node in nodes if value(node, "role") in CONTROLS]
    assert len([node for node in controls if value(node, "role") != "link"]) >= 8
    assert [node for node in controls if not value(node, "name")] == []
    roles = [value(node, "role") for node in nodes]
    for landmark in ("banner", "main", "contentinfo", "navigation", "form"):
        assert landmark in roles
    assert roles.count("main") == 1
    assert len([node for node in nodes if value(node, "role") == "group" and value(node, "name")]) >= 2
    assert page.locator("html").get_attribute("lang") == "en"
    names = [value(node, "name") for node in controls if value(node, "role") == "checkbox"]
    assert any("agrees to the Paddock Demonstration License as " + role in name for name in names)


def test_headings_are_in_steps(plane: Any, tenant: str, page: Any) -> None:
    opened(page, plane, tenant)
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(item => +item.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_tabulator_follows_the_page_and_each_stop_is_seen(plane: Any, tenant: str, page: Any) -> None:
    opened(page, plane, tenant)
    stops, tops = [], []
    for _ in range(60):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "(({id, textContent}, outline, box) => [id || textContent.trim().slice(0, 30), outline, box.top + scrollY])"
            "(document.activeElement, getComputedStyle(document.activeElement).outlineStyle,"
            " document.activeElement.getBoundingClientRect())"
        )
        if where[0] in stops or where[0] == "" or "BODY" in where[0]:
            break
        stops.append(where[0])
        tops.append(where[2])
        assert where[1] != "none", where
        if where[0].startswith("Sign for"):
            break
    assert stops[0] == "Skip to the content"
    ours = [stop for stop in stops if stop in ("band-le_700m", "value", "method", "affiliates", "name", "signature")]
    assert ours == ["band-le_700m", "value", "method", "affiliates", "name", "signature"]
    assert tops[1:] == sorted(tops[1:])


def test_the_skip_link_leads_to_the_content(plane: Any, page: Any) -> None:
    page.goto(f"{plane.url}/console/models")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("width", [320, 390])
def test_a_narrow_window_needs_no_scrolling_sideways(width: int, plane: Any, tenant: str, window: Any) -> None:
    with window(viewport={"width": width, "height": 700}) as page:
        opened(page, plane, tenant)
        page.get_by_role("button", name="Sign for").click()
        page.locator("#summary").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for path in PUBLIC:
            page.goto(plane.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
