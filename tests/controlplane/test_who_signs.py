"""Who may issue a signatory's link: the entity's first admin token and what comes down from it, never the platform."""

import asyncio
from typing import Any

import pytest
from alembic import command
from paddock_controlplane import migrate
from paddock_controlplane.migrate import migrate as bring_up
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

pytestmark = pytest.mark.postgres

ADA = {"name": "Ada Moreno", "email": "jo@a.example", "delivered_by": "to Ada, in person"}
TOKENS = "/v1/tenants/acme/admin-tokens"


async def _offered(api: Any, *, by: str = "platform") -> str:
    body = {"entity": "acme", "model": "smollm2-135m-instruct", "role": "deployer"}
    made = await api(
        "POST",
        "/v1/license-offers",
        {**body, "signatory": {name: ADA[name] for name in ("name", "email")}},
        by=by,
        status=201,
    )
    if by != "platform":
        assert made["signatory_token"] is None
    return f"/v1/license-offers/{made['offer']}/signatory-link"


async def _issued(api: Any, *, by: str) -> str:
    return str((await api("POST", TOKENS, {}, by=by, status=201))["admin_token"])


async def test_a_token_that_the_platform_issues_later_issues_no_link(licensed: Any) -> None:
    minted = await _issued(licensed, by="platform")
    link = await _offered(licensed, by=minted)
    child = await _issued(licensed, by=minted)
    for token in (minted, child):
        refused = await licensed("POST", link, ADA, by=token, status=403)
        assert refused["code"] == "TokenMayNotSign"
        assert "paddock tenant token create" in refused["detail"]
    own = await _issued(licensed, by="acme")
    assert (await licensed("POST", link, ADA, by=own, status=201))["signatory_token"]


@pytest.mark.parametrize("who", ["platform", "minted"])
async def test_a_token_that_the_platform_gave_a_new_secret_issues_none_either(licensed: Any, who: str) -> None:
    first = licensed.tokens["acme"].split("_")[1]
    by = "platform" if who == "platform" else await _issued(licensed, by="platform")
    taken = await licensed("POST", f"{TOKENS}/{first}/rotation", {"overlap_seconds": 60}, by=by, status=201)
    refused = await licensed("POST", await _offered(licensed), ADA, by=taken["admin_token"], status=403)
    assert refused["code"] == "TokenMayNotSign"


async def test_a_second_tenant_of_the_entity_is_no_way_around(licensed: Any) -> None:
    made = await licensed("POST", "/v1/tenants", {"id": "acme-two", "entity": "acme"}, status=201)
    await licensed("POST", await _offered(licensed), ADA, by=made["admin_token"], status=403)


async def test_receipt_report_and_log_say_who_issued_the_link_and_its_token(licensed: Any) -> None:
    own = await _issued(licensed, by="acme")
    first, token = licensed.tokens["acme"].split("_")[1], own.split("_")[1]
    link = await licensed("POST", await _offered(licensed), ADA, by=own, status=201)
    answers = {
        "person": {"name": "Ada Moreno", "title": "Director", "email": "jo@a.example", "authority": "sole director"},
        "jurisdiction": "US",
        "agree": True,
        "monthly_active_users": {
            "band": "le_700m",
            "month": "2026-10",
            "method": "analytics",
            "affiliates_included": True,
        },
    }
    made = await licensed("POST", "/v1/license-acceptances", answers, by=link["signatory_token"], status=201)
    receipt = await licensed("GET", f"/v1/license-acceptances/{made['id']}/receipt", status=200)
    assert (receipt["link"]["token"], receipt["link"]["token_issued_by"]) == (token, f"admin-token:{first}")
    report = await licensed("GET", "/v1/license-report?license=paddock-demo&month=2999-12", status=200)
    told = {item["id"]: item["link_issued_by"] for item in report["acceptances"]}
    assert told[made["id"]] == f"tenant:acme with admin-token:{token}, which admin-token:{first} issued"
    entries = (await licensed("GET", "/v1/audit?limit=1000", status=200))["items"]
    [issued] = [item for item in entries if item["action"] == "license.link" and item["entity"] == "acme"]
    assert f'"token":"{token}","token_issued_by":"admin-token:{first}"' in issued["detail"]
    # How the link was delivered is free text: only the salted commitment holds it.
    assert "in person" not in str(entries)


EARLIER = """
INSERT INTO entities (id, legal_name, principal_place_of_business) VALUES ('acme', 'Acme Inc.', 'US');
INSERT INTO tenants (id, entity, created_at) VALUES ('a', 'acme', '2026-01-01'), ('b', 'acme', '2026-01-02');
INSERT INTO tenant_admins (id, tenant, secret_sha256) VALUES
    ('first', 'a', 'x'), ('second', 'b', 'x'), ('minted', 'a', 'x'), ('own', 'a', 'x');
INSERT INTO audit_log (seq, at, actor, action, subject, detail, commitments, prev, digest) VALUES
    (1, now(), 'platform', 'tenant.create', 'a', '{"admin":"first"}', '[]', '', ''),
    (2, now(), 'platform', 'tenant.create', 'b', '{"admin":"second"}', '[]', '', ''),
    (3, now(), 'platform', 'tenant.admin.issue', 'minted', '{}', '[]', '', ''),
    (4, now(), 'tenant:a', 'tenant.admin.issue', 'own', '{}', '[]', '', '');
"""


def _bring_up_to(connection: Connection, revision: str) -> None:
    config = migrate._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@pytest.mark.parametrize("renewed", [False, True])
async def test_of_tokens_from_before_only_the_entitys_first_issues_links(server: Any, renewed: bool) -> None:
    database = await server.create(f"signs_{renewed}_{id(server)}".lower())
    engine = create_async_engine(server.dsn(database))
    async with engine.begin() as connection:
        await connection.run_sync(_bring_up_to, "0009")
    await engine.dispose()
    plain = await server.connect(database)
    await plain.execute(EARLIER)
    if renewed:
        await plain.execute(
            "INSERT INTO audit_log (seq, at, actor, action, subject, detail, commitments, prev, digest)"
            " VALUES (5, now(), 'platform', 'tenant.admin.rotate', 'first', '{}', '[]', '', '')"
        )
    await asyncio.wait_for(bring_up(server.dsn(database)), 60)
    rows = await plain.fetch("SELECT id, signs, issued_by FROM tenant_admins")
    await plain.close()
    assert {row["id"] for row in rows if row["signs"]} == (set() if renewed else {"first"})
    assert {row["id"]: row["issued_by"] for row in rows}["own"] == "tenant:a"
