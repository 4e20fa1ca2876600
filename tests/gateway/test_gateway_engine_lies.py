"""An engine may be anybody's: whatever it says, budgets hold, and there is one row that the ledger takes."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import openai
import pytest
from paddock_controlplane.usage import wire
from paddock_core.usage.journal_frames import Intent
from paddock_gateway.counting import SLACK, Counting
from paddock_gateway.engine_events import Chunk, read_event
from paddock_gateway.journal import SETTLEMENT_ROOM, Journal

from tests.gateway.journal_rows import intent, outcome, progress

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
PROMPT_TOKENS = 24
CAP = 50


def saying(play: Any, *counts: int | None, reason: str | None = "stop") -> Any:
    """An engine that sends one letter, which is one token, with each of these counts."""

    async def answer(body: dict[str, Any], response: Any) -> None:
        for count in counts:
            await play.event(response, "a", count)
        await play.event(response, "", 0, reason)

    return answer


async def ask(world: Any, *, stream: bool) -> tuple[int, str | None]:
    """(tokens, finish reason) as the client is told."""
    given: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": CAP, "stream": stream}
    client = world.client(timeout=20, max_retries=0)
    if not stream:
        made = await client.chat.completions.create(**given)
        return made.usage.completion_tokens, made.choices[0].finish_reason
    given["stream_options"] = {"include_usage": True}
    chunks = [item async for item in await client.chat.completions.create(**given)]
    return chunks[-1].usage.completion_tokens, chunks[-2].choices[0].finish_reason


async def only_row(world: Any, app: Any) -> dict[str, Any]:
    """The one row, which the real ledger's checks take, once nothing is open any more."""
    (row,) = await world.controlplane.settled()
    wire.decode(msgspec.json.encode({"records": [row]}))
    assert app._wiring.journal.open_requests == 0
    return dict(row)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("counts", "tokens"),
    [((-(10**6),), 1), ((2, -5), 3), ((2**40,), 1), ((2**62, 2**62, 2**62), 3), ((10**300,), 1), ((CAP, 1), CAP)],
)
async def test_counts_that_cannot_be_are_counted_here(
    world: Any, play: Any, *, counts: tuple[int, ...], tokens: int, stream: bool
) -> None:
    day, minute = 10**6, 10**5
    tenant = world.controlplane.objects["tenant"]["acme"]
    limits = {"tokens_per_day": day, "output_tokens_per_minute": minute}
    world.controlplane.put("tenant", "acme", {**tenant, "limits": limits})
    world.triton.play = saying(play, *counts)
    async with world.gateway() as app:
        assert await ask(world, stream=stream) == (tokens, "stop")
        row = await only_row(world, app)
        free = {kind: holding.free for (_, kind, _), holding in app._wiring.leases.holdings.accounts.items()}
        assert app._wiring.engine.doubted == 1
    assert (row["output_tokens"], row["usage_source"], row["status"]) == (tokens, "counted", "ok")
    assert (row["output_tokens_engine"], row["raw_usage"]) == (None, None)
    assert 0 <= free["tokens_per_day"] < day
    assert 0 <= free["output_tokens_per_minute"] < minute


async def test_a_count_below_zero_lifts_no_budget(world: Any, play: Any) -> None:
    tenant = world.controlplane.objects["tenant"]["acme"]
    used = PROMPT_TOKENS + 1
    world.controlplane.put("tenant", "acme", {**tenant, "limits": {"tokens_per_day": 2 * used + CAP}})
    world.triton.play = saying(play, -(10**6))
    async with world.gateway() as app:
        results = []
        for _ in range(6):
            try:
                results.append((await ask(world, stream=True))[0])
            except openai.RateLimitError:
                results.append(0)
        rows = await world.controlplane.settled(sum(map(bool, results)))
        assert all(holding.free < 2 * used + CAP for holding in app._wiring.leases.holdings.accounts.values())
    assert results[0] == 1
    assert results[-1] == 0
    assert sum(row["input_tokens"] + row["output_tokens"] for row in rows) <= 2 * used + CAP


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reason", ["x" * 70_000, "x" * 600, "a\0b", "eos_token", "stop"])
async def test_any_reason_for_the_end_is_an_end(world: Any, play: Any, *, reason: str, stream: bool) -> None:
    world.triton.play = saying(play, 1, reason=reason)
    async with world.gateway() as app:
        assert await ask(world, stream=stream) == (1, "stop")
        row = await only_row(world, app)
    assert (row["finish_reason"], row["output_tokens"], row["usage_source"]) == ("stop", 1, "exact")


@pytest.mark.parametrize("reason", ["abort", "error", "timeout", "cancelled"])
async def test_an_answer_that_was_broken_off_is_an_error(world: Any, play: Any, *, reason: str) -> None:
    world.triton.play = saying(play, 1, reason=reason)
    async with world.gateway() as app:
        with pytest.raises(openai.APIError, match="stopped in the middle"):
            await ask(world, stream=True)
        row = await only_row(world, app)
    assert (row["status"], row["output_tokens"]) == ("engine_error", 1)


async def test_an_engine_that_does_not_stop_at_its_cap_is_stopped(world: Any, play: Any) -> None:
    async def endless(body: dict[str, Any], response: Any) -> None:
        while True:
            await play.event(response, "abc", None)
            await asyncio.sleep(0)

    world.triton.play = endless
    async with world.gateway() as app:
        assert await ask(world, stream=True) == (CAP, "length")
        row = await only_row(world, app)
        await play.until(lambda: world.triton.cancelled == 1)
    assert (row["output_tokens"], row["usage_source"]) == (CAP, "counted")


async def test_a_settlement_that_fails_ends_the_answer_all_the_same(
    world: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a bug of ours if it ever happens; the next start settles what the journal still has open."""
    limits = {"concurrent_requests": 5}
    world.controlplane.put("tenant", "acme", {**world.controlplane.objects["tenant"]["acme"], "limits": limits})
    world.triton.play = saying(play, 1)
    async with world.gateway() as app:

        async def fails(record: object) -> None:
            raise ValueError("no frame")

        monkeypatch.setattr(app._wiring.journal, "settle", fails)
        with pytest.raises(openai.APIError, match="the gateway failed"):
            await ask(world, stream=True)
        with pytest.raises(openai.InternalServerError, match="the gateway failed"):
            await ask(world, stream=False)
        plans = app._wiring.leases.holdings._plans.values()
        assert [plan.open for plan in plans] == [0]
        assert app._wiring.journal.open_requests == 2
        monkeypatch.undo()
    async with world.gateway():
        rows = await world.controlplane.settled(2)
    assert {row["status"] for row in rows} == {"gateway_lost"}


async def test_a_settlement_fits_into_the_room_that_was_kept(tmp_path: Any) -> None:
    journal = Journal(folder=tmp_path, segment_bytes=2**16)
    for number, reason in enumerate(("x" * 70_000, "x" * SETTLEMENT_ROOM, "stop")):
        request: Intent = intent(number)
        await journal.begin(request)
        before = journal._segment.planned
        await journal.settle(replace(outcome(request), finish_reason=reason))
        assert journal._segment.planned - before <= SETTLEMENT_ROOM
    assert journal.open_requests == 0
    await journal.close()


@pytest.mark.parametrize("totals", [-1, 10**12])
async def test_a_total_that_cannot_be_leaves_the_checkpoint(world: Any, totals: int) -> None:
    journal = Journal(folder=world.settings.journal_dir / "gateway-0", segment_bytes=2**18)
    request = intent("streamed")
    await journal.begin(request)
    journal.checkpoint(progress(request, 32))
    await journal.close()
    world.triton.totals = totals
    async with world.gateway() as app:
        (row,) = await world.controlplane.settled(1)
        assert app._wiring.engine.doubted == 1
    assert world.triton.asked == ["streamed"]
    assert (row["output_tokens"], row["usage_source"], row["output_tokens_engine"]) == (32, "bounded", None)


async def test_the_doubt_is_a_metric(world: Any, play: Any) -> None:
    world.triton.play = saying(play, -1)
    async with world.gateway() as app:
        await ask(world, stream=False)
        async with httpx.AsyncClient() as client:
            settings = app._wiring.settings
            shown = (await client.get(f"http://127.0.0.1:{settings.metrics_port}/metrics")).text
    assert "paddock_gateway_engine_counts_doubted 1.0" in shown


def test_once_doubted_no_count_is_believed() -> None:
    doubts: list[int] = []
    counting = Counting(cap=10, ours=len, doubt=lambda: doubts.append(1))
    chunks = [Chunk(text_output="abc", num_output_tokens=count) for count in (2, -1, 9, 0)]
    counting.read(chunks)
    assert [chunk.num_output_tokens for chunk in chunks] == [2, 3, 3, 2]
    assert (doubts, counting.exact, counting.endless) == ([1], False, False)
    counting.read([Chunk(text_output="a" * SLACK)])
    assert counting.endless


def test_the_input_s_count_is_left_out_if_it_cannot_be() -> None:
    assert read_event(b'{"text_output":"a","num_input_tokens":-3}').num_input_tokens is None
    assert read_event(b'{"text_output":"a","num_input_tokens":%d}' % 10**400).num_input_tokens is None
    assert read_event(b'{"text_output":"a","num_input_tokens":[7]}').num_input_tokens == 7
