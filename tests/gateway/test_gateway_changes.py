"""What happens between the first check of a request and its dispatch: rights that go, requests that are cut off."""

import asyncio
import json
from typing import Any

import openai
import pytest
from paddock_core.usage.record import UsageRecord
from paddock_gateway.errors import stopping
from paddock_gateway.segments import payloads_in_order, segment_numbers

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


def head(world: Any, length: int) -> bytes:
    key = world.client().api_key
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


async def answer_to(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line[15:]) for line in text.split("\r\n") if line.lower().startswith("content-length:"))
    return int(text.split()[1]), json.loads(await reader.readexactly(length))


def open_requests(app: Any) -> int:
    return sum(plan.open for plan in app._wiring.leases.holdings._plans.values())


def ask(world: Any, **changes: Any) -> "asyncio.Task[Any]":
    arguments: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 3, **changes}
    return asyncio.create_task(world.client().chat.completions.create(**arguments))


async def refusal(task: "asyncio.Task[Any]") -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await task
    return caught.value


async def test_a_key_that_is_revoked_while_the_body_dribbles_serves_nothing(world: Any, play: Any) -> None:
    body = json.dumps({"model": "demo", "messages": HELLO, "max_tokens": 3}).encode()
    async with world.gateway() as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.settings.port)
        writer.write(head(world, len(body)) + body[:10])
        await play.until(lambda: app._admitting == 1)
        before = app._wiring.policy.view
        world.controlplane.put("api_key", play.api_key(0)[1]["id"], None)
        await play.until(lambda: app._wiring.policy.view is not before)
        writer.write(body[10:])
        status, answer = await answer_to(reader)
        writer.close()
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert world.triton.bodies == []


async def test_a_license_that_is_revoked_while_a_cold_tokenizer_loads_serves_nothing(
    world: Any, play: Any, monkeypatch: Any
) -> None:
    gate, asked = asyncio.Event(), asyncio.Event()
    async with world.gateway() as app:
        wiring = app._wiring
        load = wiring.prompt_models.get

        async def cold(**arguments: Any) -> Any:
            asked.set()
            await gate.wait()
            return await load(**arguments)

        monkeypatch.setattr(wiring.prompt_models, "get", cold)
        request = ask(world)
        await asked.wait()
        before = wiring.policy.view
        (identifier, body), *_ = play.acceptance("acme-inc", "deployer").items()
        world.controlplane.put("acceptance", identifier, {**body, "state": "revoked"})
        await play.until(lambda: wiring.policy.view is not before)
        gate.set()
        error = await refusal(request)
    assert (error.status_code, error.code) == (403, "AcceptanceMissing")
    assert world.triton.bodies == []


async def test_the_endpoints_of_the_last_check_are_used(world: Any, play: Any, monkeypatch: Any) -> None:
    """The deployment moves while its tokenizer loads: nothing is sent to where it was."""
    gate, asked = asyncio.Event(), asyncio.Event()
    good = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"][0]["url"]
    moved = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=[good])
    nowhere = [{"pod": "demo-0", "url": f"http://127.0.0.1:{play.free_port()}"}]
    world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"] = nowhere
    async with world.gateway() as app:
        models, routes = app._wiring.prompt_models, app._wiring.routes
        load = models.get

        async def cold(**arguments: Any) -> Any:
            asked.set()
            await gate.wait()
            return await load(**arguments)

        monkeypatch.setattr(models, "get", cold)
        request = ask(world)
        await asked.wait()
        world.kubernetes.put(moved)
        await play.until(lambda: routes.by_name["acme-team/demo"].endpoints == (good,))
        gate.set()
        assert (await request).usage.completion_tokens == 3


async def test_one_request_that_is_cut_off_while_its_intent_is_written_takes_no_other_with_it(
    world: Any, play: Any, monkeypatch: Any
) -> None:
    async with world.gateway() as app:
        journal, gate = app._wiring.journal, asyncio.Event()
        begin = journal.begin
        waiting: list[str] = []

        async def together(intent: Any) -> None:
            waiting.append(intent.usage_id)
            await gate.wait()
            await begin(intent)

        monkeypatch.setattr(journal, "begin", together)
        written = journal._written
        requests = [ask(world) for _ in range(3)]
        await play.until(lambda: len(waiting) == 3)

        def cut_one_first(batch: Any) -> None:
            """The batch is on disk and its waiters are not told yet: the latest moment for a cut."""
            monkeypatch.setattr(journal, "_written", written)
            task, pump = next((task, pump) for task, pump in app._pumps.items() if pump._intent.usage_id == waiting[0])
            pump.cut_off(task, stopping())
            asyncio.get_running_loop().call_later(0.05, written, batch)

        monkeypatch.setattr(journal, "_written", cut_one_first)
        gate.set()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        rows = await world.controlplane.settled(3)
        assert open_requests(app) == 0
        assert journal.open_requests == 0
    refused = [item for item in outcomes if isinstance(item, openai.APIStatusError)]
    assert [(item.status_code, item.code) for item in refused] == [(503, "GatewayStopping")]
    by_id = {row["usage_id"]: row for row in rows}
    assert by_id[waiting[0]]["status"] == "engine_error"
    assert [by_id[item]["status"] for item in waiting[1:]] == ["ok", "ok"]
    assert len(world.triton.bodies) == 2


async def test_a_request_that_is_cut_off_before_its_intent_is_taken_holds_nothing(
    world: Any, play: Any, monkeypatch: Any
) -> None:
    async with world.gateway() as app:
        journal, started = app._wiring.journal, asyncio.Event()

        async def never(_: Any) -> None:
            started.set()
            await asyncio.sleep(60)

        monkeypatch.setattr(journal, "begin", never)
        request = ask(world)
        await started.wait()
        ((task, pump),) = app._pumps.items()
        pump.cut_off(task, stopping())
        error = await refusal(request)
        assert open_requests(app) == 0
        assert journal.open_requests == 0
    assert (error.status_code, error.code) == (503, "GatewayStopping")
    assert world.triton.bodies == []


async def test_at_the_end_of_the_grace_requests_are_told_that_the_gateway_stops(world: Any, play: Any) -> None:
    async def stuck(body: dict[str, Any], response: Any) -> None:
        await asyncio.sleep(30)

    world.triton.play = stuck
    async with world.gateway() as app:
        request = ask(world)
        await play.until(lambda: len(world.triton.bodies) == 1)
        await app.finish(0.1)
        error = await refusal(request)
        late = await refusal(ask(world))
        (row,) = await world.controlplane.settled()
    assert [(item.status_code, item.code) for item in (error, late)] == [(503, "GatewayStopping")] * 2
    assert (row["status"], row["output_tokens"]) == ("engine_error", 0)


async def test_a_request_that_is_still_being_read_when_the_gateway_stops_is_waited_for(world: Any, play: Any) -> None:
    body = json.dumps({"model": "demo", "messages": HELLO, "max_tokens": 3}).encode()
    async with world.gateway() as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.settings.port)
        writer.write(head(world, len(body)) + body[:10])
        await play.until(lambda: app._admitting == 1)
        finishing = asyncio.create_task(app.finish(20))
        await asyncio.sleep(0.05)
        assert not finishing.done()
        writer.write(body[10:])
        status, answer = await answer_to(reader)
        writer.close()
        await finishing
        assert app.running == 0
    assert (status, answer["usage"]["completion_tokens"]) == (200, 3)
    folder = world.settings.journal_dir / "gateway-0"
    rows = [item for item in payloads_in_order(folder, segment_numbers(folder)) if isinstance(item, UsageRecord)]
    assert [row.status for row in rows] == ["ok"]
