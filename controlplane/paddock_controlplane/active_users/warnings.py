"""Nearness to thresholds: written down once a month and share, shown as a metric. Nothing is ever denied for it.

What counts here is what the platform saw, of one entity alone. A license asks for all products of the entity and its
affiliates, in the month that it names: this is evidence for the next statement, no statement.
"""

from collections import Counter
from datetime import date, timedelta
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from paddock_core.active_users.thresholds import PERCENTS
from paddock_core.catalog.loader import Catalog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.active_users import reading
from paddock_controlplane.active_users.models import MarkRow
from paddock_controlplane.active_users.reading import EntityUsers
from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.db import EVERYTHING, Database

ACTION = "active_users.near_threshold"
_PAGE = 50
_LATE_DAYS = 3
"""In the first days of a month the one before is looked at, too: gateways may send late."""


class NearThresholds:
    """How many entities may have reached a share of a license's threshold this month, as a metric without names."""

    def __init__(self) -> None:
        self._entities: Counter[tuple[str, int]] = Counter()

    def expose(self, meter: Meter) -> None:
        """Register the metric."""
        meter.create_observable_gauge(
            "paddock.active_users.near_threshold",
            callbacks=[self._observe],
            unit="{entity}",
            description="Entities that may have reached this share of a license's threshold of monthly active users.",
        )

    def replace(self, entities: Counter[tuple[str, int]]) -> None:
        """Take the newest figures, by license and percent."""
        self._entities = entities

    def _observe(self, _options: CallbackOptions) -> list[Observation]:
        return [
            Observation(count, {"license": license_id, "percent": percent})
            for (license_id, percent), count in self._entities.items()
        ]


async def look(database: Database, *, catalog: Catalog, near: NearThresholds, today: date) -> None:
    """Look at every entity with users, write down what is new, and keep the metric."""
    current = today.strftime("%Y-%m")
    near.replace(await _month(database, catalog, current))
    if today.day <= _LATE_DAYS:
        await _month(database, catalog, (today - timedelta(days=_LATE_DAYS)).strftime("%Y-%m"))


async def _month(database: Database, catalog: Catalog, month: str) -> Counter[tuple[str, int]]:
    counts: Counter[tuple[str, int]] = Counter()
    after: str | None = ""
    while after is not None:
        look_at = partial(reading.entities, catalog=catalog, month=month, after=after, limit=_PAGE)
        page = await database.run(EVERYTHING, look_at)
        for entity in page.items:
            await database.run(EVERYTHING, partial(_write_down, month=month, entity=entity))
            for item in entity.thresholds:
                counts.update((item.license, percent) for percent in PERCENTS if percent <= (item.warning or 0))
        after = page.next
    return counts


async def _write_down(session: AsyncSession, *, month: str, entity: EntityUsers) -> None:
    """An entry of the audit log for each share that is reached for the first time this month."""
    for item in entity.thresholds:
        for percent in PERCENTS:
            if percent > (item.warning or 0):
                continue
            key = {"month": month, "entity": entity.entity, "license": item.license, "percent": percent}
            entered = await session.execute(
                insert(MarkRow)
                .values(**key, low=entity.low, high=entity.high)
                .on_conflict_do_nothing()
                .returning(MarkRow.percent)
            )
            if entered.first() is None:
                continue
            figures = {"month": month, "percent": percent, "threshold": item.value}
            figures |= {"low": entity.low, "high": entity.high, "tenants": entity.tenants}
            event = Event(
                actor="controlplane", action=ACTION, subject=item.license, entity=entity.entity, detail=figures
            )
            await record(session, event)
