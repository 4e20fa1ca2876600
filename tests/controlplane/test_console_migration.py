"""What an earlier release recorded is read as links and receipts after the schema was brought up."""

import asyncio
from typing import Any

import pytest
from alembic import command
from paddock_controlplane import migrate
from paddock_controlplane.migrate import migrate as bring_up
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

pytestmark = pytest.mark.postgres

EARLIER = """
INSERT INTO entities (id, legal_name, principal_place_of_business) VALUES ('acme', 'Acme Inc.', 'US');
INSERT INTO offers (
    id, entity, license, role, digests, signatory_name, signatory_email, delivered_by, offered_by, expires_at
) VALUES (
    'off-a', 'acme', 'paddock-demo', 'deployer', '{}', 'Ada', 'ada@a.example', 'in person', 'tenant:acme', now()
);
INSERT INTO signatory_credentials (id, offer, entity, secret_sha256, used_at)
    VALUES ('cred', 'off-a', 'acme', 'x', now());
INSERT INTO acceptances (id, entity, license, role, offer, jurisdiction, digests, canonical, flow_down, state, at)
    VALUES ('acc-a', 'acme', 'paddock-demo', 'deployer', 'off-a', 'US', '{}', 'x', false, 'active', 1);
INSERT INTO audit_log (seq, at, actor, action, subject, detail, commitments, prev, digest)
    VALUES (1, now(), 'signatory:cred', 'license.accept', 'acc-a', '{}', '[]', '', 'digest-of-it');
"""


def _bring_up_to(connection: Connection, revision: str) -> None:
    config = migrate._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def test_what_was_recorded_before_has_its_link_and_its_proof(server: Any) -> None:
    database = await server.create(f"earlier_{id(server)}")
    engine = create_async_engine(server.dsn(database))
    async with engine.begin() as connection:
        await connection.run_sync(_bring_up_to, "0002")
    await engine.dispose()
    plain = await server.connect(database)
    await plain.execute(EARLIER)
    await asyncio.wait_for(bring_up(server.dsn(database)), 60)
    link = await plain.fetchrow("SELECT name, email, delivered_by, issued_by, revoked_at FROM signatory_credentials")
    proof = await plain.fetchrow("SELECT credential, audit_seq, audit_digest FROM acceptances")
    await plain.close()
    assert tuple(link) == ("Ada", "ada@a.example", "in person", "tenant:acme", None)
    assert tuple(proof) == ("cred", 1, "digest-of-it")
