"""An entity that moved, was renamed or has other affiliates: what is recorded, and that decisions follow."""

from typing import Any

import pytest
from paddock_core.audit.chain import Entry
from paddock_core.audit.records import Seals, Stored

pytestmark = pytest.mark.postgres

FACTS = {"legal_name": "Acme SA", "principal_place_of_business": "FR", "affiliates": ["Globex Inc. ", "Beta"]}


async def test_an_entity_that_changed_is_told_to_followers_and_bound_by_the_log(licensed: Any) -> None:
    changed = await licensed("PUT", "/v1/entities/acme", {**FACTS, "domicile": "IE"}, status=200)
    assert (changed["legal_name"], changed["domicile"], changed["affiliates"]) == (
        "Acme SA",
        "IE",
        ["Beta", "Globex Inc."],
    )
    assert await licensed("GET", "/v1/entities/acme", status=200) == changed
    assert (await licensed("GET", "/internal/v1/policy", by="internal", status=200))["objects"]["entity"][
        "acme"
    ] == changed
    entries = (await licensed("GET", "/v1/audit?limit=1000", status=200))["items"]
    assert [item["action"] for item in entries if item["subject"] == "acme"][-1] == "entity.update"
    seals = Seals()
    seals.read(Entry(**item) for item in entries)
    stored = [Stored(**item) for item in await licensed("GET", "/v1/audit/records/entity", status=200)]
    assert not [text for text in seals.differences(stored) if text.startswith("entity:")]
    await licensed("PUT", "/v1/entities/acme", {**FACTS, "domicile": "IE"}, status=200)
    assert len((await licensed("GET", "/v1/audit?limit=1000", status=200))["items"]) == len(entries)


async def test_an_affiliate_that_is_registered_here_is_found_by_its_name(licensed: Any) -> None:
    """globex states more users than the license permits: then acme, whose affiliate it is, may do nothing either."""
    await licensed.accept("acme", "deployer")
    await licensed.accept("globex", "deployer", monthly_active_users=_above())
    assert (await licensed.check("acme", "deployer"))["allowed"] is True
    await licensed("PUT", "/v1/entities/acme", {**FACTS, "principal_place_of_business": "US"}, status=200)
    found = await licensed.check("acme", "deployer")
    assert (found["allowed"], found["reason"]) == (False, "ThresholdGrantRequired")
    await licensed("PUT", "/v1/entities/acme", {**FACTS, "affiliates": []}, status=200)
    assert (await licensed.check("acme", "deployer"))["allowed"] is True


async def test_who_runs_the_platform_stays_and_only_the_platform_changes_entities(licensed: Any) -> None:
    changed = await licensed("PUT", "/v1/entities/platform-inc", FACTS, status=200)
    assert changed["is_operator"] is True
    await licensed("PUT", "/v1/entities/acme", FACTS, by="acme", status=403)
    await licensed("PUT", "/v1/entities/nobody", FACTS, status=404)
    await licensed("PUT", "/v1/entities/acme", {**FACTS, "principal_place_of_business": "XX"}, status=422)


def _above() -> dict[str, Any]:
    return {"band": "gt_700m", "month": "2026-10", "method": "analytics", "affiliates_included": True}
