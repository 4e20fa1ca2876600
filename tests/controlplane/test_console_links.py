"""Links of signatories and receipts, over the API: who gets one, what the next does to the last, what is recorded."""

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.postgres

MODEL = "smollm2-135m-instruct"
ADA = {"name": "Ada Moreno", "email": "ada@a.example", "delivered_by": "in person"}
SIGNED = {
    "person": {"name": "Ada Moreno", "title": "Director", "email": "Ada@A.example", "authority": "sole director"},
    "jurisdiction": "US",
    "agree": True,
    "monthly_active_users": {
        "band": "le_700m",
        "month": "2026-10",
        "method": "analytics",
        "affiliates_included": True,
        "value": 1234567,
    },
}


async def offered(api: Any, entity: str = "acme", *, by: str = "platform", **other: Any) -> Any:
    body = {"entity": entity, "model": MODEL, "role": "deployer", **other}
    return await api("POST", "/v1/license-offers", body, by=by, status=201)


def link_of(offer: Any) -> str:
    return f"/v1/license-offers/{offer['offer']}/signatory-link"


async def audited(api: Any, *actions: str) -> list[Any]:
    entries = (await api("GET", "/v1/audit?limit=1000", status=200))["items"]
    return [entry for entry in entries if entry["action"] in actions]


async def test_the_platform_offers_and_the_entity_issues_the_link(licensed: Any) -> None:
    offer = await offered(licensed)
    assert (offer["signatory_token"], offer["link"]) == (None, None)
    assert f"paddock license link {offer['offer']}" in offer["next"]
    refused = await licensed("POST", link_of(offer), ADA, by="platform", status=403)
    assert refused["code"] == "TenantAdminRequired"
    made = await licensed("POST", link_of(offer), ADA, by="acme", status=201)
    assert made["link"].endswith(f"/console/sign/{made['signatory_token']}")
    assert made["expires_at"] < offer["expires_at"]
    await licensed("POST", "/v1/license-acceptances", SIGNED, by=made["signatory_token"], status=201)
    used = await licensed("POST", link_of(offer), ADA, by="acme", status=409)
    assert used["code"] == "OfferUsed"


async def test_a_platform_that_names_a_signatory_still_gets_no_link(licensed: Any) -> None:
    offer = await offered(licensed, signatory={"name": "Ada", "email": "ada@a.example"})
    assert offer["signatory_token"] is None
    assert "ps_" not in str(offer)


@pytest.mark.parametrize("who", ["globex", "affiliate"])
async def test_neither_another_tenant_nor_an_affiliate_gets_a_link(who: str, licensed: Any) -> None:
    await licensed.tenant("affiliate", affiliates=["acme"])
    offer = await offered(licensed)
    problem = await licensed("POST", link_of(offer), ADA, by=who, status=404)
    assert problem["code"] == "OfferUnknown"


async def test_the_platform_issues_links_of_its_own_entity(licensed: Any) -> None:
    offer = await offered(licensed, "platform-inc", signatory={"name": "Olga", "email": "o@p.example"})
    assert offer["link"] is not None
    second = await licensed("POST", link_of(offer), ADA, by="platform", status=201)
    assert second["signatory_token"] != offer["signatory_token"]


async def test_an_offer_with_a_link_names_somebody(licensed: Any) -> None:
    body = {"entity": "acme", "model": MODEL, "role": "deployer"}
    assert (await licensed("POST", "/v1/license-offers", body, by="acme", status=422))["code"] == "SignatoryMissing"


async def test_a_second_link_ends_the_first_and_both_are_audited(licensed: Any) -> None:
    offer = await offered(licensed)
    first = (await licensed("POST", link_of(offer), ADA, by="acme", status=201))["signatory_token"]
    second = (await licensed("POST", link_of(offer), ADA, by="acme", status=201))["signatory_token"]
    for method, path, body in (
        ("GET", "/v1/license-offers/current", None),
        ("POST", "/v1/license-acceptances", SIGNED),
    ):
        assert (await licensed(method, path, body, by=first, status=409))["code"] == "LinkReplaced"
    await licensed("POST", "/v1/license-acceptances", SIGNED, by=second, status=201)
    entries = await audited(licensed, "license.link", "license.link.revoke")
    mine = [entry for entry in entries if entry["entity"] == "acme"]
    assert [entry["action"] for entry in mine] == ["license.link", "license.link.revoke", "license.link"]
    assert {entry["actor"] for entry in mine} == {"tenant:acme"}
    assert "in person" not in str(mine)
    assert "Ada" not in str(entries)
    assert len(mine[0]["commitments"]) > 64


async def test_a_link_that_is_replaced_while_it_is_used_leaves_one_acceptance_or_none(licensed: Any) -> None:
    for _ in range(5):
        offer = await offered(licensed, by="acme", signatory={"name": ADA["name"], "email": ADA["email"]})
        accept = licensed("POST", "/v1/license-acceptances", SIGNED, by=offer["signatory_token"])
        accepted, linked = await asyncio.gather(accept, licensed("POST", link_of(offer), ADA, by="acme"))
        assert (accepted.status_code, linked.status_code) in {(201, 409), (409, 201)}


async def test_only_the_person_whom_the_link_was_issued_to_signs(licensed: Any) -> None:
    offer = await offered(licensed, by="acme", signatory={"name": "Bo", "email": "bo@a.example"})
    problem = await licensed("POST", "/v1/license-acceptances", SIGNED, by=offer["signatory_token"], status=422)
    assert (problem["code"], problem["errors"][0]["at"]) == ("AnswerMissing", "person.email")


async def test_a_waiting_offer_ends_too(licensed: Any, server: Any, database: str) -> None:
    offer = await offered(licensed)
    connection = await server.connect(database)
    await connection.execute("UPDATE offers SET expires_at = now()")
    await connection.close()
    assert (await licensed("POST", link_of(offer), ADA, by="acme", status=409))["code"] == "OfferStale"


async def test_a_receipt_is_read_again_by_the_platform_and_the_entity_alone(licensed: Any) -> None:
    offer = await offered(licensed)
    token = (await licensed("POST", link_of(offer), ADA, by="acme", status=201))["signatory_token"]
    accepted = await licensed("POST", "/v1/license-acceptances", SIGNED, by=token, status=201)
    path = f"/v1/license-acceptances/{accepted['id']}/receipt"
    for who in ("platform", "acme"):
        shown = await licensed("GET", path, by=who, status=200)
        assert {key: shown[key] for key in accepted} == accepted
        assert shown["person"]["authority"] == "sole director"
        assert shown["users"]["value"] == 1234567
        assert (shown["link"]["issued_to"], shown["link"]["delivered_by"]) == ("Ada Moreno", "in person")
    assert (await licensed("GET", path, by="globex", status=404))["code"] == "AcceptanceUnknown"
    assert (await licensed("GET", path, by=token)).status_code == 403
    entry = (await licensed("GET", f"/v1/audit?after={accepted['audit_seq'] - 1}&limit=1", status=200))["items"][0]
    assert (entry["digest"], entry["subject"]) == (accepted["audit_digest"], accepted["id"])


async def test_a_receipt_is_one_file_where_html_is_asked_for(licensed: Any) -> None:
    accepted = await licensed.accept("acme", "deployer")
    path = f"/v1/license-acceptances/{accepted['id']}/receipt"
    page = await licensed("GET", path, headers={"accept": "text/html, application/json;q=0.5"})
    assert page.headers["content-type"].startswith("text/html")
    assert "sha256-" in page.headers["content-security-policy"]
    for digest in (accepted["audit_digest"], *(found["raw"] for found in accepted["digests"].values())):
        assert digest in page.text
    assert "<style>" in page.text
    assert "/console/" not in page.text
    for accept in ("application/json, text/html;q=0.9", "*/*", "text/html;q=no"):
        plain = await licensed("GET", path, headers={"accept": accept})
        assert plain.headers["content-type"] == "application/json"


async def test_a_receipt_outlives_the_signatorys_data(licensed: Any) -> None:
    accepted = await licensed.accept("acme", "deployer")
    await licensed("POST", f"/v1/license-acceptances/{accepted['id']}/erase", status=200)
    path = f"/v1/license-acceptances/{accepted['id']}/receipt"
    shown = await licensed("GET", path, by="acme", status=200)
    assert (shown["person"], shown["link"]["issued_to"]) == (None, "")
    assert shown["audit_digest"] == accepted["audit_digest"]
    page = await licensed("GET", path, headers={"accept": "text/html"})
    assert "Personal data was erased" in page.text
    assert "jo@a.example" not in page.text
