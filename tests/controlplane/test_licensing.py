"""Texts, offers, acceptances and checks."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from paddock_controlplane.app import create_app

pytestmark = pytest.mark.postgres

MODEL = "smollm2-135m-instruct"
DEMO = Path(__file__).parents[2] / "examples" / "licenses" / "paddock-demo"
AGREEMENT = (DEMO / "LICENSE").read_text()
POLICY = (DEMO / "USE_POLICY.md").read_text()
PERSON = {"name": "Jo Doe", "title": "Director", "email": "jo@a.example", "authority": "sole director"}
USERS = {"band": "le_700m", "month": "2026-10", "method": "analytics", "affiliates_included": True}
ANSWERS = {"person": PERSON, "jurisdiction": "US", "agree": True, "monthly_active_users": USERS}


async def test_only_the_pinned_words_are_imported(api: Any) -> None:
    body = {"license": "paddock-demo", "agreement": AGREEMENT, "aup": POLICY + " and more"}
    assert (await api("POST", "/v1/license-texts", body, status=422))["code"] == "TextMismatch"
    assert (await api("GET", "/v1/licenses/paddock-demo", status=200))["imported"] == {"agreement": False, "aup": False}
    spaced = {**body, "agreement": AGREEMENT.replace("\n", "\r\n"), "aup": POLICY}
    await api("POST", "/v1/license-texts", spaced, status=201)
    assert (await api("GET", "/v1/licenses/paddock-demo", status=200))["imported"] == {"agreement": True, "aup": True}
    problem = await api("POST", "/v1/license-texts", body, status=422)
    assert "“and more”" in problem["detail"]
    swapped = {"license": "paddock-demo", "agreement": POLICY, "aup": POLICY}
    assert "words of the aup of" in (await api("POST", "/v1/license-texts", swapped, status=422))["detail"]
    half = {"license": "paddock-demo", "agreement": AGREEMENT}
    assert "aup" in (await api("POST", "/v1/license-texts", half, status=422))["detail"]
    unknown = {"license": "mine", "agreement": "x"}
    assert (await api("POST", "/v1/license-texts", unknown, status=404))["code"] == "LicenseUnknown"


async def test_the_catalogue_is_shown(api: Any) -> None:
    models = await api("GET", "/v1/models", status=200)
    assert MODEL in [item["id"] for item in models["items"]]
    assert (await api("GET", f"/v1/models/{MODEL}", status=200))["licenses"] == ["paddock-demo"]
    notice = (await api("GET", "/v1/models/llama-3.1-8b-instruct/notice", status=200))["notices"][0]
    assert notice["attribution"] == ["Built with Llama"]
    assert notice["notice"].startswith("Llama 3.1 is licensed under")
    assert (await api("GET", "/v1/models/none", status=404))["code"] == "ModelUnknown"
    licenses = await api("GET", "/v1/licenses", status=200)
    assert all(item["duties"] for item in licenses["items"])


async def test_from_nothing_to_served_and_back(api: Any) -> None:
    await api.entity("platform-inc", is_operator=True)
    await api.tenant("acme")
    assert (await api.check("acme", "deployer"))["reason"] == "TextNotImported"
    body = {"entity": "acme", "model": MODEL, "role": "deployer", "signatory": {"name": "J", "email": "j@a.example"}}
    assert (await api("POST", "/v1/license-offers", body, by="acme", status=409))["code"] == "TextNotImported"
    await api.texts()
    assert (await api.check("acme", "deployer"))["reason"] == "OperatorNotLicensed"
    await api.accept("platform-inc", "operator")
    assert (await api.check("acme", "deployer"))["reason"] == "AcceptanceMissing"
    receipt = await api.accept("acme", "deployer", by="acme")
    decision = await api.check("acme", "deployer")
    assert (decision["allowed"], decision["acceptances"]) == (True, [receipt["id"]])
    path = f"/v1/license-acceptances/{receipt['id']}/revoke"
    assert (await api("POST", path, {"reason": "test"}, by="acme", status=200))["state"] == "revoked"
    assert (await api.check("acme", "deployer"))["reason"] == "AcceptanceMissing"
    assert (await api("POST", path, {"reason": "again"}, status=409))["code"] == "AcceptanceEnded"
    await api.accept("acme", "deployer")
    assert (await api.check("acme", "deployer"))["allowed"]


async def test_a_consumer_accepts_the_terms_of_use(licensed: Any) -> None:
    assert (await licensed.check("globex", "consumer"))["reason"] == "AcceptanceMissing"
    offer = await licensed.offer("globex", "consumer", by="globex")
    assert "flow_down" in [question["field"] for question in offer["questions"]]
    assert "monthly_active_users" not in [question["field"] for question in offer["questions"]]
    path, token = "/v1/license-acceptances", offer["signatory_token"]
    unanswered = {"person": PERSON, "jurisdiction": "US", "agree": True}
    assert (await licensed("POST", path, unanswered, by=token, status=422))["code"] == "AnswerMissing"
    await licensed("POST", path, {**unanswered, "flow_down": True}, by=token, status=201)
    assert (await licensed.check("globex", "consumer"))["allowed"]
    assert not (await licensed.check("globex", "deployer"))["allowed"]


async def test_what_is_offered_is_what_is_agreed(licensed: Any) -> None:
    offer = await licensed.offer("acme", "deployer", by="acme")
    assert offer["texts"] == {"agreement": AGREEMENT, "aup": POLICY}
    token = offer.pop("signatory_token")
    assert offer.pop("link").endswith(f"/console/sign/{token}")
    assert "works once" in offer.pop("next")
    assert await licensed("GET", "/v1/license-offers/current", by=token, status=200) == offer
    receipt = await licensed("POST", "/v1/license-acceptances", ANSWERS, by=token, status=201)
    assert receipt["digests"] == offer["digests"]
    assert receipt["canonical"] == offer["digests"]["agreement"]["canonical"]
    audit = await licensed("GET", f"/v1/audit?after={receipt['audit_seq'] - 1}&limit=1", status=200)
    assert audit["items"][0]["digest"] == receipt["audit_digest"]
    assert audit["items"][0]["subject"] == receipt["id"]
    for method, path in (("GET", "/v1/license-offers/current"), ("POST", "/v1/license-acceptances")):
        body = ANSWERS if method == "POST" else None
        assert (await licensed(method, path, body, by=token, status=409))["code"] == "OfferUsed"


@pytest.mark.parametrize("who", ["platform", "acme", "globex", "internal"])
async def test_nobody_accepts_for_an_entity_but_its_signatory(who: str, licensed: Any) -> None:
    await licensed.offer("acme", "deployer")
    problem = await licensed("POST", "/v1/license-acceptances", ANSWERS, by=who, status=403)
    assert problem["code"] == "SignatoryRequired"
    problem = await licensed("GET", "/v1/license-offers/current", by=who, status=403)
    assert problem["code"] == "SignatoryRequired"
    assert (await licensed.check("acme", "deployer"))["reason"] == "AcceptanceMissing"


@pytest.mark.parametrize(
    "values",
    [
        {"agree": False},
        {"monthly_active_users": None},
        {"monthly_active_users": {**USERS, "month": "2024-06"}},
        {"monthly_active_users": {**USERS, "affiliates_included": False}},
        {"monthly_active_users": {**USERS, "value": 700_000_001}},
        {"offer_token": "off-aaaaaaaaaaaa"},
    ],
)
async def test_a_wrong_answer_leaves_the_offer_open(values: dict[str, Any], licensed: Any) -> None:
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    path = "/v1/license-acceptances"
    assert (await licensed("POST", path, {**ANSWERS, **values}, by=token, status=422))["code"] == "AnswerMissing"
    await licensed("POST", path, ANSWERS, by=token, status=201)


async def test_an_offer_grows_stale(licensed: Any, server: Any, database: str) -> None:
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    connection = await server.connect(database)
    await connection.execute("UPDATE offers SET expires_at = now()")
    await connection.close()
    problem = await licensed("POST", "/v1/license-acceptances", ANSWERS, by=token, status=409)
    assert problem["code"] == "OfferStale"


async def test_a_text_imported_anew_makes_offers_stale(licensed: Any) -> None:
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    other_bytes = {"license": "paddock-demo", "agreement": AGREEMENT + "\n", "aup": POLICY}
    await licensed("POST", "/v1/license-texts", other_bytes, status=201)
    problem = await licensed("POST", "/v1/license-acceptances", ANSWERS, by=token, status=409)
    assert problem["code"] == "OfferStale"


async def test_one_of_many_at_once_uses_an_offer(licensed: Any) -> None:
    token = (await licensed.offer("acme", "deployer"))["signatory_token"]
    calls = [licensed("POST", "/v1/license-acceptances", ANSWERS, by=token) for _ in range(6)]
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]


async def test_above_the_threshold_everything_waits(licensed: Any) -> None:
    receipt = await licensed.accept("acme", "deployer", band="gt_700m")
    assert receipt["state"] == "pending_grant"
    for role in ("deployer", "consumer"):
        assert (await licensed.check("acme", role))["reason"] == "ThresholdGrantRequired"


async def test_a_new_acceptance_takes_the_old_ones_place(licensed: Any) -> None:
    first = await licensed.accept("acme", "deployer")
    second = await licensed.accept("acme", "deployer")
    listed = await licensed("GET", "/v1/license-acceptances?entity=acme&license=paddock-demo", by="acme", status=200)
    states = {item["id"]: item["state"] for item in listed["items"]}
    assert states == {first["id"]: "superseded", second["id"]: "active"}


async def test_of_two_acceptances_at_once_one_stands(licensed: Any) -> None:
    tokens = [(await licensed.offer("acme", "deployer"))["signatory_token"] for _ in range(4)]
    path = "/v1/license-acceptances"
    await asyncio.gather(*(licensed("POST", path, ANSWERS, by=token, status=201) for token in tokens))
    listed = await licensed("GET", f"{path}?entity=acme&license=paddock-demo", by="acme", status=200)
    states = sorted(item["state"] for item in listed["items"] if item["role"] == "deployer")
    assert states == ["active", "superseded", "superseded", "superseded"]


@pytest.mark.parametrize("state", ["suspended", "terminated"])
async def test_an_ended_license_is_not_offered_again(state: str, licensed: Any, server: Any, database: str) -> None:
    await licensed.accept("acme", "deployer")
    connection = await server.connect(database)
    await connection.execute("UPDATE acceptances SET state = $1 WHERE entity = 'acme'", state)
    await connection.close()
    body = {"entity": "acme", "model": MODEL, "role": "deployer", "signatory": {"name": "J", "email": "j@a.example"}}
    assert (await licensed("POST", "/v1/license-offers", body, by="acme", status=409))["code"] == "LicenseEnded"


async def test_bad_offers_are_refused(licensed: Any) -> None:
    signatory = {"name": "J", "email": "j@a.example"}
    cases = [
        ({"entity": "acme", "model": MODEL, "role": "operator"}, 422, "NotTheOperator"),
        ({"entity": "acme", "model": MODEL, "role": "end_user"}, 422, "Invalid"),
        ({"entity": "acme", "model": MODEL, "license": "paddock-demo", "role": "deployer"}, 422, "Invalid"),
        ({"entity": "acme", "role": "deployer"}, 422, "Invalid"),
        ({"entity": "globex", "model": MODEL, "role": "deployer"}, 403, "NotYours"),
        ({"entity": "acme", "model": "none", "role": "deployer"}, 404, "ModelUnknown"),
        ({"entity": "acme", "license": "none", "role": "deployer"}, 404, "LicenseUnknown"),
    ]
    for body, status, code in cases:
        offer = {**body, "signatory": signatory}
        assert (await licensed("POST", "/v1/license-offers", offer, by="acme", status=status))["code"] == code
    nobody = {"entity": "nobody", "model": MODEL, "role": "deployer", "signatory": signatory}
    assert (await licensed("POST", "/v1/license-offers", nobody, status=404))["code"] == "EntityUnknown"


async def test_personal_data_stays_out_of_the_audit_log(licensed: Any) -> None:
    await licensed.accept("acme", "deployer")
    entries = (await licensed("GET", "/v1/audit?limit=1000", status=200))["items"]
    accepted = [entry for entry in entries if entry["action"] == "license.accept"]
    assert all(len(entry["commitments"]) > 64 for entry in accepted)
    for personal in (PERSON["name"], PERSON["email"], "Jo"):
        assert personal not in str(entries)


async def test_downloads_need_the_operators_licenses(licensed: Any) -> None:
    body = {"verb": "download", "model": MODEL}
    made = await licensed("POST", "/internal/v1/decision-tokens", body, by="internal", status=200)
    await licensed("POST", "/internal/v1/downloads", {"model": MODEL}, by=made["token"], status=204)
    other = {"model": "llama-3.1-8b-instruct"}
    assert (await licensed("POST", "/internal/v1/downloads", other, by=made["token"], status=403))[
        "code"
    ] == "OtherModel"
    denied = await licensed("POST", "/internal/v1/decision-tokens", {**body, **other}, by="internal", status=403)
    assert (denied["code"], denied["reason"]) == ("DecisionDenied", "TextNotImported")
    listed = await licensed("GET", "/v1/license-acceptances?entity=platform-inc", status=200)
    path = f"/v1/license-acceptances/{listed['items'][0]['id']}/revoke"
    await licensed("POST", path, {"reason": "test"}, status=200)
    refused = await licensed("POST", "/internal/v1/downloads", {"model": MODEL}, by=made["token"], status=403)
    assert refused["decision"]["reason"] == "OperatorNotLicensed"
    actions = [entry["action"] for entry in (await licensed("GET", "/v1/audit?limit=1000", status=200))["items"]]
    assert actions[-2:] == ["license.revoke", "license.deny"]


async def test_a_forged_decision_token_is_nobodys(licensed: Any) -> None:
    body = {"verb": "download", "model": MODEL}
    token = (await licensed("POST", "/internal/v1/decision-tokens", body, by="internal", status=200))["token"]
    prefix, payload, signature = token.split(".")
    for forged in (f"{prefix}.{payload}.{'0' * 64}", f"{prefix}.{payload[:-2]}.{signature}", f"{prefix}.{payload}"):
        await licensed("POST", "/internal/v1/downloads", {"model": MODEL}, by=forged, status=401)


async def test_the_application_needs_no_socket_to_be_described(api: Any) -> None:
    app = create_app(api.state.settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
        document = (await client.get("/openapi.json")).json()
    await app.state.parts.database.close()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["operationId"] and operation["tags"] for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)


TEXTS = Path(__file__).parents[3] / "shared" / "license-texts"
OF = {"bloom": "bigscience-bloom-rail-1.0", "llama-guard-1": "llama2", "llama2-alt-bytes": "llama2"} | {
    name: name for name in ("llama1", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4")
}


@pytest.mark.skipif(
    not TEXTS.is_dir(), reason="the licensors' texts are not beside this checkout; imports are tested on our own"
)
async def test_the_licensors_own_texts_are_imported_and_offered(licensed: Any) -> None:
    """Copies that differ only in bytes, or that a person found equal, are taken too; every question is asked."""
    for folder, license_id in OF.items():
        policy = TEXTS / folder / "USE_POLICY.md"
        has_policy = "aup" in (await licensed("GET", f"/v1/licenses/{license_id}", status=200))["imported"]
        body = {
            "license": license_id,
            "agreement": (TEXTS / folder / "LICENSE").read_text(encoding="utf-8"),
            "aup": (policy if policy.is_file() else TEXTS / "llama2" / "USE_POLICY.md").read_text(encoding="utf-8")
            if has_policy
            else None,
        }
        await licensed("POST", "/v1/license-texts", body, status=201)
    signatory = {"name": "J", "email": PERSON["email"]}
    offer = {"entity": "globex", "license": "llama3.1", "role": "consumer", "signatory": signatory}
    made = await licensed("POST", "/v1/license-offers", offer, by="globex", status=201)
    asked = {question["field"] for question in made["questions"]}
    assert {"flow_down", "monthly_active_users"} <= asked
    assert made["licensor"] == "Meta Platforms, Inc."
    answers = {**ANSWERS, "flow_down": True, "monthly_active_users": {**USERS, "month": "2024-06"}}
    await licensed("POST", "/v1/license-acceptances", answers, by=made["signatory_token"], status=201)
    await licensed("PUT", "/v1/license-policy", {"consumers": "terms_of_use"}, status=200)
    made = await licensed("POST", "/v1/license-offers", offer, by="globex", status=201)
    assert "monthly_active_users" not in {question["field"] for question in made["questions"]}
