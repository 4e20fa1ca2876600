"""What the process does beside requests: partitions ahead of time, old rows dropped, audit heads exported."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from paddock_controlplane.active_users import retention, warnings
from paddock_controlplane.audit import denials, heads
from paddock_controlplane.call import State
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.idempotency import service as idempotency
from paddock_controlplane.licensing import staleness
from paddock_controlplane.pod_time import service as pod_time
from paddock_controlplane.policy import service as policy
from paddock_controlplane.problems import Problem
from paddock_controlplane.usage import clock

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 3600.0
_RETRY_SECONDS = 10.0


async def run(state: State) -> None:
    """Once an hour until cancelled; sooner again where the database was away."""
    while True:
        try:
            await once(state)
        except (Problem, SQLAlchemyError, OSError) as error:
            log.warning("maintenance postponed", extra={"error": str(error)})
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            await asyncio.sleep(_INTERVAL_SECONDS)


async def once(state: State) -> None:
    """Do all of it now."""
    await state.database.run(EVERYTHING, clock.restart)
    await state.partitions.ensure_ahead(state.database)
    await state.partitions.retire(state.database)
    await state.ledger.compare(state.database)
    await state.database.run(EVERYTHING, idempotency.forget_old)
    await state.database.run(EVERYTHING, lambda session: denials.close_hours(session, now=time.time()))
    await state.database.run(EVERYTHING, lambda session: staleness.suspend_overdue(session, now=time.time()))
    await state.database.run(EVERYTHING, lambda session: policy.prune(session, days=state.settings.policy_log_days))
    days = state.settings.usage_retention_days
    await state.database.run(EVERYTHING, lambda session: pod_time.forget(session, days=days))
    await state.quotas.look(state.database, seconds=state.settings.quota_lease_seconds)
    today = datetime.now(UTC).date()
    oldest = today - timedelta(days=state.settings.active_users_days)
    await state.database.run(EVERYTHING, lambda session: retention.forget_days(session, before=oldest))
    await warnings.look(state.database, catalog=state.catalog, near=state.near_thresholds, today=today)
    if state.settings.audit_heads_file is not None:
        await heads.export(database=state.database, key=state.audit_key, path=state.settings.audit_heads_file)
