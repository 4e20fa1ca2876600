"""A batch of usage records as gateways send it, decoded and checked in one pass.

The shape is `paddock_core.usage.record.UsageRecord`, field for field. It is decoded into a struct with bounds, not
into the dataclass, since the ledger's speed is bounded by what is done for each record here. Where the record names
the values that a field may have, no other is taken.
"""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, get_origin, get_type_hints
from uuid import UUID

import msgspec
from msgspec import Meta
from paddock_core.usage.money import MOST_TOKENS
from paddock_core.usage.record import UsageRecord

from paddock_controlplane.usage.errors import RecordInvalid

MOST_RECORDS = 10_000
"""Records in one batch."""
ID_SECONDS = 60.0
"""How far `t_admit` may be from the moment in the id: both are read from one clock at admission, so a price or an hour
cannot be chosen beside the day that the id's partition is of."""

Tokens = Annotated[int, Meta(ge=0, le=MOST_TOKENS)]
_Moment = Annotated[float, Meta(ge=0, le=1e11)]
_Text = Annotated[str, Meta(max_length=500)]
_BOUNDED = {
    int: Tokens,
    int | None: Tokens | None,
    float: _Moment,
    float | None: _Moment | None,
    str: _Text,
    str | None: _Text | None,
    bool: bool,
}
_OWN = {"usage_id": UUID, "journal_seq": Annotated[int, Meta(ge=0, le=2**63 - 1)]}

NAMES = tuple(field.name for field in fields(UsageRecord))


def _fields() -> list[Any]:
    hints = get_type_hints(UsageRecord)
    found: list[Any] = []
    for field in fields(UsageRecord):
        hint = hints[field.name]
        kind = _OWN.get(field.name) or (hint if get_origin(hint) is Literal else _BOUNDED[hint])
        found.append((field.name, kind) if field.default is MISSING else (field.name, kind, field.default))
    return found


Record: Any = msgspec.defstruct("Record", _fields(), kw_only=True, frozen=True, gc=False)
_Batch: Any = msgspec.defstruct("Batch", [("records", list[Record])], gc=False)
_JSON = msgspec.json.Decoder(_Batch)
_MSGPACK = msgspec.msgpack.Decoder(_Batch)
MSGPACK = "application/msgpack"


def decode(body: bytes, *, content_type: str = "application/json") -> Sequence[Any]:
    """The records of a batch, in JSON or, if the content type says so, MessagePack.

    Raises:
        RecordInvalid: it is no batch, has too many records, or a record is not as it should be.
    """
    compact = content_type.partition(";")[0].strip() == MSGPACK
    try:
        records = (_MSGPACK if compact else _JSON).decode(body).records
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordInvalid(f"the batch is not as expected: {error}") from error
    if len(records) > MOST_RECORDS:
        raise RecordInvalid(f"a batch holds at most {MOST_RECORDS} records: send them in parts")
    _check_moments(records)
    _check_texts(body, records, compact=compact)
    return records  # type: ignore[no-any-return]


def decoded(records: Sequence[UsageRecord]) -> Sequence[Any]:
    """The same from records in memory, with the same checks."""
    return decode(msgspec.msgpack.encode({"records": records}), content_type=MSGPACK)


def _check_moments(records: Sequence[Any]) -> None:
    for record in records:
        if not -ID_SECONDS <= (record.usage_id.int >> 80) / 1000 - record.t_admit <= ID_SECONDS:
            raise RecordInvalid(
                f"record {record.usage_id}: t_admit is more than {ID_SECONDS:.0f} s from the moment in the id"
            )


def _check_texts(body: bytes, records: Sequence[Any], *, compact: bool) -> None:
    """PostgreSQL keeps no NUL. In JSON only an escape can say it, so most bodies need no look at each text."""
    if not (compact or b"\\u0000" in body):
        return
    for record in records:
        for name in NAMES:
            value = getattr(record, name)
            if isinstance(value, str) and "\x00" in value:
                raise RecordInvalid(f"record {record.usage_id}: {name} holds a NUL character")
