"""Setting prices and listing them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from paddock_core.policy.documents import PublishedPrice
from paddock_core.usage.buckets import NAMES
from paddock_core.usage.money import MOST_PRICE
from paddock_core.usage.prices import Price
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.prices import book, currency
from paddock_controlplane.prices.errors import PriceInPast, PriceInvalid
from paddock_controlplane.prices.models import PriceRow
from paddock_controlplane.tenants import service as tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEntry(Price):
    """An entry as it is kept."""

    price_id: str
    seq: int
    """Its place in the book; of two entries for the same scope and moment the later one holds."""
    set_by: str
    at: float


async def set_price(session: AsyncSession, *, price: Price, starts_now: bool, actor: str) -> PriceEntry:
    """Enter a price. The same one again changes nothing; `starts_now` puts its beginning to this moment.

    Raises:
        PriceInvalid: it is for nothing, for two things, or a figure is out of bounds.
        PriceInPast: it begins before now: requests admitted since then have been priced already.
        CurrencyMixed: money is limited somewhere, in another currency.
        TenantUnknown: there is no such tenant.
    """
    _check(price)
    if price.tenant:
        await tenants.find(session, price.tenant)
    await book.alone(session)
    now = datetime.now(UTC).timestamp()
    if starts_now:
        price = _starting(price, now)
    known = await session.get(PriceRow, price.id)
    if known is not None:
        return entry_of(known)
    if price.effective_from < now:
        raise PriceInPast(
            "requests admitted since then have their price already: let it begin now or later, and change what was "
            "charged by corrections, which are rows of their own"
        )
    if price.prices is not None:
        await currency.check_price(session, price.currency)
    row = _row(price, actor)
    session.add(row)
    await session.flush()
    seq = await session.scalar(select(PriceRow.seq).where(PriceRow.id == price.id))
    published = PublishedPrice(id=price.id, seq=int(seq or 0), price=price)
    await record(
        session,
        Event(
            actor=actor,
            action="price.set",
            subject=price.id,
            tenant=price.tenant or None,
            detail={
                "model": price.model,
                "deployment": price.deployment,
                "currency": price.currency,
                "effective_from": price.effective_from,
                "prices": row.prices,
            },
            changes=[PolicyChange(kind="price", id=price.id, body=published)],
        ),
    )
    kept = await session.scalars(
        select(PriceRow).where(PriceRow.id == price.id).execution_options(populate_existing=True)
    )
    return entry_of(kept.one())


async def list_prices(
    session: AsyncSession, *, tenant: str | None, model: str | None, deployment: str | None, after: int, limit: int
) -> list[PriceEntry]:
    """Entries in the order in which they were set, one more than `limit` if there are more."""
    query = select(PriceRow).where(PriceRow.seq > after).order_by(PriceRow.seq).limit(limit + 1)
    if tenant is not None:
        query = query.where(PriceRow.tenant.in_(("", tenant)))
    if model is not None:
        query = query.where(PriceRow.model == model)
    if deployment is not None:
        query = query.where(PriceRow.deployment == deployment)
    return [entry_of(row) for row in await session.scalars(query)]


async def prices_by_id(session: AsyncSession, ids: set[str]) -> dict[str, Price]:
    """The entries with these ids."""
    rows = await session.scalars(select(PriceRow).where(PriceRow.id.in_(ids)))
    return {row.id: book.price_of(row) for row in rows}


def entry_of(row: PriceRow) -> PriceEntry:
    """The entry as it is shown."""
    price = book.price_of(row)
    return PriceEntry(
        currency=price.currency,
        effective_from=price.effective_from,
        prices=price.prices,
        model=price.model,
        deployment=price.deployment,
        tenant=price.tenant,
        price_id=row.id,
        seq=row.seq,
        set_by=row.set_by,
        at=row.at.timestamp(),
    )


def _check(price: Price) -> None:
    if bool(price.model) == bool(price.deployment):
        raise PriceInvalid("a price is for a model or for a deployment: name one of them")
    for name in NAMES if price.prices else ():
        if not 0 <= getattr(price.prices, name) <= MOST_PRICE:
            raise PriceInvalid(f"{name}: a price is 0 to {MOST_PRICE} nano-units for a million tokens")


def _starting(price: Price, now: float) -> Price:
    return Price(
        currency=price.currency,
        effective_from=now,
        prices=price.prices,
        model=price.model,
        deployment=price.deployment,
        tenant=price.tenant,
    )


def _row(price: Price, actor: str) -> PriceRow:
    prices = None if price.prices is None else {name: getattr(price.prices, name) for name in NAMES}
    return PriceRow(
        id=price.id,
        tenant=price.tenant,
        deployment=price.deployment,
        model=price.model,
        currency=price.currency,
        effective_from=price.effective_from,
        prices=prices,
        set_by=actor,
    )
