"""Vendor grants, corrected statements, ends of acceptances, and the platform's own policy."""

from datetime import UTC, datetime
from typing import Any

import pytest
from paddock_controlplane.catalog.routes import Notice, notice_of
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.models import service
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.types import Decision, Reason
from paddock_core.policy.documents import RegisteredModel

pytestmark = pytest.mark.postgres

MODEL = "smollm2-135m-instruct"
FAR = 4_000_000_000.0
GRANT = {
    "entity": "acme",
    "licenses": ["paddock-demo"],
    "valid_from": 1_700_000_000.0,
    "valid_to": FAR,
    "grantor": "the licensor",
    "reference": "letter of 1 October 2026",
    "document_sha256": "d" * 64,
    "assurance": "document",
}
ADA = {"name": "Ada Lovelace", "email": "ada@platform.example"}
BOB = {"name": "Bob Kahn", "email": "bob@platform.example"}


async def reviewer(api: Any, person: dict[str, str]) -> str:
    """The token of a reviewer, issued once a test."""
    if person["email"] not in api.tokens:
        made = await api("POST", "/v1/license-reviewers", person, status=201)
        api.tokens[person["email"]] = made["reviewer_token"]
    return person["email"]


async def grant(api: Any, **other: Any) -> dict[str, Any]:
    """A grant that two people reviewed."""
    made: dict[str, Any] = await api("POST", "/v1/license-grants", {**GRANT, **other}, status=201)
    for person in (ADA, BOB):
        by = await reviewer(api, person)
        made = await api("POST", f"/v1/license-grants/{made['id']}/reviews", by=by, status=201)
    return made


async def step(api: Any, acceptance: str, name: str, **other: Any) -> Any:
    return await api("POST", f"/v1/license-acceptances/{acceptance}/{name}", {"reason": "a test"}, **other)


async def actions(api: Any) -> list[str]:
    entries = (await api("GET", "/v1/audit?limit=1000", status=200))["items"]
    return [entry["action"] for entry in entries if entry["action"].startswith("license.")]


async def test_a_waiting_acceptance_becomes_active_with_the_second_review(licensed: Any) -> None:
    receipt = await licensed.accept("acme", "deployer", band="gt_700m")
    made = await licensed("POST", "/v1/license-grants", GRANT, status=201)
    path = f"/v1/license-grants/{made['id']}/reviews"
    assert (made["state"], made["reviews"]) == ("pending_review", 0)
    ada, bob = await reviewer(licensed, ADA), await reviewer(licensed, BOB)
    assert (await licensed("POST", path, by=ada, status=201))["state"] == "pending_review"
    assert (await licensed.check("acme", "deployer"))["reason"] == "ThresholdGrantRequired"
    assert (await licensed("POST", path, by=ada, status=409))["code"] == "ReviewTwice"
    await licensed("POST", path, by="platform", status=403)
    assert (await licensed("POST", path, by=bob, status=201))["state"] == "active"
    decision = await licensed.check("acme", "deployer")
    assert (decision["allowed"], decision["valid_until"]) == (True, FAR)
    listed = await licensed("GET", "/v1/license-acceptances?entity=acme", status=200)
    assert {item["id"]: item["state"] for item in listed["items"]} == {receipt["id"]: "active"}
    assert (await licensed("POST", path, by=ada, status=422))["code"] == "GrantUnusable"
    withdrawn = await licensed("POST", f"/v1/license-grants/{made['id']}/withdraw", {"reason": "ended"}, status=200)
    assert withdrawn["state"] == "withdrawn"
    assert (await licensed.check("acme", "deployer"))["reason"] == "ThresholdGrantRequired"
    assert [name for name in await actions(licensed) if "grant" in name] == [
        "license.grant",
        "license.grant_review",
        "license.grant_review",
        "license.grant_withdraw",
    ]


async def test_one_person_is_one_reviewer_whatever_tokens_they_have(licensed: Any) -> None:
    ada = await reviewer(licensed, ADA)
    again = {**ADA, "email": ADA["email"].upper()}
    assert (await licensed("POST", "/v1/license-reviewers", again, status=409))["code"] == "ReviewerExists"
    other = {"name": "ADA LOVELACE", "email": "ada@elsewhere.example"}
    twin = await reviewer(licensed, other)
    made = await licensed("POST", "/v1/license-grants", GRANT, status=201)
    path = f"/v1/license-grants/{made['id']}/reviews"
    await licensed("POST", path, by=ada, status=201)
    assert (await licensed("POST", path, by=twin, status=409))["code"] == "ReviewTwice"
    listed = (await licensed("GET", "/v1/license-reviewers", status=200))["items"]
    await licensed("GET", "/v1/license-reviewers", by=ada, status=403)
    assert [item["id"] for item in (await licensed("GET", "/v1/license-grants", by=ada, status=200))["items"]] == [
        made["id"]
    ]
    own = next(item["id"] for item in listed if item["email"] == other["email"])
    await licensed("DELETE", f"/v1/license-reviewers/{own}", status=204)
    await licensed("POST", path, by=twin, status=401)
    entries = (await licensed("GET", "/v1/audit?limit=1000", status=200))["items"]
    assert [entry["action"] for entry in entries if entry["action"].startswith("reviewer.")] == [
        "reviewer.add",
        "reviewer.add",
        "reviewer.end",
    ]
    assert "ovelace" not in str(entries)


async def test_an_affiliate_sees_that_a_grant_covers_it_and_nothing_of_the_agreement(licensed: Any) -> None:
    made = await grant(licensed, entity="globex", affiliates=["acme", "somebody-else"])
    for path in ("/v1/license-grants", "/v1/license-grants?entity=acme"):
        (seen,) = (await licensed("GET", path, by="acme", status=200))["items"]
        assert (seen["id"], seen["entity"], seen["state"], seen["reviews"]) == (made["id"], "globex", "active", 2)
        assert seen["affiliates"] == ["acme"]
        assert (seen["reference"], seen["document_sha256"], seen["recorded_by"]) == ("", "", "")
    (own,) = (await licensed("GET", "/v1/license-grants", by="globex", status=200))["items"]
    assert own["affiliates"] == ["acme", "somebody-else"]
    assert own["reference"] == GRANT["reference"]


async def test_a_correction_leaves_roles_alone_that_the_threshold_does_not_bind(licensed: Any) -> None:
    """The demonstration license asks consumers for the terms of use alone."""
    await licensed.accept("acme", "deployer")
    consumer = await licensed.accept("acme", "consumer")
    body = {"entity": "acme", "license": "paddock-demo", "band": "gt_700m", "method": "recount", "reason": "an error"}
    await licensed("POST", "/v1/license-statements", body, status=201)
    listed = (await licensed("GET", "/v1/license-acceptances?entity=acme", status=200))["items"]
    assert {item["role"]: item["state"] for item in listed} == {"deployer": "pending_grant", "consumer": "active"}
    assert (await licensed.check("acme", "consumer"))["allowed"]
    await step(licensed, consumer["id"], "suspend", status=200)
    assert (await step(licensed, consumer["id"], "reinstate", status=200))["state"] == "active"


async def test_a_correction_is_no_younger_than_what_it_corrects(licensed: Any, server: Any, database: str) -> None:
    users = {"band": "le_700m", "month": "2026-10", "method": "count", "affiliates_included": True, "current": 5}
    await licensed("PUT", "/v1/license-policy", {"threshold": "conservative"}, status=200)
    await licensed.accept("acme", "deployer", monthly_active_users=users)
    connection = await server.connect(database)
    await connection.execute("UPDATE statements SET at = at - 360 * 86400 WHERE entity = 'acme'")
    await connection.close()
    body = {"entity": "acme", "license": "paddock-demo", "band": "gt_700m", "method": "recount", "reason": "an error"}
    await licensed("POST", "/v1/license-statements", body, status=201)
    await licensed("POST", "/v1/license-statements", {**body, "method": "again"}, status=201)
    statements = list((await licensed.state.view.get()).statements.values())
    oldest = min(item.at for item in statements if item.entity == "acme")
    corrections = [item for item in statements if item.entity == "acme" and item.stated_at is not None]
    assert len(corrections) == 2
    assert [round(item.stated_at - oldest) for item in corrections] == [-360 * 86400] * 2


async def test_an_acceptance_under_a_grant_is_active_at_once_and_affiliates_share_it(licensed: Any) -> None:
    await grant(licensed, entity="globex", affiliates=["acme"])
    assert (await licensed.accept("acme", "deployer", band="gt_700m"))["state"] == "active"
    assert (await licensed.check("acme", "deployer"))["allowed"]


async def test_reviewers_stay_out_of_the_audit_log(licensed: Any) -> None:
    await grant(licensed)
    entries = (await licensed("GET", "/v1/audit?limit=1000", status=200))["items"]
    reviews = [entry for entry in entries if entry["action"] == "license.grant_review"]
    assert all(len(entry["commitments"]) > 64 for entry in reviews)
    assert not any("Lovelace" in str(entry) or "ada@" in str(entry) for entry in entries)


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({"valid_to": 1.0}, 422, "GrantUnusable"),
        ({"models": ["llama-3.1-8b-instruct"]}, 422, "GrantUnusable"),
        ({"models": ["nothing"]}, 404, "ModelUnknown"),
        ({"licenses": ["nothing"]}, 404, "LicenseUnknown"),
        ({"licenses": []}, 422, "Invalid"),
        ({"entity": "nobody"}, 404, "EntityUnknown"),
        ({"document_sha256": "short"}, 422, "Invalid"),
        ({"assurance": "hearsay"}, 422, "Invalid"),
    ],
)
async def test_a_grant_that_cannot_be_is_refused(values: dict[str, Any], status: int, code: str, licensed: Any) -> None:
    assert (await licensed("POST", "/v1/license-grants", {**GRANT, **values}, status=status))["code"] == code


async def test_grants_are_the_platforms_to_record_and_the_entitys_to_see(licensed: Any) -> None:
    made = await grant(licensed)
    await licensed("POST", "/v1/license-grants", GRANT, by="acme", status=403)
    await licensed("POST", f"/v1/license-grants/{made['id']}/reviews", by="acme", status=403)
    assert [item["id"] for item in (await licensed("GET", "/v1/license-grants", by="acme", status=200))["items"]] == [
        made["id"]
    ]
    assert (await licensed("GET", "/v1/license-grants", by="globex", status=200))["items"] == []
    await licensed("GET", "/v1/license-grants?entity=acme", by="globex", status=403)


async def test_a_statement_is_corrected_towards_more_and_never_towards_fewer(licensed: Any) -> None:
    await licensed.accept("acme", "deployer")
    body = {"entity": "acme", "license": "paddock-demo", "band": "gt_700m", "method": "recount", "reason": "an error"}
    fewer = {**body, "band": "le_700m"}
    assert (await licensed("POST", "/v1/license-statements", fewer, status=403))["code"] == "SignatoryRequired"
    await licensed("POST", "/v1/license-statements", body, by="globex", status=403)
    made = await licensed("POST", "/v1/license-statements", {**body, "value": 800_000_000}, by="acme", status=201)
    assert (await licensed.check("acme", "deployer"))["reason"] == "ThresholdGrantRequired"
    listed = await licensed("GET", "/v1/license-statements?entity=acme", by="acme", status=200)
    assert made["corrects"] in {item["id"] for item in listed["items"]}
    await licensed.accept("acme", "deployer")
    # The month that counts does not change any more: what was once stated above stands until a grant covers it.
    assert (await licensed.check("acme", "deployer"))["reason"] == "ThresholdGrantRequired"
    nothing = {**body, "entity": "globex"}
    assert (await licensed("POST", "/v1/license-statements", nothing, status=404))["code"] == "StatementUnknown"


async def test_suspended_and_back(licensed: Any) -> None:
    receipt = await licensed.accept("acme", "deployer")
    assert (await step(licensed, receipt["id"], "suspend", status=200))["state"] == "suspended"
    assert (await licensed.check("acme", "deployer"))["reason"] == "Suspended"
    assert (await step(licensed, receipt["id"], "revoke", status=409))["code"] == "AcceptanceEnded"
    assert (await step(licensed, receipt["id"], "reinstate", status=200))["state"] == "active"
    assert (await licensed.check("acme", "deployer"))["allowed"]
    for name in ("suspend", "terminate", "reinstate"):
        await step(licensed, receipt["id"], name, by="acme", status=403)


async def test_a_reinstated_acceptance_above_the_threshold_still_waits(licensed: Any) -> None:
    receipt = await licensed.accept("acme", "deployer", band="gt_700m")
    await step(licensed, receipt["id"], "suspend", status=200)
    assert (await step(licensed, receipt["id"], "reinstate", status=200))["state"] == "pending_grant"


async def test_terminated_and_lifted_the_entity_accepts_again(licensed: Any) -> None:
    receipt = await licensed.accept("acme", "deployer")
    await licensed.accept("acme", "consumer")
    assert (await step(licensed, receipt["id"], "terminate", status=200))["state"] == "terminated"
    assert (await licensed.check("acme", "consumer"))["reason"] == "Terminated"
    assert (await step(licensed, receipt["id"], "reinstate", status=200))["state"] == "revoked"
    for role in ("deployer", "consumer"):
        assert (await licensed.check("acme", role))["reason"] == "AcceptanceMissing"
    await licensed.accept("acme", "deployer")
    assert (await licensed.check("acme", "deployer"))["allowed"]
    assert "license.terminate" in await actions(licensed)


@pytest.mark.parametrize("ended", ["suspend", "terminate"])
async def test_an_offer_from_before_the_end_is_not_accepted_after_it(ended: str, licensed: Any) -> None:
    receipt = await licensed.accept("acme", "deployer")
    offer = await licensed.offer("acme", "deployer")
    await step(licensed, receipt["id"], ended, status=200)
    person = {"name": "Jo Doe", "title": "Director", "email": "jo@a.example", "authority": "sole director"}
    users = {"band": "le_700m", "month": "2026-10", "method": "count", "affiliates_included": True}
    answers = {"person": person, "jurisdiction": "US", "agree": True, "monthly_active_users": users}
    path, token = "/v1/license-acceptances", offer["signatory_token"]
    assert (await licensed("POST", path, answers, by=token, status=409))["code"] == "LicenseEnded"


async def test_the_platform_may_be_more_careful_than_the_licenses(licensed: Any) -> None:
    await licensed.accept("acme", "deployer")
    assert (await licensed("GET", "/v1/license-policy", by="acme", status=200))["threshold"] == "literal"
    await licensed("PUT", "/v1/license-policy", {"threshold": "conservative"}, by="acme", status=403)
    await licensed("PUT", "/v1/license-policy", {"threshold": "conservative"}, status=200)
    decision = await licensed.check("acme", "deployer")
    assert decision["allowed"]
    assert decision["valid_until"] is not None
    users = {"band": "le_700m", "month": "2026-10", "method": "count", "affiliates_included": True}
    offer = await licensed.offer("acme", "deployer", by="acme")
    assert "last full month" in str(offer["questions"])
    path, token = "/v1/license-acceptances", offer["signatory_token"]
    person = {"name": "Jo Doe", "title": "Director", "email": "jo@a.example", "authority": "sole director"}
    answers = {"person": person, "jurisdiction": "US", "agree": True, "monthly_active_users": users}
    assert (await licensed("POST", path, answers, by=token, status=422))["code"] == "AnswerMissing"
    await licensed.accept("acme", "deployer", monthly_active_users={**users, "current": 900_000_000})
    assert (await licensed.check("acme", "deployer"))["reason"] == "ThresholdGrantRequired"
    await licensed("PUT", "/v1/license-policy", {}, status=200)
    assert (await licensed.check("acme", "deployer"))["allowed"]


async def test_a_domicile_is_kept_and_the_licensor_follows_the_place(licensed: Any) -> None:
    await licensed.tenant("swiss", principal_place_of_business="CH", domicile="FR")
    assert (await licensed("GET", "/v1/entities/swiss", status=200))["domicile"] == "FR"
    offer = await licensed.offer("swiss", "deployer")
    assert offer["licensor"] == "the operator of the platform (demonstration)"


async def test_the_report_says_who_accepted_what_and_who_was_served(licensed: Any, server: Any, database: str) -> None:
    first = await licensed.accept("acme", "deployer")
    second = await licensed.accept("acme", "deployer")
    # The month in which the second was accepted: the first ended in it, even if that was a moment after midnight.
    now = datetime.fromtimestamp(second["at"], UTC)
    month = f"{now:%Y-%m}"
    made = await grant(licensed)
    connection = await server.connect(database)
    await connection.execute(
        "INSERT INTO usage_hour VALUES ('acme', $1, $2, 'acme-prod/chat', 'k', 3, 40, 50, 0),"
        " ('acme', $1, 'llama-3.1-8b-instruct', 'acme-prod/other', 'k', 9, 9, 9, 0)",
        now,
        MODEL,
    )
    await connection.close()
    path = f"/v1/license-report?license=paddock-demo&month={month}"
    report = await licensed("GET", path, status=200)
    states = {item["id"]: item["state"] for item in report["acceptances"] if item["entity"] == "acme"}
    assert states == {first["id"]: "superseded", second["id"]: "active"}
    assert {item["signatory"] for item in report["acceptances"]} == {"Jo Doe, Director"}
    assert [(item["deployment"], item["requests"]) for item in report["served"]] == [("acme-prod/chat", 3)]
    assert [item["id"] for item in report["grants"]] == [made["id"]]
    assert report["expires_next"] == [{"what": "grant", "id": made["id"], "entity": "acme", "at": FAR}]
    assert report["attribution"] == ["Built with the Paddock demonstration model"]
    earlier = await licensed("GET", "/v1/license-report?license=paddock-demo&month=2025-12", status=200)
    assert (earlier["acceptances"], earlier["served"]) == ([], [])
    await licensed("GET", "/v1/license-report?license=none&month=2025-12", status=404)
    await licensed("GET", "/v1/license-report?license=paddock-demo&month=2025-13", status=422)


def test_a_teachers_license_shows_only_what_follows_outputs() -> None:
    bloom = packaged_catalog().licenses["bigscience-bloom-rail-1.0"]
    llama = packaged_catalog().licenses["llama3.1"]
    assert notice_of(bloom, source="outputs").attribution == ("This text was generated by a machine.",)
    assert notice_of(llama, source="outputs") == Notice(
        license="llama3.1", title=llama.title, notice=None, attribution=()
    )
    assert notice_of(llama).attribution == ("Built with Llama",)
    assert notice_of(llama).notice == llama.notice


async def test_the_notice_of_a_model_has_its_teachers_texts_that_follow_outputs(licensed: Any) -> None:
    student = RegisteredModel(id="student", base=MODEL, teachers=("bloom-176b",), published=True)
    allowed = Decision(allowed=True, reason=Reason.ALLOWED, message="for the test", clauses=())
    judged = service.Judged(model=student, decision=allowed, licenses=())
    await licensed.state.database.run(
        EVERYTHING, lambda session: service.register(session, judged=judged, managed_by=service.API, actor="test")
    )
    found = (await licensed("GET", "/v1/models/student/notice", status=200))["notices"]
    assert [(item["license"], item["attribution"]) for item in found] == [
        ("paddock-demo", ["Built with the Paddock demonstration model"]),
        ("bigscience-bloom-rail-1.0", ["This text was generated by a machine."]),
    ]


@pytest.mark.parametrize("name", sorted(packaged_catalog().models))
async def test_the_notice_of_every_model_is_that_of_its_licenses(name: str, api: Any) -> None:
    licenses = packaged_catalog().licenses
    found = (await api("GET", f"/v1/models/{name}/notice", status=200))["notices"]
    assert [item["license"] for item in found] == list(packaged_catalog().models[name].licenses)
    for item in found:
        assert item["notice"] == licenses[item["license"]].notice
        assert item["attribution"] == NOTICES[item["license"]]


NOTICES = {
    "llama1": [],
    "llama2": [],
    "llama3": ["Built with Meta Llama 3"],
    "llama3.1": ["Built with Llama"],
    "llama3.2": ["Built with Llama"],
    "llama3.3": ["Built with Llama"],
    "llama4": ["Built with Llama"],
    "bigscience-bloom-rail-1.0": ["This text was generated by a machine."],
    "apache-2.0": [],
    "paddock-demo": ["Built with the Paddock demonstration model"],
}


async def test_forbidden_uses_are_shown_in_our_own_words(api: Any) -> None:
    bloom = await api("GET", "/v1/licenses/bigscience-bloom-rail-1.0", status=200)
    assert [item["id"] for item in bloom["restrictions"]] == [f"R{number}" for number in range(1, 14)]
    llama = await api("GET", "/v1/licenses/llama3.1", status=200)
    assert len(llama["restrictions"]) == 20


async def test_the_report_counts_what_was_made_and_names_ends_of_grace(
    licensed: Any, server: Any, database: str
) -> None:
    first = await licensed.accept("acme", "deployer")
    made = {"id": "demo-acme", "base": MODEL, "public_name": "Demo-Acme"}
    await licensed("POST", "/v1/models", made, by="acme", status=201)
    connection = await server.connect(database)
    now = datetime.fromtimestamp(first["at"], UTC)
    served = "INSERT INTO usage_hour VALUES ('acme', $1, 'demo-acme', 'acme-prod/own', 'k', 3, 40, 50, 0)"
    await connection.execute(served, now)
    await connection.execute("UPDATE acceptances SET state = 'stale', grace_until = $1 WHERE id = $2", FAR, first["id"])
    await connection.execute("INSERT INTO artifacts (model, digest, kind) VALUES ('demo-acme', 'x', 'weights')")
    await connection.close()
    path = f"/v1/license-report?license=paddock-demo&month={now:%Y-%m}"
    report = await licensed("GET", path, status=200)
    assert [(item["tenant"], item["deployment"], item["model"]) for item in report["served"]] == [
        ("acme", "acme-prod/own", "demo-acme")
    ]
    assert report["shown"] == [
        {"model": "demo-acme", "at": ["/console/models", "/v1/models/demo-acme/notice"], "files": 1}
    ]
    assert report["expires_next"] == [{"what": "grace", "id": first["id"], "entity": "acme", "at": FAR}]
    await licensed("DELETE", "/v1/models/demo-acme", by="acme", status=204)
    assert len((await licensed("GET", path, status=200))["served"]) == 1
