"""A later version's migration meets a table that is in use: it makes room for others, and comes again."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from paddock_controlplane.migrate import head, migrate

pytestmark = pytest.mark.postgres

LATER = """
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{head}", None, None


def upgrade():
    op.get_bind().exec_driver_sql("ALTER TABLE tenants ADD COLUMN later text")
"""


async def test_it_waits_for_a_table_in_turns(
    server: Any, database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "9999_later.py").write_text(LATER.format(head=head()))
    user, other = await server.connect(database), await server.connect(database)
    async with asyncio.timeout(300):
        busy = user.transaction()
        await busy.start()
        await user.fetch("SELECT id FROM tenants")
        with caplog.at_level(logging.WARNING):
            migrating = asyncio.create_task(migrate(server.dsn(database), later=tmp_path))
            while "a table is in use" not in caplog.text:
                # Whoever comes meanwhile stands behind the migration, and is let through when it gives way.
                await other.fetch("SELECT id FROM tenants")
                await asyncio.sleep(0.1)
        assert not migrating.done()
        await busy.rollback()
        assert await migrating == "9999"
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'tenants'"
    assert "later" in {row["column_name"] for row in await other.fetch(columns)}
    for connection in (user, other):
        await connection.close()


async def test_without_a_later_version_nothing_changes(server: Any, database: str) -> None:
    assert await migrate(server.dsn(database)) == head()
