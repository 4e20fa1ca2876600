"""PostgreSQL: one engine a process, one transaction a unit of work, row-level security in each.

Every transaction takes on the role `paddock_app`, which owns nothing and cannot pass by row-level security, and says
for whom it acts. Policies on the tables compare rows with that, so a query that forgets its WHERE sees nothing of
others, and a transaction that forgets to say for whom it acts sees nothing at all.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import asyncpg
from sqlalchemy import BigInteger, DateTime, Double, Text, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from paddock_controlplane.problems import Invalid, Unavailable

T = TypeVar("T")

APP_ROLE = "paddock_app"
_ATTEMPTS = 6
_SERIALIZATION_FAILURES = ("40001", "40P01")
_UNSTORABLE = ("22021", "22P05")
"""Characters that PostgreSQL has no place for: wherever in a request they came from, the request is wrong."""
_AWAY_CLASSES = ("08", "57", "53")
"""SQLSTATE classes of connection failures, operator intervention (shutdown, starting up) and lack of resources."""
LOCK_TIMEOUT = "55P03"
"""SQLSTATE of a lock that did not come in time."""
_STATEMENT_CANCELLED = "57014"

_ENTER = text(
    "SELECT set_config('role', :role, true), set_config('paddock.tenant', :tenant, true),"
    " set_config('paddock.entity', :entity, true), set_config('paddock.principal', :principal, true)"
)


class Base(DeclarativeBase):
    """Base of every table's class.

    Defaults of the server are not read back: that would need the right to read rows which may only be appended.
    """

    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012
    type_annotation_map = {  # noqa: RUF012 - declared so by the base class
        datetime: DateTime(timezone=True),
        float: Double,
        int: BigInteger,
        str: Text,
    }


class DatabaseUnavailable(Unavailable):
    code, title = "DatabaseUnavailable", "The database cannot be reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """For whom a transaction acts. `*` sees every row; the empty text sees none."""

    tenant: str = ""
    entity: str = ""
    principal: str = ""


EVERYTHING = Scope(tenant="*", entity="*", principal="*")
"""The control plane's own work."""


class Database:
    """The only way to a session."""

    def __init__(self, *, dsn: str, pool_size: int = 8) -> None:
        self.engine = create_async_engine(
            dsn,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            pool_pre_ping=True,
            pool_recycle=1800,
            hide_parameters=True,
            connect_args={
                "timeout": 5,
                "command_timeout": 60,
                "server_settings": {
                    "application_name": "paddock-controlplane",
                    "statement_timeout": "60000",
                    "lock_timeout": "15000",
                    "idle_in_transaction_session_timeout": "60000",
                },
            },
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self, scope: Scope, *, isolation: str | None = None) -> AsyncIterator[AsyncSession]:
        """A session in a transaction that acts for `scope`: committed at the end, rolled back on an error.

        `isolation` is an SQL isolation level, where the database's default does not do.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
        """
        try:
            async with self._sessions() as session, session.begin():
                if isolation is not None:
                    await session.connection(execution_options={"isolation_level": isolation})
                await session.execute(
                    _ENTER,
                    {
                        "role": APP_ROLE,
                        "tenant": scope.tenant,
                        "entity": scope.entity,
                        "principal": scope.principal,
                    },
                )
                yield session
        except (DBAPIError, PoolTimeoutError, OSError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
            if away(error):
                raise DatabaseUnavailable("the database cannot be reached: try again shortly") from error
            if sqlstate(error) in _UNSTORABLE:
                raise Invalid("a text holds a character that cannot be stored (NUL): leave it out") from error
            raise

    async def run(self, scope: Scope, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Do a unit of work in a transaction; again if PostgreSQL broke it off to resolve a conflict."""
        for attempt in range(_ATTEMPTS):
            try:
                async with self.transaction(scope) as session:
                    return await work(session)
            except (DBAPIError, asyncpg.PostgresError) as error:
                if sqlstate(error) not in _SERIALIZATION_FAILURES or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the loop returns or raises")

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of a database error, or the empty text."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(origin, "sqlstate", None) or "")


def away(error: BaseException) -> bool:
    """True if the error says that the database cannot be reached now, as opposed to that a statement is wrong."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state:
        return state == LOCK_TIMEOUT or (state.startswith(_AWAY_CLASSES) and state != _STATEMENT_CANCELLED)
    return isinstance(error, InterfaceError | OperationalError | PoolTimeoutError | OSError | asyncpg.InterfaceError)
