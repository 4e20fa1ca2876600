"""The audit chain binds entities, acceptances and statements: a row that is edited beside the chain shows."""

from typing import Any

import pytest
from paddock_core.audit.chain import Entry, Verifier
from paddock_core.audit.records import KINDS, Seals, Stored

pytestmark = pytest.mark.postgres


async def differences(api: Any) -> list[str]:
    """What `paddock audit verify` would say; the chain itself holds."""
    entries = [Entry(**item) for item in (await api("GET", "/v1/audit?limit=5000", status=200))["items"]]
    assert Verifier().check(entries)
    seals, stored = Seals(), []
    seals.read(entries)
    for kind in KINDS:
        after = ""
        # A page of one: pages follow each other without a gap.
        while found := await api("GET", f"/v1/audit/records/{kind}?after={after}&limit=1", status=200):
            stored += [Stored(**item) for item in found]
            after = found[-1]["id"]
    return seals.differences(stored)


async def test_whatever_the_platform_does_records_are_what_the_chain_says(licensed: Any) -> None:
    made = await licensed.accept("acme", "deployer")
    body = {"entity": "acme", "license": "paddock-demo", "band": "gt_700m", "method": "again", "reason": "growth"}
    await licensed("POST", "/v1/license-statements", body, by="acme", status=201)
    again = await licensed.accept("acme", "deployer")
    for step in ("suspend", "reinstate", "terminate"):
        await licensed("POST", f"/v1/license-acceptances/{again['id']}/{step}", {"reason": "test"}, status=200)
    await licensed("POST", f"/v1/license-acceptances/{made['id']}/erase", status=200)
    assert await differences(licensed) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("UPDATE statements SET value = 5 WHERE entity = 'acme'", "statement:"),
        ("UPDATE statements SET method = 'none' WHERE entity = 'acme'", "statement:"),
        ("UPDATE acceptances SET state = 'active' WHERE entity = 'acme'", "acceptance:"),
        ("UPDATE acceptances SET audit_seq = 1 WHERE entity = 'acme'", "acceptance:"),
        ("UPDATE entities SET principal_place_of_business = 'FR' WHERE id = 'acme'", "entity:acme"),
        ("INSERT INTO affiliations VALUES ('acme', 'Beta')", "entity:acme"),
        ("DELETE FROM seals WHERE id = 'globex'", "entity:globex"),
        ("DELETE FROM statements WHERE entity = 'acme'", "statement:"),
    ],
)
async def test_a_row_edited_beside_the_chain_shows(
    licensed: Any, server: Any, database: str, change: str, kind: str
) -> None:
    made = await licensed.accept("acme", "deployer")
    await licensed("POST", f"/v1/license-acceptances/{made['id']}/revoke", {"reason": "test"}, status=200)
    assert await differences(licensed) == []
    connection = await server.connect(database)
    await connection.execute(change)
    await connection.close()
    found = await differences(licensed)
    assert len(found) == 1
    assert found[0].startswith(kind)


async def test_only_the_platform_reads_them(licensed: Any) -> None:
    for by in ("acme", "internal"):
        await licensed("GET", "/v1/audit/records/entity", by=by, status=403)
