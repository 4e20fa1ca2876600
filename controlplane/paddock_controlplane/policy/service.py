"""The policy as followers get it: a snapshot, then the changes after it."""

import time
from datetime import timedelta
from typing import Any

from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change, Changes, Snapshot
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.policy.errors import RevisionGone
from paddock_controlplane.policy.models import PolicyRow

_MOST_CHANGES = 5000
"""Changes in one answer; a follower that is further behind asks again at once."""

_NEWEST = text(
    "SELECT kind, id, body FROM ("
    " SELECT DISTINCT ON (kind, id) kind, id, body FROM policy_log ORDER BY kind, id, revision DESC"
    ") AS newest WHERE body IS NOT NULL"
)
_PRUNE = text(
    "WITH dropped AS ("
    " DELETE FROM policy_log AS old WHERE old.at < now() - CAST(:age AS interval) AND (old.body IS NULL OR EXISTS"
    " (SELECT 1 FROM policy_log AS newer WHERE newer.kind = old.kind AND newer.id = old.id"
    "  AND newer.revision > old.revision)) RETURNING revision"
    ") UPDATE head SET policy_floor = greatest(policy_floor, coalesce((SELECT max(revision) FROM dropped), 0))"
)


async def revision(session: AsyncSession) -> int:
    """The newest revision."""
    found = await session.execute(text("SELECT revision FROM head"))
    return int(found.scalar_one())


async def snapshot(session: AsyncSession, *, max_age_seconds: float) -> Snapshot:
    """Every object at the newest revision. Needs a REPEATABLE READ transaction: both reads must be of one moment."""
    newest = await revision(session)
    objects: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, key, body in await session.execute(_NEWEST):
        objects.setdefault(kind, {})[key] = body
    return Snapshot(revision=newest, max_age_seconds=max_age_seconds, at=time.time(), objects=objects)


async def changes(session: AsyncSession, *, after: int, max_age_seconds: float) -> Changes:
    """The changes after a revision.

    Raises:
        RevisionGone: the log does not reach back that far, or never was that far (another database).
    """
    rows = await session.scalars(
        select(PolicyRow).where(PolicyRow.revision > after).order_by(PolicyRow.revision).limit(_MOST_CHANGES)
    )
    items = tuple(Change(revision=row.revision, kind=row.kind, id=row.id, body=row.body) for row in rows)
    # Read after the rows: if pruning took one of them meanwhile, the floor says so.
    found = await session.execute(text("SELECT revision, policy_floor FROM head"))
    newest, floor = found.one()
    if after < floor or after > newest:
        raise RevisionGone("the policy log does not reach back to this revision: take a new snapshot")
    reached = items[-1].revision if items else after
    return Changes(revision=reached, max_age_seconds=max_age_seconds, at=time.time(), changes=items)


async def prune(session: AsyncSession, *, days: float) -> None:
    """Drop rows that a newer row of the same object supersedes, once no follower can be so far behind."""
    await session.execute(_PRUNE, {"age": timedelta(days=days)})


async def read_snapshot(database: Database, *, max_age_seconds: float) -> Snapshot:
    """A consistent snapshot in a transaction of its own."""
    async with database.transaction(EVERYTHING, isolation="REPEATABLE READ") as session:
        return await snapshot(session, max_age_seconds=max_age_seconds)


class CurrentView:
    """The control plane's own copy of the policy, brought up to date before each use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._view = PolicyView.empty()

    async def get(self) -> PolicyView:
        """The view at the newest revision."""
        try:
            async with self._database.transaction(EVERYTHING, isolation="REPEATABLE READ") as session:
                news = await changes(session, after=self._view.revision, max_age_seconds=0)
                view = self._view.apply(news.changes, revision=news.revision)
        except RevisionGone:
            view = PolicyView.from_snapshot(await read_snapshot(self._database, max_age_seconds=0))
        self._view = view
        return view
