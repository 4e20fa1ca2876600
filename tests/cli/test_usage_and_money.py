"""`paddock usage`, `price`, `statement` and `ledger` against a real control plane."""

import asyncio
import csv
import io
import json
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_cli.focus_files import write_parquet
from paddock_cli.nouns.usage import Interval, floor, over_time
from paddock_cli.plot import HEIGHT, amount, plot
from paddock_core.usage.buckets import Buckets
from paddock_core.usage.prices import Price

MODEL, LAST_MONTH = "billed-model", "2026-01"
ADMITTED = 1767571200.0  # 2026-01-05
COST = 2 * (1000 * 150 + 500 * 600)


def _record(number: int, at: float) -> dict[str, Any]:
    return {
        "usage_id": str(uuid.UUID(int=(int(at * 1000) << 80) | (7 << 76) | (2 << 62) | number)),
        "tenant": "acme",
        "key_id": f"key{number}",
        "owner_tenant": "acme",
        "deployment": "acme-prod/billed",
        "model": MODEL,
        "dialect": "openai",
        "operation": "chat",
        "stream": True,
        "status": "ok",
        "finish_reason": "stop",
        "t_admit": at,
        "t_first_token": None,
        "t_end": at + 1,
        "reserved_tokens": 1500,
        "input_tokens": 1000,
        "output_tokens_engine": 500,
        "output_tokens_sent": 500,
        "output_tokens": 500,
        "billed_from": "engine",
        "usage_source": "exact",
        "acceptance_id": "acc-x",
        "end_user_hash": None,
        "gateway_instance": "gw",
        "journal_seq": number,
    }


@pytest.fixture(scope="session")
def priced(paddock: Any, database: str) -> str:
    """A price of long ago; the database's owner enters it, since prices cannot be set for the past."""
    words = ("--model", MODEL, "--input-tokens", "0.15", "--output-tokens", "0.6")
    made = paddock.read("price", "set", *words, "--cache-read", "0.015")

    async def backdate() -> None:
        connection = await asyncpg.connect(database.replace("+asyncpg", ""))
        # The id is the digest of the content, so the moved price needs its own.
        price = Price(currency="USD", effective_from=0.0, prices=Buckets(**made["prices"]), model=MODEL)
        await connection.execute(
            "INSERT INTO prices (id, tenant, deployment, model, currency, effective_from, prices, set_by)"
            " VALUES ($1, '', '', $2, 'USD', 0, $3, 'test')",
            price.id,
            MODEL,
            json.dumps(made["prices"]),
        )
        await connection.close()

    asyncio.run(backdate())
    return str(made["price_id"])


@pytest.fixture(scope="session")
def used(paddock: Any, acme: Any, priced: str) -> list[dict[str, Any]]:
    """Two requests of January."""
    rows = [_record(number, ADMITTED + 86400 * number) for number in range(2)]
    token = (paddock.home / "internal_token").read_text(encoding="utf-8")
    answer = httpx.post(
        f"{paddock.url}/internal/v1/usage",
        json={"records": rows},
        headers={"authorization": f"Bearer {token}"},
        timeout=300,
    )
    assert answer.json()["accepted"] == 2, answer.text
    return rows


def _events(shell: Any, cursor: Path, count: int) -> list[dict[str, Any]]:
    """So many events: a transaction under way on the server holds the stream back a while."""
    found: list[dict[str, Any]] = []
    for _ in range(30):
        lines = shell("ledger", "events", "--cursor-file", str(cursor)).out.splitlines()
        found += [json.loads(line) for line in lines]
        if len(found) >= count:
            break
    return found


PERIOD = ("--since", "2026-01-01", "--until", "2026-02-01")


def test_the_table_shows_costs_and_a_plot(acme: Any, used: Any) -> None:
    shown = acme("usage", "--group-by", "model", *PERIOD).out
    assert "0.0009 USD" in shown
    assert "Tokens by hour" in shown
    assert "█" in shown.partition("Tokens by hour")[2]


def test_programs_get_json_and_csv(acme: Any, used: Any, tmp_path: Path) -> None:
    report = acme.read("usage", "--group-by", "key", "--by", "day", *PERIOD)
    assert [(row["key"], row["start"]) for row in report["rows"]] == [
        ("key0", "2026-01-05T00:00:00Z"),
        ("key1", "2026-01-06T00:00:00Z"),
    ]
    assert report["total"]["costs"] == [{"currency": "USD", "cost_nano": COST}]
    file = tmp_path / "usage.csv"
    acme("usage", "--group-by", "key", "-o", "csv", *PERIOD, "--file", str(file))
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    assert [(row["key"], row["total_tokens"], row["cost_USD"]) for row in rows] == [
        ("key0", "1500", "0.00045"),
        ("key1", "1500", "0.00045"),
    ]


def test_programs_get_all_groups_however_many_there_are(paddock: Any, acme: Any) -> None:
    """More than one answer of the control plane holds."""
    at, most = 1766620800.0, 10_000  # 2025-12-25
    paddock("tenant", "create", "crowd", "--entity", "acme-inc")
    token = (paddock.home / "internal_token").read_text(encoding="utf-8")
    for numbers in (range(most), range(most, most + 7)):
        rows = [{**_record(number, at), "tenant": "crowd", "key_id": f"k{number:05}"} for number in numbers]
        answer = httpx.post(
            f"{paddock.url}/internal/v1/usage",
            json={"records": rows},
            headers={"authorization": f"Bearer {token}"},
            timeout=300,
        )
        assert answer.json()["accepted"] == len(rows), answer.text
    words = ("usage", "--tenant", "crowd", "--group-by", "key", "--by", "day")
    found = list(csv.DictReader(io.StringIO(paddock(*words, "-o", "csv").out)))
    assert [row["key"] for row in found] == [f"k{number:05}" for number in range(most + 7)]
    report = paddock.read(*words)
    assert (len(report["rows"]), report["truncated"], report["total"]["requests"]) == (most + 7, False, most + 7)
    assert "more groups than are shown" in paddock(*words).err


def test_the_plot_s_step_fits_what_was_used() -> None:
    hour = datetime(2024, 1, 31, 23, tzinfo=UTC)
    for spread, step, most in (
        (timedelta(hours=5), Interval.HOUR, 6),
        (timedelta(days=40), Interval.DAY, 41),
        (timedelta(days=900), Interval.MONTH, 31),
    ):
        asked: list[str] = []
        found = over_time(_answers_of([hour + spread * part / 5 for part in range(6)], asked))
        assert found[0] is step
        assert sum(found[1].values()) == 6
        assert len(found[1]) <= most
        assert asked == ["month", "day", "hour"][: asked.index(step.value) + 1]


def _answers_of(moments: list[datetime], asked: list[str]) -> Any:
    """What a control plane answers that holds one token at each of these."""

    def ask(step: Interval) -> list[dict[str, Any]]:
        asked.append(step.value)
        counts = Counter(floor(moment, step) for moment in moments)
        return [{"group": at.isoformat(), "total_tokens": count} for at, count in counts.items()]

    return ask


def test_charges_go_to_parquet_and_csv_in_focus_columns(acme: Any, used: Any, tmp_path: Path) -> None:
    file = tmp_path / "usage.parquet"
    acme("usage", "-o", "parquet", *PERIOD, "--file", str(file))
    table = pq.read_table(file)
    assert table.schema.metadata[b"FocusVersion"] == b"1.2"
    rows = table.to_pylist()
    assert sum(row["BilledCost"] for row in rows) == Decimal(COST).scaleb(-9)
    assert {row["SkuMeter"] for row in rows} == {"input_uncached", "output_text"}
    assert {row["ChargePeriodStart"].isoformat() for row in rows} == {
        "2026-01-05T00:00:00+00:00",
        "2026-01-06T00:00:00+00:00",
    }
    assert all(row["ListUnitPrice"] * row["PricingQuantity"] == row["ListCost"] for row in rows)
    text = acme("usage", "-o", "csv", "--focus", *PERIOD).out
    assert sum(Decimal(row["BilledCost"]) for row in csv.DictReader(io.StringIO(text))) == Decimal(COST).scaleb(-9)
    assert "give --file" in acme("usage", "-o", "parquet", *PERIOD, code=2).err
    assert "give --since" in acme("usage", "-o", "csv", "--focus", code=2).err


def test_a_file_without_charges_has_its_columns(tmp_path: Path) -> None:
    write_parquet([], tmp_path / "none.parquet")
    table = pq.read_table(tmp_path / "none.parquet")
    assert (table.num_rows, str(table.schema.field("BilledCost").type)) == (0, "decimal128(38, 9)")


def test_the_price_book_is_written_and_read(paddock: Any, acme: Any, priced: str) -> None:
    listed = acme("price", "list", "--model", MODEL).out
    assert "0.15" in listed
    assert "0.015" in listed
    assert priced in listed
    ended = paddock.read("price", "end", "--deployment", "acme-prod/other", "--from", "2030-01-01")
    assert (ended["prices"], ended["effective_from"]) == (None, 1893456000.0)
    both = ("--model", "m", "--deployment", "a/b", "--input-tokens", "1", "--output-tokens", "1")
    assert "--model or --deployment" in paddock("price", "set", *both, code=2).err
    words = ("--model", "m", "--input-tokens", "cheap", "--output-tokens", "1")
    assert "is no amount" in paddock("price", "set", *words, code=2).err
    assert acme("price", "set", "--model", "m", "--input-tokens", "1", "--output-tokens", "1", code=3).code == 3


def test_a_statement_is_issued_read_and_verified(paddock: Any, acme: Any, used: Any, tmp_path: Path) -> None:
    made = paddock.read("statement", "issue", "--tenant", "acme", "--month", LAST_MONTH)
    assert paddock.read("statement", "issue", "--tenant", "acme", "--month", LAST_MONTH)["id"] == made["id"]
    assert "0.0009 USD" in acme("statement", "show", made["id"]).out
    assert made["id"] in acme("statement", "list").out
    key = ("--key-file", str(paddock.home / "audit_key"))
    checked = acme.read("statement", "verify", made["id"], *key)
    assert checked == {"statement": made["id"], "holds": True, "rows": 2, "signature_checked": True}
    file = tmp_path / "statement.json"
    acme("statement", "show", made["id"], "--out", str(file))
    assert "yes" in acme("statement", "verify", str(file)).out
    other_key = tmp_path / "key"
    other_key.write_text("another key of somebody", encoding="utf-8")
    assert (
        "not signed with this key" in acme("statement", "verify", str(file), "--key-file", str(other_key), code=1).err
    )
    document = json.loads(file.read_text(encoding="utf-8"))
    document["document"] = document["document"].replace("900000", "900001")
    file.write_text(json.dumps(document), encoding="utf-8")
    assert "was changed" in acme("statement", "verify", str(file), code=1).err


def test_the_ledger_is_followed_checked_and_corrected(paddock: Any, acme: Any, used: Any, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    mine = [event for event in _events(acme, cursor, 2) if event["data"]["model"] == MODEL]
    assert [event["data"]["requests"] for event in mine[:2]] == [1, 1]
    assert acme("ledger", "events", "--cursor-file", str(cursor)).out == ""
    assert paddock.read("ledger", "check", "--since", "2026-01-01") == {"hours": 0, "requests": 0}
    usage_id = used[0]["usage_id"]
    paddock("ledger", "correct", usage_id, "--reason", "goodwill", "--cost", "0")
    (event,) = _events(acme, cursor, 1)
    assert (event["type"], event["data"]["cost_nano"], event["data"]["corrects"]) == (
        "paddock.usage.correction.v1",
        -COST // 2,
        usage_id,
    )
    assert paddock.read("ledger", "rebuild", "--since", "2026-01-01") == {"hours": 0, "requests": 0}
    assert acme("ledger", "check", code=3).code == 3


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=400), st.integers(20, 200))
def test_a_plot_fits_and_hides_nothing(values: list[int], width: int) -> None:
    labels = [f"{n:05}" for n in range(len(values))]
    lines = plot(values, labels=labels, width=width)
    assert len(lines) == HEIGHT + 1
    assert max(len(line) for line in lines) <= max(width + 2, 24)
    assert labels[0] in lines[-1]
    columns = {len(line.partition("┤")[0]) for line in (lines[0], lines[HEIGHT - 1])}
    assert len(columns) == 1
    assert any(mark in "".join(lines) for mark in "▁▂▃▄▅▆▇█") == any(values)


def test_amounts_are_short() -> None:
    assert [amount(number) for number in (0, 999, 1000, 12345, 4_560_000)] == ["0", "999", "1k", "12.3k", "4.56M"]
