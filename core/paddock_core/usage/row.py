"""A row as the ledger keeps it: the record of a request, or a correction of one, with its price."""

from dataclasses import dataclass

from paddock_core.usage.record import UsageRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow(UsageRecord):
    """A row is never changed. A correction is a row of its own; its counts and cost are what it adds, also below 0."""

    price_id: str | None = None
    """The price that held when the request was admitted; None if there was none."""
    currency: str | None = None
    cost_nano: int | None = None
    """In nano-units of the currency; None if there was no price, which is not the same as nothing."""
    corrects: str | None = None
    """The usage id of the row that this one corrects."""
    reason: str | None = None
    """Of a correction."""
    arrival: int = 0
    """Orders rows by when they came into the ledger. Rows of one batch have the same."""
    ingested_at: float = 0.0
    """Unix seconds."""
