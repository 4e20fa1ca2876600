"""The gateway as a process: killed in mid-stream, stopped gently, started wrongly."""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.gateway.processes import environment, start

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


async def test_killed_in_mid_stream_the_request_is_in_the_ledger_exactly_once(world: Any, play: Any) -> None:
    async def forty_then_wait(body: dict[str, Any], response: Any) -> None:
        for _ in range(40):
            await play.event(response, "x", 1)
            await asyncio.sleep(0.001)
        await asyncio.sleep(30)

    world.triton.play = forty_then_wait
    process = await start(world)
    received = 0
    stream = await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=99, stream=True)
    async for chunk in stream:
        received += len(chunk.choices[0].delta.content or "")
        if received == 40:
            break
    process.kill()
    await process.wait()
    await stream.close()
    assert world.controlplane.records == {}
    again = await start(world)
    (row,) = await world.controlplane.settled(1)
    again.send_signal(signal.SIGTERM)
    assert await again.wait() == 0
    once_more = await start(world)
    once_more.send_signal(signal.SIGTERM)
    await once_more.wait()
    assert len(world.controlplane.records) == 1
    assert (row["status"], row["billed_from"], row["usage_source"]) == ("gateway_lost", "sent", "bounded")
    assert received - 32 <= row["output_tokens"] <= received


async def test_killed_while_requests_are_held_nothing_of_them_is_billed_or_left(world: Any, play: Any) -> None:
    item = world.kubernetes.objects["demo"]
    routing = item["status"]["routing"]
    endpoints, routing["targets"][0]["endpoints"] = routing["targets"][0]["endpoints"], []
    routing["holdSeconds"] = 60
    process = await start(world)
    asked = [
        asyncio.create_task(
            world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=3, stream=stream)
        )
        for stream in (False, True)
    ]
    url = f"http://127.0.0.1:{world.settings.internal_port}/internal/v1/signals"
    headers = {"authorization": f"Bearer {world.settings.internal_token_file.read_text().strip()}"}
    async with httpx.AsyncClient() as http, asyncio.timeout(300):
        while True:
            report = (await http.get(url, headers=headers)).json()
            if sum(told.get("held", 0) for told in report["deployments"]) == 2:
                break
            await asyncio.sleep(0.05)
    process.kill()
    await process.wait()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(outcome, openai.APIConnectionError) for outcome in outcomes)
    routing["targets"][0]["endpoints"] = endpoints
    again = await start(world)
    answer = await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=3)
    (row,) = await world.controlplane.settled(1)
    again.send_signal(signal.SIGTERM)
    assert await again.wait() == 0
    assert (row["usage_id"], row["status"]) == (answer.id.partition("-")[2], "ok")
    assert len(world.controlplane.records) == len(world.triton.bodies) == 1


async def test_sigterm_lets_streams_end_settles_and_ships(world: Any, play: Any) -> None:
    async def steady(body: dict[str, Any], response: Any) -> None:
        for index in range(10):
            await play.event(response, f"{index}", 1, "stop" if index == 9 else None)
            await asyncio.sleep(0.05)

    world.triton.play = steady
    process = await start(world)
    stream = await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=99, stream=True)
    text = ""
    async for chunk in stream:
        if not text:
            process.send_signal(signal.SIGTERM)
        text += chunk.choices[0].delta.content or ""
    assert await process.wait() == 0
    assert text == "0123456789"
    (row,) = await world.controlplane.settled(1)
    assert (row["status"], row["output_tokens"]) == ("ok", 10)
    secrets = (world.settings.internal_token_file, world.settings.platform_key_file)
    log = (world.folder / "gateway.log").read_text()
    assert all(json.loads(line) for line in log.splitlines())
    assert not any(path.read_text().strip() in log for path in secrets)
    assert world.client().api_key not in log


async def test_traces_and_metrics_are_exported_where_asked(world: Any, play: Any) -> None:
    received: dict[str, list[bytes]] = {}

    async def collect(request: web.Request) -> web.Response:
        received.setdefault(request.path, []).append(gzip_or_plain(await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/{tail:.*}", collect)
    collector = await play.start(app, world.runners)
    process = await start(world, OTEL_EXPORTER_OTLP_ENDPOINT=collector)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await world.client().chat.completions.create(
        model="demo", messages=HELLO, max_tokens=3, extra_headers={"traceparent": f"00-{trace}-{parent}-01"}
    )
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    spans = ExportTraceServiceRequest.FromString(received["/v1/traces"][0]).resource_spans[0].scope_spans[0].spans
    attributes = {item.key: item.value for item in spans[0].attributes}
    (row,) = await world.controlplane.settled()
    assert (spans[0].trace_id.hex(), spans[0].parent_span_id.hex()) == (trace, parent)
    assert attributes["gen_ai.usage.output_tokens"].int_value == 3
    assert attributes["paddock.usage_id"].string_value == row["usage_id"]
    scopes = ExportMetricsServiceRequest.FromString(received["/v1/metrics"][-1]).resource_metrics[0].scope_metrics
    assert "gen_ai.server.request.duration" in {metric.name for scope in scopes for metric in scope.metrics}


def gzip_or_plain(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PADDOCK_GATEWAY_INTERNAL_TOKEN_FILE", "/nowhere/token", "cannot be read"),
        ("PADDOCK_GATEWAY_JOURNAL_SEGMENT_BYTES", "1", "journal_segment_bytes"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(world: Any, name: str, value: str, says: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "paddock_gateway.main"],
        env={**environment(world), name: value},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    assert says in result.stderr.splitlines()[-1]


async def test_two_gateways_never_share_a_journal(world: Any) -> None:
    process = await start(world)
    second = {**environment(world), "PADDOCK_GATEWAY_PORT": "1", "PADDOCK_GATEWAY_METRICS_PORT": "2"}
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "paddock_gateway.main", env=second, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await other.communicate()
    process.send_signal(signal.SIGTERM)
    await process.wait()
    assert other.returncode == 2
    assert b"give each its own PADDOCK_GATEWAY_INSTANCE" in errors
