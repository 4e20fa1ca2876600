"""Charges in FOCUS 1.2 columns as files: Parquet with exact decimals, or CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from paddock_core.usage.focus import DECIMALS, FocusRow

_COLUMNS = tuple(field.name for field in fields(FocusRow))
_MOMENTS = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
_DIGITS, _PLACES = 38, 9


def csv_text(rows: Iterable[dict[str, Any]], columns: Sequence[str] = _COLUMNS) -> str:
    """The rows as CSV with a header; null is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_parquet(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The rows as Parquet: numbers as decimals with nine places, times as timestamps of UTC."""
    import pyarrow as pa  # here, since it is large and nothing else needs it
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        values = [row[name] for row in rows]
        if name in DECIMALS:
            exact = [None if value is None else Decimal(value) for value in values]
            columns[name] = pa.array(exact, type=pa.decimal128(_DIGITS, _PLACES))
        elif name in _MOMENTS:
            moments = pa.array(values, type=pa.string())
            parsed = pc.strptime(moments, format="%Y-%m-%dT%H:%M:%SZ", unit="ms")
            columns[name] = parsed.cast(pa.timestamp("ms", tz="UTC"))
        else:
            columns[name] = pa.array(values, type=pa.bool_() if name == "x_Unpriced" else pa.string())
    table = pa.table(columns).replace_schema_metadata({"FocusVersion": "1.2"})
    pq.write_table(table, path)
