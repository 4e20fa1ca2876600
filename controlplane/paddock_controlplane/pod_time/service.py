"""Sightings of pods taken in, and what they add up to: GPU time, CPU time, and the tokens beside them."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Literal

import msgspec
from paddock_core.usage.pod_time import DAY_MS, Sighting, Spent, merged, spent
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.pod_time.errors import PeriodTooLong, SeenInFuture
from paddock_controlplane.pod_time.models import PodTimeRow
from paddock_controlplane.tenants.models import NamespaceRow
from paddock_controlplane.usage.models import UsageHourRow

Group = Literal["tenant", "deployment", "day"]
MOST_DAYS = 92
"""Longest period of one report."""
_AHEAD_MS = 300_000
"""How far the clock of whoever saw a pod may be ahead of ours."""
_MOST_ROWS = 10_000
_COUNTS = ("requests", "input_tokens", "output_tokens")

# A pod keeps the tenant, the deployment and the sizes that it was first reported with: they cannot change.
_TAKE = text(
    "INSERT INTO pod_time (uid, tenant, deployment, gpus, cpu_millis, started_ms, seen_ms)"
    " SELECT p.uid, (SELECT id FROM tenants WHERE id = p.tenant), p.deployment, p.gpus, p.cpu_millis, p.started_ms,"
    " p.seen_ms FROM jsonb_to_recordset(CAST(:pods AS jsonb)) AS p (uid text, tenant text, deployment text,"
    " gpus bigint, cpu_millis bigint, started_ms bigint, seen_ms bigint) ORDER BY p.uid"
    " ON CONFLICT (uid) DO UPDATE SET tenant = coalesce(pod_time.tenant, excluded.tenant),"
    " started_ms = least(pod_time.started_ms, excluded.started_ms),"
    " seen_ms = greatest(pod_time.seen_ms, excluded.seen_ms)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Pods whose time is now known up to their sighting."""

    pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From `start` (inclusive) to `end` (exclusive), Unix seconds, by these groups."""

    start: float
    end: float
    by: tuple[Group, ...]
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What pods of one group held. A tenant is empty where the deployment's namespace belonged to nobody."""

    tenant: str | None
    deployment: str | None
    day: str | None
    pods: int
    pod_seconds: float
    gpu_seconds: float
    cpu_seconds: float
    """Seconds times the CPUs that the pods asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldWithTokens(Held):
    """What pods of one group held, and the tokens of the requests that its deployments answered."""

    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTime:
    """Time that pods held, by group."""

    by: tuple[Group, ...]
    rows: list[Held]
    truncated: bool
    """True if there are more groups than are shown; the total is over all of them."""
    total: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTimeAndTokens:
    """Time that pods held and the tokens beside it, by group."""

    by: tuple[Group, ...]
    rows: list[HeldWithTokens]
    truncated: bool
    total: HeldWithTokens


async def take(session: AsyncSession, sightings: Sequence[Sighting]) -> Taken:
    """Take in sightings, in any order and however often.

    Raises:
        SeenInFuture: one lies too far ahead of the control plane's clock.
    """
    latest = int(time.time() * 1000) + _AHEAD_MS
    if any(item.seen_ms > latest for item in sightings):
        raise SeenInFuture("a pod was seen in the future: compare the operator's clock with the control plane's")
    once: dict[str, Sighting] = {}
    for item in sightings:
        once[item.uid] = merged(once[item.uid], item) if item.uid in once else item
    pods = msgspec.json.encode(list(once.values())).decode()
    await session.execute(_TAKE, {"pods": pods})
    return Taken(pods=len(once))


async def held(session: AsyncSession, period: Period) -> PodTime:
    """What pods held in a period, as far as the caller may see them.

    Raises:
        PeriodTooLong: it is longer than MOST_DAYS, or ends before it begins.
    """
    pods = await _pods(session, period)
    rows = [
        Held(**_named(period.by, key), **_seconds(found))
        for key, found in sorted(_by(pods, period, period.by), key=itemgetter(0))
    ]
    total = Held(**_named((), ()), **_seconds(dict(_by(pods, period, ())).get((), Spent())))
    return PodTime(by=period.by, rows=rows[:_MOST_ROWS], truncated=len(rows) > _MOST_ROWS, total=total)


async def held_with_tokens(session: AsyncSession, period: Period) -> PodTimeAndTokens:
    """The same, and the tokens that the deployments answered, whoever asked; hours that begin in the period count.

    A deployment's tokens stand with its owner, who holds the pods, not with the tenants that called it.

    Raises:
        PeriodTooLong: it is longer than MOST_DAYS, or ends before it begins.
    """
    pods = await _pods(session, period)
    tokens = await _tokens(session, period, owners=await _owners(session, pods))
    times, answered = dict(_by(pods, period, period.by)), _sum(tokens, period.by)
    rows = [
        HeldWithTokens(**_named(period.by, key), **_seconds(times.get(key, Spent())), **_counts(answered.get(key)))
        for key in sorted(times.keys() | answered.keys())
    ]
    total = HeldWithTokens(
        **_named((), ()),
        **_seconds(dict(_by(pods, period, ())).get((), Spent())),
        **_counts(_sum(tokens, ()).get(())),
    )
    return PodTimeAndTokens(by=period.by, rows=rows[:_MOST_ROWS], truncated=len(rows) > _MOST_ROWS, total=total)


async def forget(session: AsyncSession, *, days: float) -> None:
    """Drop pods that were last seen longer ago than this."""
    oldest = int(time.time() * 1000 - days * DAY_MS)
    await session.execute(delete(PodTimeRow).where(PodTimeRow.seen_ms < oldest))


async def _pods(session: AsyncSession, period: Period) -> list[Sighting]:
    if not 0 <= period.end - period.start <= MOST_DAYS * DAY_MS / 1000:
        raise PeriodTooLong(f"ask for at most {MOST_DAYS} days, from an earlier moment to a later one")
    query = select(PodTimeRow).where(
        PodTimeRow.seen_ms > int(period.start * 1000), PodTimeRow.started_ms < int(period.end * 1000)
    )
    if period.tenant is not None:
        query = query.where(PodTimeRow.tenant == period.tenant)
    return [
        Sighting(
            uid=row.uid,
            tenant=row.tenant or "",
            deployment=row.deployment,
            gpus=row.gpus,
            cpu_millis=row.cpu_millis,
            started_ms=row.started_ms,
            seen_ms=row.seen_ms,
        )
        for row in await session.scalars(query)
    ]


def _by(pods: Iterable[Sighting], period: Period, by: Sequence[str]) -> Iterable[tuple[tuple[str, ...], Spent]]:
    return spent(pods, start_ms=int(period.start * 1000), end_ms=int(period.end * 1000), by=by).items()


async def _owners(session: AsyncSession, pods: Iterable[Sighting]) -> dict[str, str]:
    """Tenant by namespace; what pods were reported with counts where a namespace has changed hands since."""
    owners = {row.id: row.tenant for row in await session.scalars(select(NamespaceRow))}
    return {**owners, **{pod.deployment.partition("/")[0]: pod.tenant for pod in pods if pod.tenant}}


async def _tokens(session: AsyncSession, period: Period, *, owners: dict[str, str]) -> list[dict[str, Any]]:
    """Requests and tokens by deployment and day."""
    day = func.date_trunc("day", UsageHourRow.hour, "UTC")
    sums = [func.sum(getattr(UsageHourRow, name)) for name in _COUNTS]
    query = (
        select(UsageHourRow.deployment, day, *sums)
        .where(UsageHourRow.hour >= _moment(period.start), UsageHourRow.hour < _moment(period.end))
        .group_by(UsageHourRow.deployment, day)
    )
    return [
        {
            "tenant": owners.get(deployment.partition("/")[0], ""),
            "deployment": deployment,
            "day": at.astimezone(UTC).date().isoformat(),
            "counts": tuple(int(count) for count in counts),
        }
        for deployment, at, *counts in await session.execute(query)
    ]


def _sum(tokens: Iterable[dict[str, Any]], by: Sequence[str]) -> dict[tuple[str, ...], tuple[int, ...]]:
    found: dict[tuple[str, ...], tuple[int, ...]] = {}
    for line in tokens:
        key = tuple(line[name] for name in by)
        old = found.get(key, (0,) * len(_COUNTS))
        found[key] = tuple(a + b for a, b in zip(old, line["counts"], strict=True))
    return found


def _counts(found: tuple[int, ...] | None) -> dict[str, Any]:
    return dict(zip(_COUNTS, found or (0,) * len(_COUNTS), strict=True))


def _named(by: Sequence[str], key: Sequence[str]) -> dict[str, Any]:
    return {**dict.fromkeys(("tenant", "deployment", "day")), **dict(zip(by, key, strict=True))}


def _seconds(found: Spent) -> dict[str, Any]:
    return {
        "pods": found.pods,
        "pod_seconds": found.pod_ms / 1000,
        "gpu_seconds": found.gpu_ms / 1000,
        "cpu_seconds": found.cpu_milli_ms / 1_000_000,
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
