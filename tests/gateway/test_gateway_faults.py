"""What the ledger says when a client or an engine goes away in the middle. The client's own log is the oracle."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from paddock_core.usage.recovery import LeftOpen
from paddock_gateway.recover import left_open

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
PROMPT_TOKENS = 24


async def open_stream(world: Any, **changes: Any) -> Any:
    arguments = {"model": "demo", "messages": HELLO, "max_tokens": 50, "stream": True, **changes}
    return await world.client().chat.completions.create(**arguments)


async def test_a_client_that_leaves_a_stream_cancels_the_engine_and_pays_what_it_got(world: Any, play: Any) -> None:
    gone = asyncio.Event()

    async def three_then_wait(body: dict[str, Any], response: Any) -> None:
        for word in ("a", "b", "c"):
            await play.event(response, word, 2)
        await gone.wait()

    world.triton.play = three_then_wait
    async with world.gateway():
        stream = await open_stream(world)
        received = ""
        async for chunk in stream:
            received += chunk.choices[0].delta.content or ""
            if received == "abc":
                break
        await stream.close()
        (row,) = await world.controlplane.settled()
        gone.set()
    assert row["status"] == "client_gone"
    assert (row["output_tokens"], row["output_tokens_sent"], row["output_tokens_engine"]) == (6, 6, None)
    assert (row["billed_from"], row["usage_source"]) == ("sent", "counted")
    assert row["input_tokens"] == PROMPT_TOKENS


async def test_a_client_that_leaves_without_streaming_pays_what_the_engine_did(world: Any, play: Any) -> None:
    async def slow(body: dict[str, Any], response: Any) -> None:
        for _ in range(4):
            await play.event(response, "x", 1)
        await asyncio.sleep(30)

    world.triton.play = slow
    async with world.gateway():
        with pytest.raises(openai.APITimeoutError):
            await world.client(timeout=0.5).chat.completions.create(model="demo", messages=HELLO, max_tokens=50)
        (row,) = await world.controlplane.settled()
        await play.until(lambda: world.triton.cancelled == 1)
    assert row["status"] == "client_gone"
    assert (row["output_tokens"], row["output_tokens_sent"]) == (4, 0)
    assert (row["billed_from"], row["usage_source"]) == ("engine", "counted")


async def test_an_engine_error_in_mid_stream_ends_with_an_error_event(world: Any, play: Any) -> None:
    async def fails(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 1)
        await response.write(b'data: {"error":"out of memory"}\n\n')

    world.triton.play = fails
    async with world.gateway():
        stream = await open_stream(world)
        with pytest.raises(openai.APIError, match="out of memory"):
            async for _ in stream:
                pass
        (row,) = await world.controlplane.settled()
    assert (row["status"], row["output_tokens"], row["usage_source"]) == ("engine_error", 1, "counted")


async def test_an_engine_that_dies_in_mid_stream(world: Any, play: Any) -> None:
    async def dies(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 1)
        await asyncio.sleep(0.05)
        response._req.transport.abort()

    world.triton.play = dies
    async with world.gateway():
        stream = await open_stream(world)
        with pytest.raises(openai.APIError, match="broke the connection off"):
            async for _ in stream:
                pass
        (row,) = await world.controlplane.settled()
    assert (row["status"], row["output_tokens"]) == ("engine_error", 1)


@pytest.mark.parametrize("tokens", [0, 2])
async def test_an_engine_that_stops_by_itself_is_an_error(world: Any, play: Any, *, tokens: int) -> None:
    async def stopped(body: dict[str, Any], response: Any) -> None:
        for _ in range(tokens):
            await play.event(response, "a", 1)
        if tokens:
            await play.event(response, "", 0, "cancelled")

    async def listen() -> None:
        async for _ in await open_stream(world):
            pass

    world.triton.play = stopped
    async with world.gateway():
        with pytest.raises(openai.APIError):
            await listen()
        (row,) = await world.controlplane.settled()
    assert (row["status"], row["output_tokens"], row["finish_reason"]) == ("engine_error", tokens, None)


async def test_an_engine_that_fails_before_the_first_token_costs_nothing(world: Any) -> None:
    async def refuses(body: dict[str, Any], response: Any) -> None:
        await response.write(b'data: {"error":"no"}\n\n')

    world.triton.play = refuses
    async with world.gateway():
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=5)
        (row,) = await world.controlplane.settled()
    assert (caught.value.status_code, caught.value.code) == (502, "EngineError")
    assert caught.value.response.headers["x-request-id"] == row["usage_id"]
    assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("engine_error", 0, 0)


async def test_an_unreachable_engine_is_503_and_settled(world: Any, play: Any) -> None:
    nowhere = f"http://127.0.0.1:{play.free_port()}"
    world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"] = [
        {"pod": "demo-0", "url": nowhere}
    ]
    async with world.gateway():
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=5)
        (row,) = await world.controlplane.settled()
    assert (caught.value.status_code, caught.value.code) == (503, "EngineUnreachable")
    assert (row["status"], row["input_tokens"]) == ("refused_by_engine", 0)


async def test_a_second_endpoint_is_tried(world: Any, play: Any) -> None:
    routing = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]
    good = routing["endpoints"][0]
    routing["endpoints"] = [{"pod": "demo-1", "url": f"http://127.0.0.1:{play.free_port()}"}, good]
    async with world.gateway():
        for _ in range(3):
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        rows = await world.controlplane.settled(3)
    assert {row["status"] for row in rows} == {"ok"}


async def test_a_kept_connection_that_triton_closed_meanwhile_is_no_failure(world: Any) -> None:
    connections: list[Any] = []

    async def remembers(body: dict[str, Any], response: Any) -> None:
        connections.append(response._req.transport)
        chunk = {"text_output": "a", "num_output_tokens": 1, "finish_reason": "stop"}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    world.triton.play = remembers
    async with world.gateway():
        await world.client().chat.completions.create(model="demo", messages=HELLO)
        connections[0].abort()
        await world.client().chat.completions.create(model="demo", messages=HELLO)
    assert len(connections) == 2


async def test_connections_to_triton_are_kept(world: Any) -> None:
    seen: set[int] = set()

    async def remembers(body: dict[str, Any], response: Any) -> None:
        seen.add(id(response._req.transport))
        chunk = {"text_output": "a", "num_output_tokens": 1, "finish_reason": "stop"}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    world.triton.play = remembers
    async with world.gateway():
        for _ in range(5):
            await world.client().chat.completions.create(model="demo", messages=HELLO)
    assert len(seen) == 1


async def test_a_repository_without_counts_is_counted_here(world: Any, play: Any) -> None:
    async def countless(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "abcd", None)
        await play.event(response, "ef", None)

    world.triton.play = countless
    async with world.gateway():
        answer = await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=50)
        (row,) = await world.controlplane.settled()
    assert answer.usage.completion_tokens == row["output_tokens"] == 6
    assert (row["output_tokens_engine"], row["usage_source"]) == (None, "counted")


async def test_events_split_at_every_byte_are_put_together(world: Any) -> None:
    text = 'ü "quoted" \n\n 日本'

    async def drips(body: dict[str, Any], response: Any) -> None:
        chunk = {"text_output": text, "num_output_tokens": 3, "finish_reason": "stop"}
        for byte in b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n":
            await response.write(bytes([byte]))

    world.triton.play = drips
    async with world.gateway():
        answer = await world.client().chat.completions.create(model="demo", messages=HELLO)
    assert answer.choices[0].message.content == text


async def test_a_slow_client_holds_the_engine_back_instead_of_filling_memory(world: Any, play: Any) -> None:
    many, written = 100_000, [0]  # far more than the sockets' buffers hold

    async def endless(body: dict[str, Any], response: Any) -> None:
        for _ in range(many):
            await play.event(response, "y" * 500, int(written[0] < 400))  # text without end, and no more than its cap
            written[0] += 1

    world.triton.play = endless
    async with world.gateway():
        reader, writer = await asyncio.open_connection("127.0.0.1", world.settings.port, limit=2**14)
        body = json.dumps({"model": "demo", "messages": HELLO, "max_tokens": 400, "stream": True}).encode()
        key = world.client().api_key
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        writer.write(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        await reader.readline()
        last = -1
        while written[0] != last:
            last = written[0]
            await asyncio.sleep(0.5)
        assert last < many
        writer.close()
        (row,) = await world.controlplane.settled()
    assert row["status"] == "client_gone"
    assert row["output_tokens_sent"] <= last


async def test_a_request_that_runs_too_long_is_cut_off_and_settled(world: Any, play: Any) -> None:
    async def stuck(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 1)
        await asyncio.sleep(30)

    world.triton.play = stuck
    received = [""]

    async def listen() -> None:
        async for chunk in await open_stream(world):
            received[0] += chunk.choices[0].delta.content or ""

    async with world.gateway(request_timeout_seconds=0.5):
        with pytest.raises(openai.APIError, match="cut off"):
            await listen()
        (row,) = await world.controlplane.settled()
    assert (row["status"], row["output_tokens"]) == ("engine_error", len(received[0]))


async def test_usage_is_kept_while_the_control_plane_is_away(world: Any) -> None:
    async with world.gateway():
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        await world.controlplane.settled(1)
        world.controlplane.down = True
        for _ in range(3):
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        assert len(world.controlplane.records) == 1
        world.controlplane.down = False
        rows = await world.controlplane.settled(4)
    assert sum(row["output_tokens"] for row in rows) == 8


async def test_without_room_in_the_journal_new_work_is_refused(world: Any, monkeypatch: Any) -> None:
    allocate, allocated = os.posix_fallocate, []

    def room_for_one(descriptor: int, offset: int, size: int) -> None:
        if allocated:
            raise OSError(28, "No space left on device")
        allocated.append(size)
        allocate(descriptor, offset, size)

    monkeypatch.setattr("paddock_gateway.segments.os.posix_fallocate", room_for_one)
    async with world.gateway() as app:
        journal = app._wiring.journal
        journal._segment.planned = journal._size
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        monkeypatch.undo()
        journal._rotation_retry = 0.0
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        await world.controlplane.settled(1)
    assert (caught.value.status_code, caught.value.code) == (503, "JournalFull")
    assert len(world.triton.bodies) == len(world.controlplane.records) == 1


async def test_what_was_left_is_read_before_segments_are_made(world: Any, monkeypatch: Any) -> None:
    seen: list[list[str]] = []

    def looking(folder: Path) -> tuple[LeftOpen, ...]:
        seen.append([path.name for path in folder.glob("*.journal")])
        return left_open(folder)

    monkeypatch.setattr("paddock_gateway.main.left_open", looking)
    async with world.gateway():
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
    assert seen == [[]]


async def test_a_bug_before_admission_is_a_500_in_openais_shape(world: Any, monkeypatch: Any) -> None:
    def broken(**_: Any) -> None:
        raise LookupError("secret detail")

    async with world.gateway():
        monkeypatch.setattr("paddock_gateway.route.decide", broken)
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client().chat.completions.create(model="demo", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (500, "InternalError")
    assert "secret" not in caught.value.message


async def test_metrics_and_health(world: Any) -> None:
    async with world.gateway(), httpx.AsyncClient() as http:
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        metrics = (await http.get(f"http://127.0.0.1:{world.settings.metrics_port}/metrics")).text
        health = await http.get(world.url + "/healthz")
        ready = await http.get(world.url + "/readyz")
    assert 'paddock_gateway_settled_total{status="ok",usage_source="exact"} 1.0' in metrics
    assert "gen_ai_server_request_duration_seconds_bucket" in metrics
    assert (health.status_code, ready.status_code, ready.json()["status"]) == (200, 200, "ready")
