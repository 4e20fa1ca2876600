"""The one currency of limits of money: that of the price book.

A limit counts nano-units of what rows cost, so while any limit of money is set, all prices must be in one currency.
Either side is refused where it would mix: a limit while prices or this month's rows are in several, a price in another
currency than the rest while a limit stands. Both hold the price book's lock, so neither can slip past the other.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.prices import book
from paddock_controlplane.prices.errors import CurrencyMixed

MONEY = "money_per_month_nano"

_IN_USE = text(
    "SELECT DISTINCT currency FROM (SELECT DISTINCT ON (tenant, deployment, model) currency, prices FROM prices"
    "  WHERE effective_from <= extract(epoch FROM now()) ORDER BY tenant, deployment, model, effective_from DESC,"
    "  seq DESC) AS newest WHERE prices IS NOT NULL"
    " UNION SELECT DISTINCT currency FROM prices WHERE effective_from > extract(epoch FROM now())"
    "  AND prices IS NOT NULL"
    " UNION SELECT DISTINCT currency FROM usage_hour WHERE currency <> ''"
    "  AND hour >= date_trunc('month', now(), 'UTC') ORDER BY 1"
)
_LIMITED = text(
    "SELECT EXISTS (SELECT FROM tenants WHERE limits ? :money OR end_user_limits ? :money)"
    " OR EXISTS (SELECT FROM projects WHERE limits ? :money)"
    " OR EXISTS (SELECT FROM api_keys WHERE limits ? :money AND revoked_at IS NULL)"
    " OR EXISTS (SELECT FROM platform_limits WHERE limits ? :money)"
)


async def check_limits(session: AsyncSession, limits: Mapping[str, Any]) -> None:
    """Call it where limits are set, in the transaction that sets them.

    Raises:
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
    """
    if limits.get(MONEY) is None:
        return
    await book.hold(session)
    used = await in_use(session)
    if len(used) > 1:
        raise CurrencyMixed(
            f"prices, or costs of this month, are in {' and '.join(used)}, and a limit of money counts one currency: "
            "bring the prices to one, and set the limit in the month after"
        )


async def check_price(session: AsyncSession, currency: str) -> None:
    """Call it where a price is set, with the price book's lock held alone.

    Raises:
        CurrencyMixed: money is limited somewhere, in another currency.
    """
    others = [used for used in await in_use(session) if used != currency]
    if others and (await session.execute(_LIMITED, {"money": MONEY})).scalar_one():
        raise CurrencyMixed(
            f"limits of money count {others[0]}: lift them before a price is set in {currency} "
            "(`paddock quota set --unset money-per-month`), or set it in that currency"
        )


async def in_use(session: AsyncSession) -> list[str]:
    """The currencies of prices that hold now or later, and of what this month's rows cost."""
    return list(await session.scalars(_IN_USE))
