"""The usage ledger: exactly once, whole batches, true roll-ups."""

import asyncio
import time
import uuid
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_controlplane.usage import wire
from paddock_controlplane.usage.errors import RecordInvalid
from paddock_controlplane.usage.partitions import Partitions
from paddock_core.usage.record import UsageRecord


@pytest.mark.postgres
async def test_a_batch_counts_once_however_often_it_comes(api: Any, ledger: Any) -> None:
    now = time.time()
    first = [ledger.record(n, at=now) for n in range(50)]
    assert await ledger.enter(api, first) == (50, 0)
    assert await ledger.enter(api, first) == (0, 50)
    overlapping = [ledger.record(n, at=now) for n in range(40, 60)]
    assert await ledger.enter(api, [*overlapping, overlapping[-1]]) == (10, 11)
    total = await ledger.total(api)
    assert total["requests"] == 60
    assert total["input_tokens"] == sum(10 + n for n in range(60))
    assert total["output_tokens"] == 300
    assert await ledger.enter(api, []) == (0, 0)


@pytest.mark.postgres
async def test_the_same_rows_from_many_sides_at_once_count_once(api: Any, ledger: Any) -> None:
    rows = [ledger.record(n, tenant=f"t{n % 5}", key_id=f"k{n % 3}") for n in range(200)]
    batches = [rows[start : start + 100] for start in range(0, 200, 20)] + [rows[::-1], rows]
    results = await asyncio.gather(*(ledger.enter(api, batch) for batch in batches))
    assert sum(accepted for accepted, _ in results) == 200
    total = await ledger.total(api)
    assert total["requests"] == 200
    assert total["input_tokens"] == sum(row["input_tokens"] for row in rows)


@pytest.mark.postgres
async def test_rows_come_back_as_they_went_in(api: Any, ledger: Any) -> None:
    rows = sorted(
        (ledger.record(n, finish_reason=None, t_first_token=None) for n in range(5)), key=lambda row: row["usage_id"]
    )
    await ledger.enter(api, rows[::-1])
    page = await api("GET", "/v1/usage/records?tenant=acme&limit=3", status=200)
    rest = await api("GET", f"/v1/usage/records?tenant=acme&limit=3&after={page['next']}", status=200)
    found = page["items"] + rest["items"]
    assert [{name: item[name] for name in rows[0]} for item in found] == rows
    assert {(item["cost_nano"], item["corrects"], item["project"]) for item in found} == {(None, None, None)}
    assert rest["next"] is None


@pytest.mark.postgres
async def test_sums_by_group_and_period(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    day = datetime(2026, 11, 20, 23, 30, tzinfo=UTC).timestamp()
    await ledger.enter(
        api,
        [
            ledger.record(1, at=day),
            ledger.record(2, at=day + 3600, key_id="other", model="big"),
            ledger.record(3, at=day + 7200, tenant="globex", usage_source="bounded"),
        ],
    )

    async def rows(query: str, by: str = "platform") -> dict[str, int]:
        report = await api("GET", f"/v1/usage?{query}", by=by, status=200)
        return {row["group"]: row["requests"] for row in report["rows"]}

    assert await rows("group_by=tenant") == {"acme": 2, "globex": 1}
    assert await rows("group_by=model") == {"big": 1, "m": 2}
    assert await rows("group_by=deployment") == {"ns/chat": 3}
    assert await rows("group_by=key&tenant=acme") == {"key": 1, "other": 1}
    assert await rows("group_by=day") == {"2026-11-20T00:00:00Z": 1, "2026-11-21T00:00:00Z": 2}
    assert await rows("group_by=hour&tenant=acme") == {"2026-11-20T23:00:00Z": 1, "2026-11-21T00:00:00Z": 1}
    assert await rows("group_by=tenant", by="acme") == {"acme": 2}
    midnight = day + 1800
    assert await rows(f"group_by=tenant&from={midnight}") == {"acme": 1, "globex": 1}
    assert await rows(f"group_by=tenant&to={midnight}") == {"acme": 1}
    assert (await ledger.total(api))["inexact_requests"] == 1
    assert (await ledger.total(api, f"?to={midnight}"))["total_tokens"] == 11 + 5
    await api("GET", "/v1/usage?group_by=colour", status=422)


@pytest.mark.postgres
async def test_days_have_partitions_and_strange_ids_a_place(api: Any, server: Any, database: str, ledger: Any) -> None:
    now = time.time()
    rows = [
        ledger.record(1, at=now),
        ledger.record(2, at=now - 86400),
        ledger.record(3, at=1.0),
        ledger.record(4, usage_id=str(uuid.UUID(int=5)), at=0.0),
    ]
    assert await ledger.enter(api, rows) == (4, 0)
    assert await ledger.enter(api, rows) == (0, 4)
    connection = await server.connect(database)
    found = await connection.fetch("SELECT tableoid::regclass::text AS name, count(*) AS n FROM usage GROUP BY 1")
    await connection.close()
    today = datetime.fromtimestamp(now, UTC).strftime("usage_%Y%m%d")
    yesterday = datetime.fromtimestamp(now - 86400, UTC).strftime("usage_%Y%m%d")
    assert {row["name"]: row["n"] for row in found} == {today: 1, yesterday: 1, "usage_other": 2}


@pytest.mark.postgres
@pytest.mark.parametrize(
    "values",
    [
        {"usage_id": "not-a-uuid"},
        {"input_tokens": -1},
        {"output_tokens": 2**63},
        {"tenant": "nul\x00"},
        {"t_end": "soon"},
        {"stream": None},
        {"status": "free"},
        {"usage_source": "exactt"},
        {"billed_from": "reserved"},
        {"t_admit": time.time() + 90},
        {"t_admit": 9.9e10},
        {"t_admit": time.time() - 90},
    ],
)
async def test_one_bad_record_keeps_the_whole_batch_out(values: dict[str, Any], api: Any, ledger: Any) -> None:
    batch = [ledger.record(1), ledger.record(2, **values)]
    problem = await api("POST", ledger.USAGE, {"records": batch}, by="internal", status=422)
    assert problem["code"] == "RecordInvalid"
    assert (await ledger.total(api))["requests"] == 0


@pytest.mark.postgres
async def test_a_batch_has_bounds(api: Any, ledger: Any) -> None:
    many = {"records": [ledger.record(1)] * 10_001}
    assert (await api("POST", ledger.USAGE, many, by="internal", status=422))["code"] == "RecordInvalid"
    missing = {"records": [{"usage_id": "x"}]}
    assert (await api("POST", ledger.USAGE, missing, by="internal", status=422))["code"] == "RecordInvalid"


@given(number=st.integers(0, (10**14 << 80) - 1))
def test_any_id_has_a_day_or_none(number: int, ledger: Any) -> None:
    admitted = {"usage_id": str(uuid.UUID(int=number)), "t_admit": (number >> 80) / 1000}
    (row,) = wire.decoded([UsageRecord(**{**ledger.record(0), **admitted})])
    days, odd = Partitions(retention_days=40).days_of([row])
    ages = [(day - datetime.now(UTC).date()).days for day in days]
    assert len(days) <= 1
    assert all(-441 <= age <= 4 for age in ages)
    assert len(odd) == (0 if any(age > -40 for age in ages) else 1)


def test_a_text_that_is_no_id_is_named(ledger: Any) -> None:
    row = UsageRecord(**{**ledger.record(0), "usage_id": "mine"})
    with pytest.raises(RecordInvalid, match="usage_id"):
        wire.decoded([row])


def test_what_is_decoded_has_the_fields_of_a_usage_record() -> None:
    assert wire.Record.__struct_fields__ == tuple(field.name for field in fields(UsageRecord))


@pytest.mark.postgres
async def test_a_batch_may_come_as_messagepack(api: Any, ledger: Any) -> None:
    rows = [ledger.record(n, project="red", cache_read_tokens=2) for n in range(3)]
    headers = {"content-type": "application/msgpack"}
    for expected in (3, 0):
        answer = await api(
            "POST", ledger.USAGE, by="internal", content=msgspec.msgpack.encode({"records": rows}), headers=headers
        )
        assert answer.json()["accepted"] == expected
    bad = msgspec.msgpack.encode({"records": [{**rows[0], "tenant": "nul\x00"}]})
    answer = await api("POST", ledger.USAGE, by="internal", content=bad, headers=headers)
    assert answer.json()["code"] == "RecordInvalid"
    assert (await ledger.total(api))["cache_read_tokens"] == 6


@pytest.mark.postgres
@pytest.mark.parametrize(
    "values",
    [
        {"cache_read_tokens": 6, "cache_write_tokens": 5},
        {"cache_read_tokens": -1},
        {"reasoning_tokens": 6},
        {"input_tokens": 2**31 + 1},
    ],
)
async def test_buckets_that_overlap_are_refused(values: dict[str, Any], api: Any, ledger: Any) -> None:
    row = ledger.record(0, input_tokens=10, output_tokens=5)
    problem = await api("POST", ledger.USAGE, {"records": [{**row, **values}]}, by="internal", status=422)
    assert problem["code"] == "RecordInvalid"
    assert await ledger.enter(api, [row]) == (1, 0)


@pytest.mark.postgres
async def test_what_a_gateway_of_yesterday_sends_is_taken(api: Any, ledger: Any) -> None:
    """A record without the later fields, and one with a field that is not known yet."""
    old = ledger.record(1)
    assert not {"project", "end_user_group", "cache_read_tokens"} & set(old)
    assert await ledger.enter(api, [old, {**ledger.record(2), "of_tomorrow": 1}]) == (2, 0)
