"""Denials in the audit log, personal data that is erased, and acceptances of older words."""

import time
from typing import Any

import pytest
from paddock_controlplane import maintenance
from paddock_controlplane.audit import denials
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.licensing import staleness
from paddock_core.audit.chain import Entry, Verifier

pytestmark = pytest.mark.postgres

MODEL = "smollm2-135m-instruct"
GRANT = {
    "entity": "acme",
    "licenses": ["paddock-demo"],
    "valid_from": 1_700_000_000.0,
    "valid_to": 4_000_000_000.0,
    "grantor": "the licensor",
    "reference": "letter",
    "document_sha256": "d" * 64,
    "assurance": "document",
}
TOLD = {
    "entity": "acme",
    "role": "deployer",
    "verb": "invoke",
    "model": MODEL,
    "reason": "AcceptanceMissing",
    "count": 7,
    "first_at": 1.0,
    "last_at": 61.0,
}


async def log(api: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api("GET", "/v1/audit?limit=5000", status=200))["items"]
    return found


async def denied(api: Any) -> list[dict[str, Any]]:
    return [entry for entry in await log(api) if entry["action"] == "license.deny"]


async def test_a_decision_that_denies_is_in_the_log_once_an_hour_and_counted(licensed: Any) -> None:
    for _ in range(5):
        assert not (await licensed.check("acme", "deployer"))["allowed"]
    (entry,) = await denied(licensed)
    assert (entry["entity"], entry["subject"], entry["actor"]) == ("acme", MODEL, "platform")
    assert '"reason":"AcceptanceMissing"' in entry["detail"]
    later = time.time() + denials.HOUR_SECONDS
    for _ in range(2):
        await licensed.state.database.run(EVERYTHING, lambda session: denials.close_hours(session, now=later))
    assert ['"count":5' in entry["detail"] for entry in await denied(licensed)] == [False, True]


async def test_what_if_questions_are_no_denials(licensed: Any) -> None:
    body = {"entity": "acme", "role": "deployer", "verb": "invoke", "model": MODEL, "at": 1.0}
    assert not (await licensed("POST", "/v1/license-checks", body, status=200))["allowed"]
    assert await denied(licensed) == []


async def test_gateways_and_the_operator_tell_what_they_denied(licensed: Any) -> None:
    body = {"source": "gateway", "denials": [TOLD, {**TOLD, "reason": "Terminated", "count": 1}]}
    await licensed("POST", "/internal/v1/denials", body, by="internal", status=204)
    await licensed("POST", "/internal/v1/denials", body, by="internal", status=204)
    assert [('"count":7' in entry["detail"], entry["actor"]) for entry in await denied(licensed)] == [
        (True, "gateway"),
        (False, "gateway"),
    ]
    for by in ("platform", "acme"):
        await licensed("POST", "/internal/v1/denials", body, by=by, status=403)
    many = {"source": "gateway", "denials": [TOLD] * 501}
    await licensed("POST", "/internal/v1/denials", many, by="internal", status=422)


async def test_a_flood_of_different_denials_is_bounded(licensed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "MOST_KINDS", 3)
    body = {"source": "gateway", "denials": [{**TOLD, "model": f"model-{number}"} for number in range(40)]}
    await licensed("POST", "/internal/v1/denials", body, by="internal", status=204)
    assert [entry["subject"] for entry in await denied(licensed)] == ["model-0", "model-1", "model-2", "*"]
    later = time.time() + denials.HOUR_SECONDS
    await licensed.state.database.run(EVERYTHING, lambda session: denials.close_hours(session, now=later))
    assert f'"count":{37 * 7}' in (await denied(licensed))[-1]["detail"]


async def verified(api: Any) -> bool:
    verifier = Verifier()
    verifier.check(Entry(**entry) for entry in await log(api))
    return verifier.finish()


async def personal(server: Any, database: str, *, entity: str = "%") -> str:
    """Every row of every table with personal data, as text; of one entity where it is named."""
    connection = await server.connect(database)
    owned = ("people", "offers", "signatory_credentials", "acceptances", "grant_reviews")
    queries = ["SELECT * FROM reviewers", "SELECT * FROM audit_log"]
    queries += [f"SELECT * FROM {table} WHERE entity LIKE '{entity}'" for table in owned]
    found = [str(await connection.fetch(query)) for query in queries]
    await connection.close()
    return "\n".join(found)


async def test_a_signatory_is_erased_and_the_chain_still_verifies(licensed: Any, server: Any, database: str) -> None:
    receipt = await licensed.accept("acme", "deployer")
    before = await personal(server, database, entity="acme")
    assert "Jo Doe" in before
    assert "jo@a.example" in before
    path = f"/v1/license-acceptances/{receipt['id']}/erase"
    await licensed("POST", path, by="acme", status=403)
    erased = await licensed("POST", path, status=200)
    assert erased["acceptances"] == [receipt["id"]]
    assert len(erased["links"]) == 1
    after = await personal(server, database, entity="acme")
    for words in ("Jo Doe", "jo@a.example", "'Jo'", "sole director"):
        assert words not in after
    entries = await log(licensed)
    assert await verified(licensed)
    assert entries[-1]["action"] == "person.erase"
    assert await licensed("POST", path, status=200) == {"acceptances": [], "links": [], "reviews": [], "reviewers": []}
    assert len(await log(licensed)) == len(entries)
    # What was agreed stands.
    listed = await licensed("GET", "/v1/license-acceptances?entity=acme", status=200)
    assert [(item["id"], item["state"]) for item in listed["items"]] == [(receipt["id"], "active")]
    await licensed("POST", "/v1/license-acceptances/acc-aaaaaaaaaaaa/erase", status=404)


async def test_a_person_is_erased_everywhere(licensed: Any, server: Any, database: str) -> None:
    receipt = await licensed.accept("acme", "deployer")
    offer = await licensed.offer("acme", "deployer")
    person = {"name": "Jo Doe", "email": "JO@a.example"}
    made = await licensed("POST", "/v1/license-reviewers", person, status=201)
    grant = await licensed("POST", "/v1/license-grants", GRANT, status=201)
    await licensed("POST", f"/v1/license-grants/{grant['id']}/reviews", by=made["reviewer_token"], status=201)
    body = {"email": "jo@A.example"}
    await licensed("POST", "/v1/erasures", body, by="acme", status=403)
    only = await licensed("POST", "/v1/erasures", {**body, "entity": "globex"}, status=200)
    assert only["acceptances"] == only["links"] == only["reviews"] == []
    erased = await licensed("POST", "/v1/erasures", body, status=200)
    assert receipt["id"] in erased["acceptances"]
    assert (erased["reviews"], len(erased["reviewers"])) == ([grant["id"]], 1)
    after = (await personal(server, database)).casefold()
    assert "jo doe" not in after
    assert "jo@a.example" not in after
    await licensed("GET", "/v1/license-grants", by=made["reviewer_token"], status=401)
    assert (await licensed("GET", "/v1/license-offers/current", by=offer["signatory_token"])).status_code >= 400
    assert (await licensed("GET", "/v1/license-grants", status=200))["items"][0]["reviews"] == 1
    assert await verified(licensed)
    count = len(await log(licensed))
    await licensed("POST", "/v1/erasures", body, status=200)
    assert len(await log(licensed)) == count


async def test_older_words_are_stale_then_suspended_until_the_entity_accepts_again(
    licensed: Any, server: Any, database: str
) -> None:
    receipt = await licensed.accept("acme", "deployer")
    connection = await server.connect(database)
    older = "sha256:" + "e" * 64
    await connection.execute(
        "UPDATE acceptances SET canonical = $1::text,"
        " digests = jsonb_set(digests, '{agreement,canonical}', to_jsonb($1::text)) WHERE id = $2",
        older,
        receipt["id"],
    )
    await connection.execute("UPDATE license_texts SET canonical = $1 WHERE role = 'agreement'", older)
    await connection.close()
    await licensed.texts()

    async def shown() -> dict[str, Any]:
        listed = (await licensed("GET", "/v1/license-acceptances?entity=acme", status=200))["items"]
        return next(item for item in listed if item["id"] == receipt["id"])

    item = await shown()
    assert item["state"] == "stale"
    assert item["grace_until"] == pytest.approx(time.time() + 30 * 86400, abs=3600)
    decision = await licensed.check("acme", "deployer")
    assert decision["allowed"]
    assert decision["warnings"]
    await maintenance.once(licensed.state)
    assert (await shown())["state"] == "stale"
    await licensed("PUT", "/v1/license-policy", {"grace_days": 0}, status=200)
    assert (await licensed.check("acme", "deployer"))["reason"] == "AcceptanceStale"
    await maintenance.once(licensed.state)
    item = await shown()
    assert (item["state"], item["ended_reason"]) == ("suspended", staleness.OVER)
    assert (await licensed.check("acme", "deployer"))["reason"] == "AcceptanceStale"
    path = f"/v1/license-acceptances/{receipt['id']}/reinstate"
    assert (await licensed("POST", path, {"reason": "x"}, status=409))["code"] == "AcceptanceEnded"
    await licensed("PUT", "/v1/license-policy", {"grace_days": 10}, status=200)
    assert (await shown())["state"] == "stale"
    assert (await licensed.check("acme", "deployer"))["allowed"]
    await licensed("PUT", "/v1/license-policy", {"grace_days": 0}, status=200)
    await maintenance.once(licensed.state)
    await licensed.accept("acme", "deployer")
    assert (await licensed.check("acme", "deployer"))["allowed"]
    assert (await shown())["state"] == "superseded"
    actions = [entry["action"] for entry in await log(licensed)]
    assert "license.stale" in actions
    assert "license.suspend" in actions
