"""What stands between the journal and the ledger: records that are refused, segments that the disk damaged, traces."""

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from paddock_core.usage.journal_frames import MAGIC, encode_frame
from paddock_gateway.journal import Journal
from paddock_gateway.refused import RefusedRecords

from tests.gateway.journal_rows import intent, outcome

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


async def journal_of(folder: Path, count: int) -> Path:
    """A journal in which this many requests began and ended; gives its one segment."""
    journal = Journal(folder=folder, segment_bytes=2**18)
    for number in range(count):
        await journal.begin(intent(number))
        await journal.settle(outcome(number))
    await journal.close()
    return journal.path(1)


async def metrics_of(world: Any) -> str:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://127.0.0.1:{world.settings.metrics_port}/metrics")).text


async def test_a_record_that_is_refused_holds_up_no_other_and_is_kept(
    world: Any, play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = world.settings.journal_dir / "gateway-0"
    await journal_of(folder, 20)
    world.controlplane.refuses = lambda record: record["usage_id"] in ("usage-007", "usage-008")
    async with world.gateway() as app:
        await world.controlplane.settled(18)
        await play.until(lambda: (folder / "refused.jsonl").exists())
        await play.until(lambda: len(RefusedRecords(folder)) == 2)
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
        await world.controlplane.settled(19)
        assert "paddock_gateway_records_refused 2.0" in await metrics_of(world)
        assert app.running == 0
    lines = [json.loads(line) for line in (folder / "refused.jsonl").read_text().splitlines()]
    assert [line["record"]["usage_id"] for line in lines] == ["usage-007", "usage-008"]
    assert all("cannot be entered" in line["problem"] for line in lines)
    assert len([item for item in caplog.records if item.levelno == logging.CRITICAL]) == 2
    assert len(world.controlplane.batches) < 20
    world.controlplane.refuses = lambda _: False
    async with world.gateway():
        await world.controlplane.settled(21)
        await play.until(lambda: len(RefusedRecords(folder)) == 0)


async def test_a_control_plane_that_fails_is_not_one_that_refuses(world: Any, play: Any) -> None:
    folder = world.settings.journal_dir / "gateway-0"
    async with world.gateway() as app:
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
        await world.controlplane.settled(1)
        world.controlplane.down = True
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
        await play.until(lambda: world.controlplane.failed > 1)
        assert app._wiring.journal.open_requests == 0
        world.controlplane.down = False
        await world.controlplane.settled(2)
    assert not (folder / "refused.jsonl").exists()


def test_a_line_that_a_crash_cut_off_harms_no_other(tmp_path: Path) -> None:
    refused = RefusedRecords(tmp_path)
    refused.add(outcome(1), "no")
    refused.add(outcome(1), "no again")
    with (tmp_path / "refused.jsonl").open("ab") as file:
        file.write(b'{"problem": "cut o')
    again = RefusedRecords(tmp_path)
    again.add(outcome(2), "no")
    assert [record.usage_id for record in again.load()] == ["usage-001", "usage-002"]
    again.forget({"usage-001"})
    assert RefusedRecords(tmp_path).load() == [outcome(2)]


@pytest.mark.parametrize("noise", [b"\x00", b"\xa5"])
async def test_a_segment_damaged_in_the_middle_ships_the_rest_and_is_kept(
    world: Any, play: Any, caplog: pytest.LogCaptureFixture, noise: bytes
) -> None:
    folder = world.settings.journal_dir / "gateway-0"
    segment = await journal_of(folder, 30)
    data = bytearray(segment.read_bytes())
    pair = len(encode_frame(intent(0))) + len(encode_frame(outcome(0)))
    begin = len(MAGIC) + 10 * pair
    data[begin : begin + pair] = noise * pair  # the eleventh request, intent and settlement
    segment.write_bytes(data)
    async with world.gateway():
        rows = await world.controlplane.settled(29)
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
        await play.until(lambda: not segment.exists())
        assert "paddock_gateway_journal_damaged 1.0" in await metrics_of(world)
    assert [row["usage_id"] for row in rows] == [f"usage-{number:03}" for number in range(30) if number != 10]
    assert segment.with_name(segment.name + ".damaged").read_bytes() == data
    assert [item.message for item in caplog.records if "segment is damaged" in item.message]


async def test_damage_longer_than_one_read_is_passed_over(world: Any, play: Any, monkeypatch: Any) -> None:
    folder = world.settings.journal_dir / "gateway-0"
    segment = await journal_of(folder, 30)
    monkeypatch.setattr("paddock_gateway.ship.READ_BYTES", 2048)
    data = bytearray(segment.read_bytes())
    pair = len(encode_frame(intent(0))) + len(encode_frame(outcome(0)))
    begin = len(MAGIC) + 5 * pair
    assert 15 * pair > 2 * 2048
    data[begin : begin + 15 * pair] = b"\xa5" * (15 * pair)
    segment.write_bytes(data)
    async with world.gateway():
        rows = await world.controlplane.settled(15)
    assert [row["usage_id"] for row in rows] == [f"usage-{number:03}" for number in (*range(5), *range(20, 30))]


async def test_a_last_frame_that_is_damaged_is_told_and_kept(world: Any, play: Any) -> None:
    folder = world.settings.journal_dir / "gateway-0"
    segment = await journal_of(folder, 3)
    data = bytearray(segment.read_bytes())
    begin = (
        len(MAGIC) + 2 * (len(encode_frame(intent(0))) + len(encode_frame(outcome(0)))) + len(encode_frame(intent(2)))
    )
    data[begin + 30] ^= 0xFF  # in the settlement of the last request
    segment.write_bytes(data)
    async with world.gateway():
        rows = await world.controlplane.settled(3)
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
        await play.until(lambda: not segment.exists())
        assert "paddock_gateway_journal_damaged 1.0" in await metrics_of(world)
    assert {row["usage_id"]: row["status"] for row in rows}["usage-002"] == "gateway_lost"
    assert segment.with_name(segment.name + ".damaged").read_bytes() == data


async def test_records_that_were_refused_before_hold_up_nothing_new(world: Any, play: Any) -> None:
    """They are sent again at the start; a control plane that does not decide on them decides on the others."""
    folder = world.settings.journal_dir / "gateway-0"
    await journal_of(folder, 5)
    RefusedRecords(folder).add(outcome(100), "no")
    world.controlplane.hangs = lambda record: record["usage_id"] == "usage-100"
    async with world.gateway():
        await world.controlplane.settled(5)
        assert "usage-100" not in world.controlplane.records
        world.controlplane.hangs = lambda _: False
        await world.controlplane.settled(6)
        await play.until(lambda: len(RefusedRecords(folder)) == 0)


async def test_a_request_settled_behind_the_damage_is_not_called_lost(world: Any, play: Any) -> None:
    """Recovery reads past the damage too: the settlement that it finds there is the truth."""
    folder = world.settings.journal_dir / "gateway-0"
    journal = Journal(folder=folder, segment_bytes=2**18)
    for number in range(3):
        await journal.begin(intent(number))
    for number in (1, 0, 2):
        await journal.settle(outcome(number))
    await journal.close()
    segment = journal.path(1)
    data = bytearray(segment.read_bytes())
    begin = len(MAGIC) + 3 * len(encode_frame(intent(0)))
    data[begin : begin + 20] = b"\xa5" * 20  # the settlement of request 1
    segment.write_bytes(data)
    async with world.gateway():
        rows = await world.controlplane.settled(3)
    assert {row["usage_id"]: row["status"] for row in rows} == {
        "usage-000": "ok",
        "usage-001": "gateway_lost",
        "usage-002": "ok",
    }


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Export is on, and what would go out over OTLP stays here."""
    exporter = InMemorySpanExporter()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("paddock_gateway.export.OTLPSpanExporter", lambda: exporter)
    monkeypatch.setattr("paddock_gateway.export.PeriodicExportingMetricReader", lambda _: InMemoryMetricReader())
    return exporter


async def test_one_trace_from_the_client_to_triton_and_a_span_for_each_shipped_batch(
    world: Any, spans: InMemorySpanExporter
) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with world.gateway():
        await world.client().chat.completions.create(
            model="demo", messages=HELLO, max_tokens=3, extra_headers={"traceparent": f"00-{trace}-{parent}-01"}
        )
        (row,) = await world.controlplane.settled()
    request, ship = sorted(spans.get_finished_spans(), key=lambda span: span.name)
    assert (request.name, ship.name) == (f"chat {row['model']}", "ship")
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (trace, parent)
    assert (request.start_time, request.end_time) == (int(row["t_admit"] * 1e9), int(row["t_end"] * 1e9))
    assert request.attributes["gen_ai.usage.output_tokens"] == 3
    assert world.triton.heads[0]["traceparent"] == f"00-{trace}-{request.context.span_id:016x}-01"
    carried = f"00-{ship.context.trace_id:032x}-{ship.context.span_id:016x}"
    assert [head["traceparent"][:-3] for head in world.controlplane.ship_heads] == [carried]
    assert ship.attributes["paddock.records"] == 1


async def test_without_export_no_trace_header_is_sent(world: Any) -> None:
    async with world.gateway():
        await world.client().chat.completions.create(
            model="demo",
            messages=HELLO,
            max_tokens=1,
            extra_headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        )
        await world.controlplane.settled()
    assert "traceparent" not in world.triton.heads[0]
    assert "traceparent" not in world.controlplane.ship_heads[0]
