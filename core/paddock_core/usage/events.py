"""A ledger row as a CloudEvent (1.0), for metering systems such as OpenMeter and Lago.

`id` is the usage id and `source` never changes, so a receiver that deduplicates by both counts each row once.
"""

from datetime import UTC, datetime
from typing import Any

from paddock_core.usage.buckets import NAMES, buckets_of
from paddock_core.usage.row import LedgerRow

USAGE = "paddock.usage.v1"
CORRECTION = "paddock.usage.correction.v1"
SOURCE = "urn:paddock:ledger"


def cloud_event(row: LedgerRow) -> dict[str, Any]:
    """The event, as JSON writes it. `cursor` is where a reader that has it goes on."""
    tokens = buckets_of(row)
    return {
        "specversion": "1.0",
        "id": row.usage_id,
        "source": SOURCE,
        "type": USAGE if row.corrects is None else CORRECTION,
        "subject": row.tenant,
        "time": datetime.fromtimestamp(row.t_admit, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "cursor": cursor_of(row),
        "data": {
            "project": row.project,
            "key_id": row.key_id,
            "model": row.model,
            "deployment": row.deployment,
            "end_user_group": row.end_user_group,
            "end_user_hash": row.end_user_hash,
            "operation": row.operation,
            "status": row.status,
            "usage_source": row.usage_source,
            "requests": 1 if row.corrects is None else 0,
            **{f"{name}_tokens": getattr(tokens, name) for name in NAMES},
            "total_tokens": row.input_tokens + row.output_tokens,
            "price_id": row.price_id,
            "currency": row.currency,
            "cost_nano": row.cost_nano,
            "corrects": row.corrects,
            "reason": row.reason,
        },
    }


def cursor_of(row: LedgerRow) -> str:
    """Where a reader that has this row goes on."""
    return f"{row.arrival}.{row.usage_id}"
