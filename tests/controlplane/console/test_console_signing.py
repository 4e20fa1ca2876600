"""A signatory in a real browser, JavaScript off: reads, answers, errs, signs, keeps the receipt."""

import io
import re
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from pypdf import PdfReader

pytestmark = pytest.mark.postgres

DEMO = Path(__file__).parents[3] / "examples" / "licenses" / "paddock-demo"
TYPED = {
    "method": "distinct accounts <b>per month</b> & region",
    "title": "Director of Legal",
    "authority": "managing director",
    "jurisdiction": "us",
    "signature": "Ada Moreno",
}
FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"


def open_link(page: Any, link: str) -> None:
    page.goto(link)
    page.get_by_role("button", name="Read what is to be signed").click()
    page.get_by_role("heading", name="Questions").wait_for()


def answer(page: Any, *, band: str = "le_700m", **typed: str) -> None:
    """Answer everything that a deployer is asked."""
    page.locator(f"#band-{band}").check()
    page.locator("#affiliates_included").check()
    page.locator("#agree").check()
    for field, text in {**TYPED, **typed}.items():
        page.locator(f"#{field}").fill(text)


def sign(page: Any) -> None:
    page.get_by_role("button", name="Sign for Acme Inc.").click()


def heading(page: Any) -> str:
    return str(page.locator("h1").inner_text())


def test_by_keyboard_alone(plane: Any, tenant: str, page: Any) -> None:
    def tab_to(target: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(FOCUSED) == target:
                return
        raise AssertionError(f"no way to {target} with the tabulator")

    page.goto(plane.link(tenant))
    tab_to("Read what is to be signed")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Questions").wait_for()
    tab_to("band-le_700m")
    page.keyboard.press("Space")
    for field in ("method", "affiliates_included", "title", "authority", "jurisdiction", "agree", "signature"):
        tab_to(field)
        if field in TYPED:
            page.keyboard.type(TYPED[field])
        else:
            page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="What was agreed").wait_for()
    [accepted] = plane.acceptances(tenant)
    receipt = plane("GET", f"/v1/license-acceptances/{accepted['id']}/receipt", by=tenant, status=200)
    assert receipt["users"]["method"] == TYPED["method"]
    assert (receipt["jurisdiction"], receipt["person"]["title"]) == ("US", TYPED["title"])


def test_what_is_shown_is_what_was_imported(plane: Any, tenant: str, page: Any) -> None:
    open_link(page, plane.link(tenant))
    shown = page.locator(".text").all_text_contents()
    assert shown == [(DEMO / "LICENSE").read_text(), (DEMO / "USE_POLICY.md").read_text()]
    license_view = plane("GET", "/v1/licenses/paddock-demo", status=200)
    text = page.locator("main").inner_text()
    for duty in license_view["duties"]:
        assert duty["text"] in text
    for pin in license_view["license"]["texts"]:
        assert pin["canonical"] in text
        assert pin["raw"][0] in text


def test_the_receipt_proves_it_and_prints(plane: Any, tenant: str, page: Any) -> None:
    open_link(page, plane.link(tenant))
    answer(page)
    sign(page)
    page.get_by_role("heading", name="What was agreed").wait_for()
    [accepted] = plane.acceptances(tenant)
    receipt = plane("GET", f"/v1/license-acceptances/{accepted['id']}/receipt", status=200)
    text = page.locator("main").inner_text()
    words = [receipt["id"], receipt["audit_digest"], TYPED["method"], "Ada Moreno", "At most 700,000,000"]
    words += [digest for found in receipt["digests"].values() for digest in found.values()]
    for word in words:
        assert word in text
    pdf = page.pdf(format="A4")
    printed = "".join("".join(sheet.extract_text().split()) for sheet in PdfReader(io.BytesIO(pdf)).pages)
    for word in words:
        assert "".join(word.split()) in printed
    assert "endthissession" not in printed
    page.reload()
    assert receipt["id"] in page.locator("main").inner_text()
    page.goto(f"{plane.url}/console/sign")
    assert page.url.endswith("/console/sign/receipt")
    page.get_by_role("button", name="end this session").click()
    page.goto(f"{plane.url}/console/sign/receipt")
    assert "needs the link" in heading(page)


def test_errors_stand_beside_their_fields_and_nothing_is_lost(plane: Any, tenant: str, page: Any) -> None:
    open_link(page, plane.link(tenant))
    page.locator("#band-gt_700m").check()
    typed = {
        "value": "many",
        "method": '"quoted" <i>method</i>',
        "affiliates": "Acme EU\nAcme Labs",
        "name": "Ada  Moreno",
        "authority": "",
        "email": "somebody@else.example",
        "jurisdiction": "USA",
        "signature": "Ada M.",
    }
    for field, text in typed.items():
        page.locator(f"#{field}").fill(text)
    sign(page)
    page.locator("#summary").wait_for()
    assert page.title().startswith("Error: ")
    assert page.evaluate("document.activeElement.id") == "summary"
    told = page.locator("#summary a")
    wrong = ["value", "affiliates_included", "title", "authority", "jurisdiction", "agree", "signature"]
    assert [link.get_attribute("href") for link in told.all()] == [f"#{field}" for field in wrong]
    for field in wrong:
        described = page.locator(f"#{field}").get_attribute("aria-describedby") or ""
        assert f"{field}-error" in described.split()
        assert page.locator(f"#{field}").get_attribute("aria-invalid") == "true"
        assert page.locator(f"#{field}-error").is_visible()
    for field, text in typed.items():
        assert page.locator(f"#{field}").input_value() == text
    assert page.locator("#band-gt_700m").is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "value"
    assert plane.acceptances(tenant) == []
    answer(page, value="700,000,001")
    page.locator("#name").fill("Ada Moreno")
    sign(page)
    page.locator("#summary").wait_for()
    assert "above the threshold" in page.locator("#value-error").inner_text()
    assert "issued to another address" in page.locator("#email-error").inner_text()
    answer(page, value="699,999,999", email="ADA@acme.example")
    sign(page)
    page.get_by_role("heading", name="What was agreed").wait_for()
    [accepted] = plane.acceptances(tenant)
    receipt = plane("GET", f"/v1/license-acceptances/{accepted['id']}/receipt", status=200)
    assert receipt["users"]["affiliates"] == ["Acme EU", "Acme Labs"]
    assert receipt["users"]["value"] == 699_999_999


def test_above_the_threshold_it_waits_and_says_for_what(plane: Any, tenant: str, page: Any) -> None:
    open_link(page, plane.link(tenant))
    answer(page, band="gt_700m")
    sign(page)
    page.get_by_role("heading", name="waiting for the licensor").wait_for()
    text = page.locator("main").inner_text()
    assert "paddock license grant add" in text
    assert "evaluation included" in text
    assert [item["state"] for item in plane.acceptances(tenant)] == ["pending_grant"]


def test_a_consumer_promises_the_terms(plane: Any, tenant: str, page: Any) -> None:
    open_link(page, plane.link(tenant, role="consumer"))
    assert page.locator("#band-le_700m").count() == 0
    page.locator("#agree").check()
    for field in ("title", "authority", "jurisdiction", "signature"):
        page.locator(f"#{field}").fill(TYPED[field])
    sign(page)
    page.locator("#summary").wait_for()
    assert page.locator("#summary a").get_attribute("href") == "#flow_down-yes"
    page.locator("#flow_down-yes").check()
    sign(page)
    page.get_by_role("heading", name="What was agreed").wait_for()
    assert "Promised" in page.locator("main").inner_text()
    assert [item["flow_down"] for item in plane.acceptances(tenant)] == [True]


def test_a_link_opens_in_one_browser_and_is_nothing_afterwards(plane: Any, tenant: str, window: Any) -> None:
    link = plane.link(tenant)
    token = link.rpartition("/")[2]
    for method in ("GET", "HEAD", "GET"):
        httpx.request(method, link, timeout=300)  # programs that look at mail
    with window() as first, window() as second:
        open_link(first, link)
        assert token not in first.url
        assert token not in first.content()
        assert first.evaluate("document.referrer") == ""
        assert first.evaluate("document.cookie") == ""
        plane("GET", "/v1/license-offers/current", by=token, status=401)
        plane.execute("UPDATE signatory_credentials SET opened_at = opened_at - interval '2 minutes'")
        second.goto(link)
        second.get_by_role("button").click()
        assert "was opened before" in heading(second)
        assert "paddock license link" in second.locator("main").inner_text()
        first.goto(link)
        first.get_by_role("button").click()
        first.get_by_role("heading", name="Questions").wait_for()
    assert "/console/sign/***" in plane.log.read_text()
    assert token[20:] not in plane.log.read_text()


def test_a_newer_link_ends_the_one_that_is_open(plane: Any, tenant: str, page: Any) -> None:
    body = {"entity": tenant, "license": "paddock-demo", "role": "deployer"}
    offer = plane("POST", "/v1/license-offers", body, status=201)["offer"]
    person = {"name": "Ada Moreno", "email": "ada@acme.example"}
    links = [
        plane("POST", f"/v1/license-offers/{offer}/signatory-link", person, by=tenant, status=201)["link"]
        for _ in range(2)
    ]
    page.goto(links[0])
    page.get_by_role("button").click()
    assert "newer link" in heading(page).lower()
    open_link(page, links[1])


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("UPDATE offers SET expires_at = now() WHERE entity = '{tenant}'", "no longer valid"),
        ("UPDATE offers SET digests = '{{}}' WHERE entity = '{tenant}'", "no longer valid"),
        ("UPDATE signatory_credentials SET opened_at = now() - interval '2 hours'", "needs the link"),
        ("UPDATE signatory_credentials SET revoked_at = now() WHERE entity = '{tenant}'", "newer link"),
    ],
)
def test_what_was_typed_survives_an_offer_that_ended(how: str, told: str, plane: Any, tenant: str, page: Any) -> None:
    open_link(page, plane.link(tenant))
    answer(page)
    plane.execute(how.format(tenant=tenant))
    sign(page)
    page.get_by_role("heading", name="What you had typed").wait_for()
    assert told in heading(page).lower()
    assert TYPED["method"] in page.locator("main").inner_text()
    assert "What to do next" in page.locator("main").inner_text()
    assert plane.acceptances(tenant) == []


def test_an_ended_license_is_told_before_anything_is_typed(plane: Any, tenant: str, page: Any) -> None:
    links = [plane.link(tenant) for _ in range(2)]
    open_link(page, links[0])
    answer(page)
    sign(page)
    page.get_by_role("heading", name="What was agreed").wait_for()
    [accepted] = plane.acceptances(tenant)
    plane("POST", f"/v1/license-acceptances/{accepted['id']}/suspend", {"reason": "a test"}, status=200)
    page.goto(links[1])
    page.get_by_role("button").click()
    assert "suspended or terminated" in heading(page)
    assert "What to do next" in page.locator("main").inner_text()


def test_two_presses_of_a_button_sign_once(plane: Any, tenant: str, page: Any) -> None:
    link = plane.link(tenant)
    page.goto(link)
    page.get_by_role("button").dblclick(no_wait_after=True)
    page.get_by_role("heading", name="Questions").wait_for()
    answer(page)
    page.get_by_role("button", name="Sign for").dblclick(no_wait_after=True)
    page.get_by_role("heading", name="What was agreed").wait_for()
    assert len(plane.acceptances(tenant)) == 1


def test_public_pages_lead_to_each_other(plane: Any, page: Any) -> None:
    page.goto(f"{plane.url}/console")
    assert page.url.endswith("/console/")
    page.get_by_role("link", name="Llama 3.1 Community License Agreement").click()
    assert "Built with Llama" in page.locator("main").inner_text()
    page.get_by_role("navigation").get_by_role("link", name="Models and attribution").click()
    notices = page.locator(".notice").all_inner_texts()
    assert any(re.search(r"Llama 3\.1 is licensed under", notice) for notice in notices)
    page.goto(f"{plane.url}/console/{uuid.uuid4().hex}")
    assert "no such thing" in heading(page).lower()
