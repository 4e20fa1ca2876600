"""The price book: which price holds for a request, decided by the moment of its admission.

An entry is for a model or a deployment, and for everybody or one tenant. Of the entries that fit, the closest scope
decides: tenant and deployment, tenant and model, deployment, model. Within a scope the latest entry that is in effect
decides; one without prices ends the scope's own price, so the next scope decides again. Entries are never changed.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from paddock_core.usage.buckets import NAMES, Buckets, Counted, buckets_of
from paddock_core.usage.money import tokens_cost

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One entry. Prices are nano-units of `currency` for a million tokens; None ends the scope's price."""

    currency: str
    """ISO 4217."""
    effective_from: float
    """Unix seconds; requests admitted then or later."""
    prices: Buckets | None
    model: str = ""
    """Catalogue id; empty where the entry is for a deployment."""
    deployment: str = ""
    tenant: str = ""
    """Empty: for every tenant."""

    @property
    def id(self) -> str:
        """The digest of its content: the same price has the same id, and an id can mean only one price."""
        content = msgspec.json.encode(self, order="sorted")
        return f"price-{hashlib.sha256(content).hexdigest()[:32]}"

    @property
    def scope(self) -> tuple[str, str, str]:
        """What it is for."""
        return self.tenant, self.deployment, self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What holds for one kind of request at a moment."""

    id: str
    currency: str
    prices: Buckets


class PriceBook:
    """Every entry. Later ones of the same scope and moment replace earlier ones."""

    def __init__(self, entries: Iterable[Price]) -> None:
        self._scopes: dict[tuple[str, str, str], dict[float, Price]] = {}
        for entry in entries:
            self._scopes.setdefault(entry.scope, {})[entry.effective_from] = entry
        self._timelines: dict[tuple[str, str, str], tuple[list[float], list[Tariff | None]]] = {}

    def at(self, *, tenant: str, deployment: str, model: str, moment: float) -> Tariff | None:
        """The price of a request admitted at `moment` (Unix seconds); None if there is none."""
        key = (tenant, deployment, model)
        timeline = self._timelines.get(key)
        if timeline is None:
            if len(self._timelines) >= _MOST_REMEMBERED:
                self._timelines.clear()
            timeline = self._timelines[key] = self._timeline(key)
        starts, tariffs = timeline
        found = bisect_right(starts, moment)
        return tariffs[found - 1] if found else None

    def _timeline(self, key: tuple[str, str, str]) -> tuple[list[float], list[Tariff | None]]:
        """The moments at which the price of such requests changes, and what it then is."""
        tenant, deployment, model = key
        closest_first = ((tenant, deployment, ""), (tenant, "", model), ("", deployment, ""), ("", "", model))
        scopes = [self._scopes[scope] for scope in closest_first if scope in self._scopes]
        starts = sorted({start for scope in scopes for start in scope})
        return starts, [_decide(scopes, start) for start in starts]


def _decide(scopes: Sequence[dict[float, Price]], moment: float) -> Tariff | None:
    for scope in scopes:
        latest = max((start for start in scope if start <= moment), default=None)
        if latest is not None:
            entry = scope[latest]
            if entry.prices is not None:
                return Tariff(id=entry.id, currency=entry.currency, prices=entry.prices)
    return None


def costs_of(row: Counted, prices: Buckets) -> Buckets:
    """What each bucket of a row costs, in nano-units, each rounded by itself."""
    tokens = buckets_of(row)
    return Buckets(**{name: tokens_cost(tokens=getattr(tokens, name), price=getattr(prices, name)) for name in NAMES})


def cost_of(row: Counted, prices: Buckets) -> int:
    """What a row costs, in nano-units: the sum of its buckets."""
    if row.cache_read_tokens or row.cache_write_tokens or row.reasoning_tokens:
        costs = costs_of(row, prices)
        return sum(getattr(costs, name) for name in NAMES)
    return tokens_cost(tokens=row.input_tokens, price=prices.input_uncached) + tokens_cost(
        tokens=row.output_tokens, price=prices.output_text
    )
