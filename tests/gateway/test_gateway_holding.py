"""Requests that wait for an endpoint: in order, bounded, checked again, and never on anybody's bill."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import openai
import pytest
from paddock_gateway.clock import SYSTEM
from paddock_gateway.deployments import Deployment, Revision, Routes
from paddock_gateway.errors import RequestError
from paddock_gateway.holding import HoldQueue
from paddock_gateway.signals import Signals

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
DEMO = "acme-team/demo"


def ask(world: Any, number: int = 0, **changes: Any) -> "asyncio.Task[Any]":
    arguments: dict[str, Any] = {"model": DEMO, "messages": HELLO, "max_tokens": 3, **changes}
    return asyncio.create_task(world.client(number).chat.completions.create(**arguments))


async def refusal(task: "asyncio.Task[Any]") -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await task
    return caught.value


@pytest.fixture
def asleep(world: Any, play: Any) -> Any:
    """The deployment has no endpoint, and requests may wait. `wake` gives it back its Triton."""
    urls = [item["url"] for item in world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"]]

    def put(endpoints: list[str], *, hold: int = 60, **target: Any) -> None:
        item = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=endpoints)
        item["status"]["routing"]["holdSeconds"] = hold
        item["status"]["routing"]["targets"][0].update(target)
        world.kubernetes.put(item)

    put([])
    world.put = put
    world.wake = lambda **changes: put(urls, **changes)
    return world


def held(app: Any) -> int:
    return len(app._wiring.held)


def untouched(app: Any) -> bool:
    """True if no request has reserved anything."""
    wiring = app._wiring
    return wiring.journal.open_requests == 0 and not any(plan.open for plan in wiring.leases.holdings._plans.values())


async def test_requests_wait_for_an_endpoint_and_are_served_when_it_comes(asleep: Any, play: Any) -> None:
    async with asleep.gateway() as app:
        requests = [ask(asleep), ask(asleep, stream=True)]
        await play.until(lambda: held(app) == 2)
        assert untouched(app)
        assert app._wiring.signals.held == 2
        asleep.wake()
        answer, stream = await asyncio.gather(*requests)
        assert [chunk async for chunk in stream]
        rows = await asleep.controlplane.settled(2)
        assert held(app) == app._wiring.signals.held == 0
        assert not app._wiring.held.waiting
    assert answer.usage.completion_tokens == 3
    assert [row["status"] for row in rows] == ["ok", "ok"]


async def test_nothing_is_sent_to_the_client_of_a_stream_that_waits(asleep: Any, play: Any) -> None:
    body = json.dumps({"model": DEMO, "messages": HELLO, "max_tokens": 2, "stream": True}).encode()
    async with asleep.gateway() as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", asleep.settings.port)
        key = asleep.client().api_key
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        first = asyncio.create_task(reader.readuntil(b"\r\n"))
        await play.until(lambda: held(app) == 1)
        await asyncio.sleep(0.2)
        assert not first.done()
        asleep.wake()
        assert await first == b"HTTP/1.1 200 OK\r\n"
        await asleep.controlplane.settled()
        writer.close()


async def test_they_go_out_in_order_and_no_more_than_the_endpoints_run_at_once(asleep: Any, play: Any) -> None:
    running, most, order, gates = 0, 0, [], [asyncio.Event() for _ in range(6)]

    async def counted(body: dict[str, Any], response: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(body["sampling_param_max_tokens"])
        await gates[body["sampling_param_max_tokens"] - 1].wait()
        running -= 1
        await play.words(body, response)

    asleep.triton.play = counted
    async with asleep.gateway() as app:
        requests = []
        for number in range(6):
            requests.append(ask(asleep, max_tokens=number + 1))
            await play.until(lambda number=number: held(app) == number + 1)
        asleep.wake(maxConcurrency=2)
        for number in range(6):
            await play.until(lambda number=number: len(order) >= min(6, number + 2))
            if number == 0:
                late = ask(asleep, max_tokens=1)  # stands behind those that wait
                await play.until(lambda: held(app) == 5)
            gates[number].set()
            assert most <= 2
        await asyncio.gather(*requests, late)
    assert order == [1, 2, 3, 4, 5, 6, 1]


@pytest.fixture
def one_by_one(asleep: Any, play: Any) -> Any:
    """Its engine ends an answer for each `release` of `gate`; `order` tells which it got."""

    async def counted(body: dict[str, Any], response: Any) -> None:
        asleep.order.append(body["sampling_param_max_tokens"])
        await asleep.gate.acquire()
        await play.words(body, response)

    async def stand(app: Any, *numbers: int) -> list["asyncio.Task[Any]"]:
        tasks = []
        for number in numbers:
            before = held(app)
            tasks.append(ask(asleep, max_tokens=number))
            await play.until(lambda before=before: held(app) == before + 1)
        return tasks

    asleep.order, asleep.gate, asleep.stand = [], asyncio.Semaphore(0), stand
    asleep.triton.play = counted
    return asleep


async def test_nobody_passes_those_that_wait_though_the_hold_ended_with_the_rollout(one_by_one: Any, play: Any) -> None:
    async with one_by_one.gateway() as app:
        requests = await one_by_one.stand(app, 1, 2, 3)
        one_by_one.wake(maxConcurrency=1, hold=0)
        await play.until(lambda: one_by_one.order == [1])
        requests += await one_by_one.stand(app, 11, 12)
        for _ in range(5):
            one_by_one.gate.release()
        await asyncio.gather(*requests)
    assert one_by_one.order == [1, 2, 3, 11, 12]


async def test_nobody_passes_a_full_line_under_steady_load(one_by_one: Any, play: Any) -> None:
    async with one_by_one.gateway(max_held=2) as app:
        requests = await one_by_one.stand(app, 1, 2)
        one_by_one.wake(maxConcurrency=1)
        await play.until(lambda: one_by_one.order == [1])
        requests += await one_by_one.stand(app, 3)
        for number in (4, 5, 6):
            assert (await refusal(ask(one_by_one, max_tokens=30))).code == "TooManyHeld"
            one_by_one.gate.release()
            await play.until(lambda: held(app) == 1)
            requests += await one_by_one.stand(app, number)
        for _ in range(3):
            one_by_one.gate.release()
        await asyncio.gather(*requests)
    assert one_by_one.order == [1, 2, 3, 4, 5, 6]


async def test_streams_in_a_copy_that_left_the_routing_take_no_room_of_the_new_one(one_by_one: Any, play: Any) -> None:
    new = await one_by_one.another_triton(play.words)
    async with one_by_one.gateway() as app:
        one_by_one.wake(maxConcurrency=2)
        await play.until(lambda: app._wiring.routes.by_name[DEMO].usable)
        old = [ask(one_by_one, max_tokens=number) for number in (1, 2)]
        await play.until(lambda: len(one_by_one.order) == 2)
        one_by_one.put([])
        await play.until(lambda: not app._wiring.routes.by_name[DEMO].usable)
        (request,) = await one_by_one.stand(app, 3)
        one_by_one.put([new], maxConcurrency=2)
        answer = await asyncio.wait_for(request, 30)  # long before it may go out whatever is there
        assert answer.usage.completion_tokens == 3
        assert not any(task.done() for task in old)
        one_by_one.gate.release()
        one_by_one.gate.release()
        await asyncio.gather(*old)


async def test_too_many_are_told_when_to_come_again(asleep: Any, play: Any) -> None:
    async with asleep.gateway(max_held=2) as app:
        waiting = [ask(asleep) for _ in range(2)]
        await play.until(lambda: held(app) == 2)
        error = await refusal(ask(asleep))
        asleep.wake()
        await asyncio.gather(*waiting)
    assert (error.status_code, error.code, error.response.headers["retry-after"]) == (503, "TooManyHeld", "5")


async def test_one_tenant_cannot_take_all_places(asleep: Any, play: Any) -> None:
    item = asleep.kubernetes.objects["demo"]
    item["spec"]["access"] = {"tenants": ["globex"]}
    asleep.kubernetes.put(item)
    accepted = [*play.acceptance("globex-inc", "consumer").items(), *play.acceptance("globex-inc", "deployer").items()]
    for identifier, body in accepted:
        asleep.controlplane.put("acceptance", identifier, body)
    for identifier, body in play.statement("globex-inc").items():
        asleep.controlplane.put("statement", identifier, body)
    async with asleep.gateway(max_held_of_tenant=1) as app:
        mine = ask(asleep)
        await play.until(lambda: held(app) == 1)
        assert (await refusal(ask(asleep))).code == "TooManyHeld"
        theirs = ask(asleep, 1)
        await play.until(lambda: held(app) == 2)
        item["status"]["routing"]["holdSeconds"] = 0
        asleep.kubernetes.put(item)
        assert {(await refusal(task)).code for task in (mine, theirs)} == {"DeploymentNotReady"}


async def test_who_has_waited_for_too_long_is_told_so(asleep: Any) -> None:
    asleep.put([], hold=1)
    async with asleep.gateway() as app:
        error = await refusal(ask(asleep))
        assert held(app) == 0
        assert untouched(app)
    assert (error.status_code, error.code) == (503, "DeploymentNotReady")
    assert "could not be started within 1 s" in error.message
    assert asleep.controlplane.records == {}


async def test_a_client_that_leaves_leaves_the_line(asleep: Any, play: Any) -> None:
    async with asleep.gateway() as app:
        request = ask(asleep)
        await play.until(lambda: held(app) == 1)
        request.cancel()
        await play.until(lambda: held(app) == 0)
        await play.until(lambda: app._admitting == 0)
        assert untouched(app)
        asleep.wake()
        await ask(asleep)
        rows = await asleep.controlplane.settled()
    assert len(rows) == len(asleep.triton.bodies) == 1


@pytest.mark.parametrize(
    ("kind", "code"), [("acceptance", "AcceptanceMissing"), ("api_key", "invalid_api_key"), ("namespace", None)]
)
async def test_rights_that_go_while_it_waits_end_it(asleep: Any, play: Any, kind: str, code: str | None) -> None:
    (identifier, body), *_ = play.acceptance("acme-inc", "deployer").items()
    changes: dict[str, tuple[str, Any]] = {
        "acceptance": (identifier, {**body, "state": "revoked"}),
        "api_key": (play.api_key(0)[1]["id"], None),
        "namespace": ("acme-team", None),
    }
    async with asleep.gateway() as app:
        request = ask(asleep)
        await play.until(lambda: held(app) == 1)
        before = app._wiring.policy.view
        asleep.controlplane.put(kind, *changes[kind])
        await play.until(lambda: app._wiring.policy.view is not before)
        asleep.wake()
        error = await refusal(request)
        assert untouched(app)
    assert error.code == (code or "model_not_found")
    assert (asleep.triton.bodies, asleep.controlplane.records) == ([], {})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (None, "invalid_api_key"),
        ({"models": ["acme-team/other"]}, "ModelNotAllowed"),
        ({"scopes": ["models:read"]}, "ScopeMissing"),
        ({"expires_at": 1.0}, "invalid_api_key"),
    ],
)
async def test_a_key_that_loses_its_right_leaves_the_line_at_once_and_others_stay(
    asleep: Any, play: Any, change: dict[str, Any] | None, code: str
) -> None:
    """There is no endpoint meanwhile: nobody's turn comes."""
    keys = asleep.controlplane.objects["api_key"]
    keys |= {body["id"]: {**body, "tenant": "acme"} for _, body in [play.api_key(2)]}
    key = play.api_key(0)[1]["id"]
    async with asleep.gateway() as app:
        loses, stays = ask(asleep), ask(asleep, 2)
        await play.until(lambda: held(app) == 2)
        asleep.controlplane.put("api_key", key, None if change is None else {**keys[key], **change})
        error = await refusal(loses)
        assert held(app) == 1
        asleep.wake()
        assert (await stays).usage.completion_tokens == 3
        await play.until(lambda: not app._wiring.held.waiting)
        rows = await asleep.controlplane.settled()
    assert error.code == code
    assert len(rows) == len(asleep.triton.bodies) == 1


@pytest.mark.parametrize("ends", ["license", "namespace", "access"])
async def test_a_right_that_ends_is_told_at_once_to_all_that_wait_by_it(asleep: Any, play: Any, ends: str) -> None:
    (identifier, body), *_ = play.acceptance("acme-inc", "deployer").items()
    asleep.controlplane.objects["acceptance"] |= play.acceptance("globex-inc", "consumer")
    shared = play.deployment(
        name="demo", digest=asleep.controlplane.digest, endpoints=[], access={"tenants": ["globex"]}
    )
    shared["status"]["routing"]["holdSeconds"] = 60
    asleep.kubernetes.put(shared)
    async with asleep.gateway() as app:
        requests = [ask(asleep, number) for number in (0, 1)]
        await play.until(lambda: held(app) == 2)
        if ends == "license":
            asleep.controlplane.put("acceptance", identifier, {**body, "state": "revoked"})
        elif ends == "namespace":
            asleep.controlplane.put("namespace", "acme-team", None)
        else:
            asleep.put([])
        codes = [(await refusal(request)).code for request in (requests if ends != "access" else requests[1:])]
        assert held(app) == (1 if ends == "access" else 0)
        assert untouched(app)
    expected = {"license": ["AcceptanceMissing"] * 2, "namespace": ["model_not_found"] * 2, "access": ["AccessDenied"]}
    assert codes == expected[ends]


async def test_what_is_not_allowed_does_not_wait(asleep: Any) -> None:
    async with asleep.gateway():
        foreign = await refusal(ask(asleep, 1))
        long = await refusal(ask(asleep, messages=[{"role": "user", "content": "x" * 600}]))
    assert (foreign.code, long.code) == ("AccessDenied", "context_length_exceeded")


async def test_limits_are_asked_before_and_charged_after(asleep: Any, play: Any) -> None:
    key = play.api_key(0)[1]
    asleep.controlplane.objects["api_key"][key["id"]]["limits"] = {"requests_per_minute": 1, "tokens_per_day": 40}
    async with asleep.gateway() as app:
        too_large = await refusal(ask(asleep, max_tokens=400))
        first, second = ask(asleep), ask(asleep)
        await play.until(lambda: held(app) == 2)
        assert untouched(app)
        asleep.wake()
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        (row,) = await asleep.controlplane.settled()
    assert too_large.status_code == 429
    served = [item for item in outcomes if not isinstance(item, BaseException)]
    refused = [item for item in outcomes if isinstance(item, openai.RateLimitError)]
    assert (len(served), len(refused)) == (1, 1)
    assert row["status"] == "ok"


async def test_a_deployment_that_is_deleted_or_given_up_lets_nobody_wait(asleep: Any, play: Any) -> None:
    async with asleep.gateway() as app:
        request = ask(asleep)
        await play.until(lambda: held(app) == 1)
        asleep.put([], hold=0)
        given_up = await refusal(request)
        asleep.put([])
        await play.until(lambda: app._wiring.routes.by_name[DEMO].hold_seconds == 60)
        request = ask(asleep)
        await play.until(lambda: held(app) == 1)
        asleep.kubernetes.put(asleep.kubernetes.objects["demo"], "DELETED")
        deleted = await refusal(request)
    assert (given_up.code, deleted.code) == ("DeploymentNotReady", "model_not_found")


async def test_a_gateway_that_stops_tells_those_that_wait(asleep: Any, play: Any) -> None:
    async with asleep.gateway() as app:
        request = ask(asleep)
        await play.until(lambda: held(app) == 1)
        ending = asyncio.create_task(app.finish(600))  # those that wait are told at once
        error = await refusal(request)
        await ending
    assert (error.status_code, error.code) == (503, "GatewayStopping")
    assert asleep.controlplane.records == {}


async def test_an_endpoint_that_goes_again_at_once_costs_nobody_its_place(
    asleep: Any, play: Any, monkeypatch: Any
) -> None:
    async with asleep.gateway() as app:
        models, gate, asked = app._wiring.prompt_models, asyncio.Event(), asyncio.Event()
        request = ask(asleep)
        await play.until(lambda: held(app) == 1)
        load = models.get

        async def slow(**arguments: Any) -> Any:
            asked.set()
            await gate.wait()
            return await load(**arguments)

        monkeypatch.setattr(models, "get", slow)
        asleep.wake()
        await asked.wait()
        asleep.put([])
        await play.until(lambda: not app._wiring.routes.by_name[DEMO].usable)
        gate.set()
        await play.until(lambda: held(app) == 1)
        asleep.wake()
        assert (await request).usage.completion_tokens == 3


def small(
    *, most: int = 2, endpoints: int = 1, concurrency: int = 1, of_tenant: int = 10, bytes_in_all: int = 1000
) -> tuple[HoldQueue, Routes, Signals]:
    routes, signals = Routes(), Signals(clock=SYSTEM, instance="g", requests_at=lambda _url: 0)
    queue = HoldQueue(
        routes=routes, signals=signals, of_deployment=most, of_tenant=of_tenant, in_all=10, bytes_in_all=bytes_in_all
    )
    routes.put(deployment(endpoints=endpoints, concurrency=concurrency))
    return queue, routes, signals


def deployment(*, endpoints: int, concurrency: int = 1) -> Deployment:
    target = Revision(
        name="r", weight=1, model="m", tokenizer="t", context_length=9, max_concurrency=concurrency,
        endpoints=tuple(f"http://{number}" for number in range(endpoints)),
    )  # fmt: skip
    return Deployment(
        name="a/b", namespace="a", uid="u", created=0, model="m", purpose="p", declined=False, access=frozenset(),
        routing="d", hold_seconds=30, targets=(target,),
    )  # fmt: skip


async def never() -> None:
    await asyncio.Event().wait()


async def test_where_too_many_wait_a_request_is_told_so_and_passes_nobody_though_there_are_endpoints() -> None:
    queue, routes, _ = small(most=1, endpoints=0)
    waiting = asyncio.create_task(queue.wait(routes.by_name["a/b"], tenant="t", gone=never))
    await asyncio.sleep(0)
    routes.put(deployment(endpoints=1))
    with pytest.raises(RequestError) as caught:
        await queue.wait(routes.by_name["a/b"], tenant="t", gone=never)
    assert caught.value.code == "TooManyHeld"
    queue.flow("a/b")
    queue.done(await asyncio.wait_for(waiting, 5))
    await asyncio.sleep(0)
    assert not queue.waiting


async def test_a_body_that_is_too_large_to_wait_is_told_so(asleep: Any, play: Any) -> None:
    async with asleep.gateway(max_held_bytes=1024) as app:  # a quarter of it for one tenant
        error = await refusal(ask(asleep, messages=[{"role": "user", "content": "x" * 300}]))
        request = ask(asleep)
        await play.until(lambda: held(app) == 1)
        asleep.wake()
        await request
    assert (error.status_code, error.code) == (503, "TooManyHeld")


async def test_all_lines_together_are_bounded() -> None:
    queue, routes, _ = small(most=100, endpoints=0, of_tenant=100)
    at = routes.by_name["a/b"]
    waiting = [asyncio.create_task(queue.wait(at, tenant=str(number), gone=never)) for number in range(10)]
    await asyncio.sleep(0)
    assert await turned_away(queue, at, tenant="another")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not await turned_away(queue, at, tenant="another")


async def turned_away(queue: HoldQueue, at: Deployment, **asked: Any) -> bool:
    """True if there is no place; one that gets a place leaves it again."""
    place = asyncio.create_task(queue.wait(at, **{"tenant": "t", "gone": never, **asked}))
    await asyncio.sleep(0)
    if not place.done():
        place.cancel()
    (outcome,) = await asyncio.gather(place, return_exceptions=True)
    return isinstance(outcome, RequestError) and outcome.code == "TooManyHeld"


async def test_what_waits_is_bounded_in_bytes_and_a_tenant_has_its_part_of_them() -> None:
    queue, routes, _ = small(most=100, endpoints=0, of_tenant=5, bytes_in_all=1000)
    at = routes.by_name["a/b"]
    assert await turned_away(queue, at, size=501)
    assert not await turned_away(queue, at, size=500)
    first = asyncio.create_task(queue.wait(at, tenant="t", gone=never, size=400))
    other = asyncio.create_task(queue.wait(at, tenant="u", gone=never, size=500))
    await asyncio.sleep(0)
    assert await turned_away(queue, at, size=101)  # more than the tenant's half
    assert not await turned_away(queue, at, size=100)
    assert await turned_away(queue, at, tenant="v", size=101)  # more than there is
    assert not await turned_away(queue, at, tenant="v", size=100)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not await turned_away(queue, at, size=500)  # its bytes are free again
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    assert (len(queue), queue.waiting) == (0, False)


@pytest.mark.parametrize(("access", "share"), [(frozenset(), 4), (frozenset({"u"}), 2)])
async def test_by_default_a_tenant_gets_half_of_a_line_that_is_there_for_others_too(
    access: frozenset[str], share: int
) -> None:
    queue, routes, _ = small(most=4, endpoints=0)
    routes.put(replace(routes.by_name["a/b"], access=access))
    at = routes.by_name["a/b"]
    mine = [asyncio.create_task(queue.wait(at, tenant="t", gone=never)) for _ in range(share)]
    await asyncio.sleep(0)
    assert await turned_away(queue, at)
    assert await turned_away(queue, at, tenant="u") is (share == 4)
    for task in mine:
        task.cancel()
    await asyncio.gather(*mine, return_exceptions=True)


async def test_a_line_that_outlives_the_hold_ends_with_those_that_were_held() -> None:
    queue, routes, _ = small(most=9, endpoints=0)
    first = asyncio.create_task(queue.wait(routes.by_name["a/b"], tenant="t", gone=never))
    await asyncio.sleep(0)
    routes.put(replace(deployment(endpoints=1), hold_seconds=0))
    at = routes.by_name["a/b"]
    assert queue.queued(at)
    late = asyncio.create_task(queue.wait(at, tenant="t", gone=never))
    await asyncio.sleep(0)
    former, turn = queue._lines["u"].waiting
    assert turn.until == former.until
    queue.flow("a/b")
    queue.done(await asyncio.wait_for(first, 5))
    queue.done(await asyncio.wait_for(late, 5))
    await asyncio.sleep(0)
    assert not queue.queued(at)


async def test_turns_that_are_given_and_not_used_yet_count() -> None:
    queue, routes, signals = small(most=9, endpoints=0, concurrency=2)
    waiting = [asyncio.create_task(queue.wait(routes.by_name["a/b"], tenant="t", gone=never)) for _ in range(5)]
    await asyncio.sleep(0)
    routes.put(deployment(endpoints=1, concurrency=2))
    for _ in range(3):  # however often it is looked at
        queue.flow("a/b")
        await asyncio.sleep(0.01)
    assert [task.done() for task in waiting] == [True, True, False, False, False]
    meter = signals.meter(routes.by_name["a/b"])
    for task in waiting[:2]:
        queue.done(task.result())
        meter.begin()  # as an admitted request does before anything else runs
    await asyncio.sleep(0.01)
    assert [task.done() for task in waiting] == [True, True, False, False, False]
    meter.end()
    queue.flow("a/b")
    await asyncio.sleep(0.01)
    assert [task.done() for task in waiting] == [True, True, True, False, False]
    for task in waiting[3:]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    queue.done(waiting[2].result())
    await asyncio.sleep(0.01)
    assert (len(queue), queue.waiting) == (0, False)


async def test_who_had_a_turn_and_found_no_endpoint_is_the_first_in_the_line_again() -> None:
    queue, routes, _ = small(most=9, endpoints=0)
    turn = asyncio.create_task(queue.wait(routes.by_name["a/b"], tenant="t", gone=never))
    await asyncio.sleep(0)
    routes.put(deployment(endpoints=1))
    queue.flow("a/b")
    had = await asyncio.wait_for(turn, 5)
    routes.put(deployment(endpoints=0))
    other = asyncio.create_task(queue.wait(routes.by_name["a/b"], tenant="t", gone=never))
    await asyncio.sleep(0)
    queue.done(had)
    again = asyncio.create_task(queue.wait(routes.by_name["a/b"], tenant="t", gone=never, former=had))
    await asyncio.sleep(0)
    routes.put(deployment(endpoints=1))
    queue.flow("a/b")
    queue.done(await asyncio.wait_for(again, 5))
    assert not other.done()
    queue.done(await asyncio.wait_for(other, 5))
