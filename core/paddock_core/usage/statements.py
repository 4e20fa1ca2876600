"""A tenant's monthly statement: added up row by row, and signed.

Whoever has the rows and the prices can add them again with the same function and must come to the same text. The
signature is HMAC-SHA256 under the audit key, which the operator holds, as that of the audit log's heads.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from paddock_core.usage.buckets import NAMES, Buckets, buckets_of
from paddock_core.usage.prices import Price, costs_of
from paddock_core.usage.row import LedgerRow


class StatementError(ValueError):
    """A row does not fit into the statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one model, deployment and price came to. Costs are nano-units; requests do not count corrections."""

    project: str | None
    model: str
    deployment: str
    price_id: str | None
    requests: int
    corrections: int
    tokens: Buckets
    costs: Buckets
    adjusted: int
    """What corrections changed beside the tokens' price, in nano-units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """The sum of all lines of one currency, in nano-units."""

    currency: str
    cost_nano: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a tenant used, and what it costs."""

    tenant: str
    month: str
    """`2026-11`, of UTC."""
    after_arrival: int
    """Rows that arrived before this and belong to earlier months are in earlier statements; 0 in the first one."""
    until_arrival: int
    """Rows that arrive later are in the next statement, whatever month they belong to."""
    previous: str | None
    """Digest of the statement before."""
    rows: int
    rows_digest: str
    """SHA-256 over the rows in the order of their ids."""
    lines: list[Line]
    totals: list[Total]
    unpriced_requests: int
    prices: list[Price]
    """Every price that a line names."""

    def text(self) -> str:
        """The canonical text that is signed."""
        return msgspec.json.encode(self, order="sorted").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A statement as it is handed out."""

    id: str
    tenant: str
    month: str
    document: str
    """The statement's canonical text."""
    digest: str
    """SHA-256 of the text."""
    signature: str
    at: float
    """When it was issued, Unix seconds."""

    def intact(self) -> bool:
        """True if the digest is that of the text."""
        return hmac.compare_digest(digest(self.document), self.digest)

    def signed_by(self, key: bytes) -> bool:
        """True if the holder of this key issued it."""
        return hmac.compare_digest(self.signature, signature(key=key, digest=self.digest))

    def statement(self) -> Statement:
        """What it says.

        Raises:
            StatementError: the text is no statement.
        """
        try:
            return msgspec.json.decode(self.document, type=Statement)
        except msgspec.DecodeError as error:
            raise StatementError(f"statement {self.id} cannot be read: {error}") from error


def digest(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def signature(*, key: bytes, digest: str) -> str:
    """HMAC-SHA256 in hex by which the key's holder recognises a statement as one it issued."""
    return hmac.new(key, f"usage-statement:{digest}".encode(), hashlib.sha256).hexdigest()


def month_bounds(month: str) -> tuple[float, float]:
    """Unix seconds of the month's first moment and of the next month's.

    Raises:
        ValueError: it is not written as 2026-11.
    """
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    following = (
        first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)
    )
    return first.timestamp(), following.timestamp()


@dataclass(slots=True)
class _Open:
    """A line while it grows."""

    requests: int = 0
    corrections: int = 0
    adjusted: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    costs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))


class Tally:
    """Adds rows, in the order of their ids."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices
        self._lines: dict[tuple[str, str, str, str], _Open] = {}
        self._digest = hashlib.sha256()
        self._last = ""
        self.rows = 0

    def add(self, rows: Iterable[LedgerRow]) -> None:
        """Take the next rows.

        Raises:
            StatementError: they come in another order, name a price that is not there, or a row's cost is not its
                tokens' price.
        """
        for row in rows:
            if row.usage_id <= self._last:
                raise StatementError(f"row {row.usage_id} came after {self._last}")
            self._last = row.usage_id
            self._digest.update(_told(row))
            self._count(row)
            self.rows += 1

    def _count(self, row: LedgerRow) -> None:
        line = self._lines.setdefault((row.project or "", row.model, row.deployment, row.price_id or ""), _Open())
        if row.corrects is None:
            line.requests += 1
        else:
            line.corrections += 1
        tokens = buckets_of(row)
        for name in NAMES:
            line.tokens[name] += getattr(tokens, name)
        if row.price_id is None:
            return
        price = self._prices.get(row.price_id)
        if price is None or price.prices is None or row.cost_nano is None:
            raise StatementError(f"row {row.usage_id}: its price {row.price_id} is not in the price book")
        costs = costs_of(row, price.prices)
        rest = row.cost_nano
        for name in NAMES:
            cost = getattr(costs, name)
            line.costs[name] += cost
            rest -= cost
        if rest and row.corrects is None:
            raise StatementError(f"row {row.usage_id}: its cost is {rest} nano-units off its tokens' price")
        line.adjusted += rest

    def statement(
        self, *, tenant: str, month: str, after_arrival: int, until_arrival: int, previous: str | None
    ) -> Statement:
        """What was added, as a statement."""
        totals: dict[str, int] = {}
        for (_, _, _, price_id), line in self._lines.items():
            if price_id:
                currency = self._prices[price_id].currency
                totals[currency] = totals.get(currency, 0) + sum(line.costs.values()) + line.adjusted
        named = sorted({key[3] for key in self._lines} - {""})
        return Statement(
            tenant=tenant,
            month=month,
            after_arrival=after_arrival,
            until_arrival=until_arrival,
            previous=previous,
            rows=self.rows,
            rows_digest=self._digest.hexdigest(),
            lines=[_line(key, line) for key, line in sorted(self._lines.items())],
            totals=[Total(currency=name, cost_nano=totals[name]) for name in sorted(totals)],
            unpriced_requests=sum(line.requests for key, line in self._lines.items() if not key[3]),
            prices=[self._prices[name] for name in named],
        )


def _line(key: tuple[str, str, str, str], line: _Open) -> Line:
    project, model, deployment, price_id = key
    return Line(
        project=project or None,
        model=model,
        deployment=deployment,
        price_id=price_id or None,
        requests=line.requests,
        corrections=line.corrections,
        tokens=Buckets(**line.tokens),
        costs=Buckets(**line.costs),
        adjusted=line.adjusted,
    )


def _told(row: LedgerRow) -> bytes:
    """What the digest covers of a row: all that decides what it costs."""
    return msgspec.json.encode(
        [
            row.usage_id,
            row.tenant,
            row.project,
            row.key_id,
            row.model,
            row.deployment,
            row.t_admit,
            row.input_tokens,
            row.cache_read_tokens,
            row.cache_write_tokens,
            row.output_tokens,
            row.reasoning_tokens,
            row.price_id,
            row.cost_nano,
            row.corrects,
            row.arrival,
        ]
    )
