"""Charges of a period, added up in the database by the same rule as `paddock_core.usage.money`."""

from dataclasses import dataclass
from typing import Any, Literal

from paddock_core.usage.buckets import NAMES
from paddock_core.usage.focus import ADJUSTMENT, Charge, FocusRow, focus_row
from paddock_core.usage.money import PER_TOKENS
from paddock_core.usage.prices import Price
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.prices import currency as currencies
from paddock_controlplane.prices import service as prices
from paddock_controlplane.usage.errors import PeriodTooLong

_LONGEST_SECONDS = 32 * 86400.0
_MOST = 100_000
_NO_CURRENCY = "XXX"
"""ISO 4217 for no currency: the price book has never had a price. FOCUS leaves the column no null."""
_TOKENS = {
    "input_uncached": "input_tokens - cache_read_tokens - cache_write_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "output_text": "output_tokens - reasoning_tokens",
    "output_reasoning": "reasoning_tokens",
}
_PROVIDER = text("SELECT legal_name FROM entities WHERE is_operator")


def _cost(bucket: str) -> str:
    """What the bucket of one row costs; `div` on numeric is exact and cuts towards zero, as the rule needs."""
    tokens, price = f"({_TOKENS[bucket]})", f"(book.prices->>'{bucket}')::numeric"
    return f"sign({tokens}) * div(abs({tokens}) * {price} + {PER_TOKENS // 2}, {PER_TOKENS})"


_READ = (
    "SELECT floor(t_admit / :width) * :width AS start, usage.tenant, coalesce(project, '') AS project, key_id,"  # noqa: S608
    " usage.model, usage.deployment, corrects IS NOT NULL AS correction, price_id,"
    + ", ".join(f" sum({_TOKENS[name]}) AS {name}_tokens" for name in NAMES)
    + ","
    + ", ".join(f" sum({_cost(name)}) AS {name}_cost" for name in NAMES)
    + ", sum(cost_nano) AS cost_nano FROM usage LEFT JOIN prices AS book ON book.id = price_id"
    " WHERE t_admit >= :start AND t_admit < :end {only}"
    " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8 LIMIT :most"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Of what charges are wanted. Unix seconds, `end` exclusive."""

    tenant: str | None
    start: float
    end: float
    interval: Literal["hour", "day"]

    @property
    def width(self) -> float:
        """Seconds of a charge period."""
        return 3600.0 if self.interval == "hour" else 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """Rows in FOCUS columns."""

    rows: list[FocusRow]


async def read(session: AsyncSession, period: Period) -> Charges:
    """The charges of a period, ordered by time.

    Raises:
        PeriodTooLong: it is longer than 32 days, or has too many charges.
    """
    if period.end - period.start > _LONGEST_SECONDS:
        raise PeriodTooLong("ask for at most 32 days at once")
    query = _READ.format(only="AND usage.tenant = :tenant" if period.tenant else "")
    values = {"width": period.width, "start": period.start, "end": period.end, "most": _MOST + 1}
    found = (
        await session.execute(text(query), {**values, **({"tenant": period.tenant} if period.tenant else {})})
    ).all()
    if len(found) > _MOST:
        raise PeriodTooLong(f"that is more than {_MOST} charges: ask for less time or for one tenant")
    book = await prices.prices_by_id(session, {row.price_id for row in found if row.price_id})
    provider = (await session.execute(_PROVIDER)).scalar() or "Paddock"
    currency = await _currency(session, [price.currency for price in book.values()])
    charges = [charge for row in found for charge in _charges(row, book, period, provider, currency)]
    return Charges(rows=[focus_row(charge) for charge in charges])


async def _currency(session: AsyncSession, charged: list[str]) -> str:
    """What charges without a price are shown in: the price book's currency, else that of the other charges."""
    return next(iter([*await currencies.in_use(session), *sorted(charged)]), _NO_CURRENCY)


def _charges(row: Any, book: dict[str, Price], period: Period, provider: str, currency: str) -> list[Charge]:
    """One for each bucket that was used, and one for what a correction adjusted beside the price."""
    found = []
    rest = int(row.cost_nano or 0)
    for name in (*NAMES, ADJUSTMENT):
        adjusted = name == ADJUSTMENT
        tokens = 0 if adjusted else int(getattr(row, f"{name}_tokens"))
        cost = rest if adjusted else int(getattr(row, f"{name}_cost") or 0)
        rest -= cost
        if not tokens and not cost:
            continue
        found.append(
            Charge(
                start=float(row.start),
                end=float(row.start) + period.width,
                tenant=row.tenant,
                tenant_name=row.tenant,
                project=row.project,
                key_id=row.key_id,
                model=row.model,
                deployment=row.deployment,
                bucket=name,
                correction=row.correction,
                tokens=tokens,
                cost_nano=cost,
                price_id=row.price_id,
                price=book.get(row.price_id) if row.price_id else None,
                provider=provider,
                currency=currency,
            )
        )
    return found
