"""The stand-ins that end-to-end tests import for a vendor's texts are offered and accepted as the texts would be."""

from typing import Any

import pytest

from e2e.agreements import import_stand_ins

pytestmark = pytest.mark.postgres

MODEL = "llama-3.1-405b-instruct"
PERSON = {"name": "Jo Doe", "title": "Director", "email": "jo@a.example", "authority": "sole director"}
USERS = {"band": "le_700m", "month": "2024-06", "method": "analytics", "affiliates_included": True}
ANSWERS = {"person": PERSON, "jurisdiction": "US", "agree": True, "flow_down": True, "monthly_active_users": USERS}


async def test_a_large_model_is_allowed_after_stand_ins_are_accepted(licensed: Any, server: Any, database: str) -> None:
    async def check() -> Any:
        asked = {"entity": "acme", "role": "deployer", "verb": "deploy", "model": MODEL}
        return await licensed("POST", "/v1/license-checks", asked, status=200)

    assert (await check())["reason"] == "TextNotImported"
    await import_stand_ins(dsn=server.dsn(database), license_id="llama3.1")
    assert (await licensed("GET", "/v1/licenses/llama3.1", status=200))["imported"] == {"agreement": True, "aup": True}
    for entity, role, by in (("platform-inc", "operator", "platform"), ("acme", "deployer", "acme")):
        signatory = {"name": PERSON["name"], "email": PERSON["email"]}
        offer = {"entity": entity, "license": "llama3.1", "role": role, "signatory": signatory}
        made = await licensed("POST", "/v1/license-offers", offer, by=by, status=201)
        asked = {question["field"] for question in made["questions"]}
        answers = {key: value for key, value in ANSWERS.items() if key != "flow_down" or key in asked}
        await licensed("POST", "/v1/license-acceptances", answers, by=made["signatory_token"], status=201)
    found = await check()
    assert found["allowed"] is True, found
