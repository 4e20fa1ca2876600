"""Where the shared accounts of limits lie: what a store of them can do, and the one in PostgreSQL."""

from dataclasses import dataclass
from typing import Protocol

from paddock_core.quotas.rates import Bucket
from paddock_core.quotas.wire import LeaseCall

from paddock_controlplane.db import Database
from paddock_controlplane.quotas import leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account that lies outside PostgreSQL, as it stands."""

    level: str
    kind: str
    limit: int
    leased: int = 0
    bucket: Bucket | None = None
    """Of a rate."""
    now: int = 0
    """Nanoseconds of the clock by which the bucket drains."""


class LeaseStore(Protocol):
    """Answers gateways' calls for leases."""

    async def answer(self, call: LeaseCall, *, seconds: float) -> bytes:
        """As `leases.answer`."""
        ...

    async def accounts(self) -> list[Account]:
        """The accounts that are not in PostgreSQL."""
        ...

    async def close(self) -> None: ...


class PostgresLeases:
    """Every account in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def answer(self, call: LeaseCall, *, seconds: float) -> bytes:
        """As `leases.answer`."""
        return await leases.answer(self._database, call, seconds=seconds)

    async def accounts(self) -> list[Account]:
        """None: all are in PostgreSQL."""
        return []

    async def close(self) -> None:
        """Nothing is held."""
