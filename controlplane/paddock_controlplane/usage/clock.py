"""The order in which rows arrived: `arrival`, the number of the transaction that entered a row, plus an offset.

A reader that follows arrivals up to the horizon misses nothing: every transaction below it has ended. Sequences could
not tell that, since transactions commit in another order than they draw numbers.
"""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession


async def horizon(session: AsyncSession) -> int:
    """The arrival below which no row can appear any more."""
    return int((await session.execute(select(func.paddock_usage_horizon()))).scalar_one())


async def restart(session: AsyncSession) -> None:
    """After a restore transaction numbers begin anew: raise the offset, so that new rows arrive after all others."""
    await session.execute(select(func.paddock_usage_restart_clock()))
