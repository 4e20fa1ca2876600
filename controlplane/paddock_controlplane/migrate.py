"""Bringing the database's schema to this version: `paddock-controlplane migrate`."""

import asyncio
import logging
import os
from importlib import import_module
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from paddock_controlplane.db import LOCK_TIMEOUT, sqlstate

_log = logging.getLogger(__name__)
LOCK_SECONDS = 4
"""How long a statement of a migration waits for a table at most: whoever comes after it waits as long."""
_ATTEMPTS, _PAUSE_SECONDS = 30, 1.0
_LOCK = 0x7061646F636B  # "paddock": so that two replicas that start at once do not migrate at once
_DOMAINS = (
    "entities",
    "tenants",
    "keys",
    "licensing",
    "active_users",
    "usage",
    "pod_time",
    "prices",
    "billing",
    "audit",
    "policy",
    "idempotency",
)


def target_metadata() -> MetaData:
    """Every table that the code knows."""
    from paddock_controlplane.db import Base

    for domain in _DOMAINS:
        import_module(f"paddock_controlplane.{domain}.models")
    return Base.metadata


async def migrate(dsn: str, *, later: Path | None = None) -> str:
    """Run what is missing and answer the revision that the schema then has.

    Everything is done in one transaction, or nothing: where a table is in use for longer than `LOCK_SECONDS`, it makes
    room and is tried again. `later` is a folder with revisions that follow this version's, for drills.
    """
    engine = create_async_engine(dsn)
    try:
        for _ in range(_ATTEMPTS - 1):
            try:
                return await _once(engine, later)
            except DBAPIError as error:
                if sqlstate(error) != LOCK_TIMEOUT:
                    raise
                _log.warning("a table is in use: the migration is tried again", extra={"seconds": _PAUSE_SECONDS})
                await asyncio.sleep(_PAUSE_SECONDS)
        return await _once(engine, later)
    finally:
        await engine.dispose()


async def _once(engine: AsyncEngine, later: Path | None) -> str:
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        return await connection.run_sync(_upgrade, later)


def head() -> str:
    """The newest revision that this version brings."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise AssertionError("the package holds its revisions")
    return revision


def _upgrade(connection: Connection, later: Path | None) -> str:
    config = _config(later)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return ScriptDirectory.from_config(config).get_current_head() or ""


def _config(later: Path | None = None) -> Config:
    config, folder = Config(), Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    if later is not None:
        config.set_main_option("path_separator", "os")
        config.set_main_option("version_locations", os.pathsep.join([str(folder / "versions"), str(later)]))
    return config
