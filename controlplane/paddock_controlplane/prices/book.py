"""The price book as the ledger's writer uses it: in memory, and never older than the transaction that asks."""

from typing import Any

from paddock_core.usage.buckets import Buckets
from paddock_core.usage.prices import Price, PriceBook
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.prices.models import PriceRow

_LOCK = 0x7072696365  # "price"
_SHARE = text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
_ALONE = text(f"SELECT pg_advisory_xact_lock({_LOCK})")


class Prices:
    """The book of the newest entry that was read."""

    def __init__(self) -> None:
        self._seq = 0
        self._book = PriceBook(())

    async def current(self, session: AsyncSession) -> PriceBook:
        """The book as it stands, which no one changes until this transaction ends."""
        await hold(session)
        newest = (await session.execute(select(func.coalesce(func.max(PriceRow.seq), 0)))).scalar_one()
        if newest != self._seq:
            rows = await session.scalars(select(PriceRow).order_by(PriceRow.seq))
            self._book, self._seq = PriceBook(price_of(row) for row in rows), newest
        return self._book


async def hold(session: AsyncSession) -> None:
    """Let nobody change the book before this transaction ends."""
    await session.execute(_SHARE)


async def alone(session: AsyncSession) -> None:
    """Wait until no batch is being priced, and let none begin before this transaction ends."""
    await session.execute(_ALONE)


def price_of(row: PriceRow) -> Price:
    """The entry as core knows it."""
    prices: dict[str, Any] | None = row.prices
    return Price(
        currency=row.currency,
        effective_from=row.effective_from,
        prices=None if prices is None else Buckets(**prices),
        model=row.model,
        deployment=row.deployment,
        tenant=row.tenant,
    )
