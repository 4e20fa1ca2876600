"""Bringing the database's schema to this version: `paddock-controlplane migrate`."""

from importlib import import_module
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine

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


async def migrate(dsn: str) -> str:
    """Run what is missing and answer the revision that the schema then has."""
    engine = create_async_engine(dsn)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def head() -> str:
    """The newest revision that this version brings."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise AssertionError("the package holds its revisions")
    return revision


def _upgrade(connection: Connection) -> str:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
