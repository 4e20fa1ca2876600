"""What a gateway tells the operator: the routing that it follows, requests at each endpoint, how revisions answer."""

import asyncio
from typing import Any

import aiohttp
import msgspec
import openai
import pytest
from paddock_core.signals import PATH, TTFT_BOUNDS_MS, WINDOW_SECONDS, DeploymentSignal, GatewayReport
from paddock_gateway import internal
from paddock_gateway.clock import SYSTEM, Clock
from paddock_gateway.deployments import Deployment, Revision
from paddock_gateway.signals import AT_A_TIME, Signals
from paddock_gateway.windows import SLOT_SECONDS, Window

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
DEMO = "acme-team/demo"


class Poll:
    """Reads the signals as the operator does."""

    def __init__(self, world: Any, token: str = "internal-token-of-the-tests") -> None:
        self.url = f"http://127.0.0.1:{world.settings.internal_port}{PATH}"
        self.headers = {"authorization": f"Bearer {token}"}

    async def raw(self, **parameters: Any) -> tuple[int, bytes]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url, params=parameters, headers=self.headers) as response,
        ):
            return response.status, await response.read()

    async def report(self, *, after: int = 0, wait: float = 0) -> GatewayReport:
        status, body = await self.raw(after=after, wait=wait)
        assert status == 200, body
        return msgspec.json.decode(body, type=GatewayReport)

    async def until(self, wanted: Any, *, after: int = 0) -> tuple[DeploymentSignal, GatewayReport]:
        """The first report about demo that is as wanted, following the cursor."""
        async with asyncio.timeout(300):
            while True:
                report = await self.report(after=after, wait=5)
                after = report.cursor
                for signal in report.deployments:
                    if signal.name == DEMO and wanted(signal):
                        return signal, report


async def ask(world: Any, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 3, **changes}
    return await world.client().chat.completions.create(**arguments)


@pytest.fixture
def gated(world: Any, play: Any) -> Any:
    """A Triton that says one word, and the rest when `go` is set."""
    go = asyncio.Event()

    async def slowly(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "one ", 1)
        await go.wait()
        await play.event(response, "two", 1, "stop")

    world.triton.play = slowly
    return go


async def test_only_the_internal_token_opens_it_and_what_is_asked_is_bounded(world: Any) -> None:
    async with world.gateway():
        assert (await Poll(world, token="another").raw())[0] == 401
        for wrong in ({"after": "-1"}, {"after": "x"}, {"wait": "31"}, {"wait": "nan"}, {"after": "9" * 30}):
            assert (await Poll(world).raw(**wrong))[0] == 400
        report = await Poll(world).report()
    assert (report.instance, report.synced, report.whole) == ("gateway-0", True, True)
    assert [signal.name for signal in report.deployments] == [DEMO]
    assert report.deployments[0].idle_seconds is None


async def test_a_new_routing_is_confirmed_at_once(world: Any, play: Any) -> None:
    async with world.gateway():
        poll = Poll(world)
        before, report = await poll.until(lambda signal: signal.routing == "first")
        waiting = asyncio.create_task(poll.report(after=report.cursor, wait=30))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        item = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=["http://127.0.0.1:9"])
        item["status"]["routing"]["digest"] = "second"
        world.kubernetes.put(item)
        told = await asyncio.wait_for(waiting, 300)
    assert before.uid == "uid-demo"
    assert (told.whole, [signal.routing for signal in told.deployments]) == (False, ["second"])
    assert told.cursor > report.cursor


async def test_requests_are_told_by_endpoint_until_the_last_has_left_one_that_is_no_longer_routed(
    world: Any, play: Any, gated: asyncio.Event
) -> None:
    url = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"][0]["url"]
    async with world.gateway() as app:
        poll, request = Poll(world), asyncio.create_task(ask(world))
        busy, report = await poll.until(lambda signal: signal.endpoints)
        item = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=[])
        item["status"]["routing"]["digest"] = "drained"
        world.kubernetes.put(item)
        draining, report = await poll.until(lambda signal: signal.routing == "drained", after=report.cursor)
        gated.set()
        assert (await request).choices[0].message.content == "one two"
        over, report = await poll.until(lambda signal: not signal.left, after=report.cursor)
        idle, _ = await poll.until(lambda signal: signal.in_flight == 0)
        assert app._wiring.engine._claims == {}
    assert (busy.in_flight, busy.endpoints, busy.left) == (1, {url: 1}, ())
    assert (draining.endpoints, draining.left) == ({url: 1}, (url,))
    assert over.endpoints == {}
    assert idle.idle_seconds is not None


async def test_a_request_that_is_admitted_counts_at_its_endpoints_before_it_is_sent(
    world: Any, play: Any, monkeypatch: Any
) -> None:
    """Or else its copy could be deleted between the two."""
    url = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"][0]["url"]
    gate = asyncio.Event()
    async with world.gateway() as app:
        journal = app._wiring.journal
        begin = journal.begin

        async def later(intent: Any) -> None:
            await gate.wait()
            await begin(intent)

        monkeypatch.setattr(journal, "begin", later)
        request = asyncio.create_task(ask(world))
        signal, _ = await Poll(world).until(lambda signal: signal.in_flight == 1)
        gate.set()
        await request
        assert app._wiring.engine.requests_at(url) == 0
    assert signal.endpoints == {url: 1}
    assert len(world.triton.bodies) == 1


async def test_answers_are_counted_by_revision_and_only_an_engine_s_failure_is_an_error(world: Any) -> None:
    async with world.gateway():
        for _ in range(3):
            await ask(world)
        with pytest.raises(openai.BadRequestError):  # refused by this gateway: no answer
            await ask(world, messages=[{"role": "user", "content": "x" * 600}])
        stream = await ask(world, stream=True, max_tokens=400)
        async for _ in stream:
            break
        await stream.close()  # left by its client: no answer
        world.triton.crash = True
        with pytest.raises(openai.InternalServerError):
            await ask(world)
        rows = await world.controlplane.settled(5)
        report = await Poll(world).report()
    (signal,) = report.deployments
    (revision,) = signal.revisions
    left = sum(row["status"] == "client_gone" for row in rows)
    assert (revision.revision, revision.requests, revision.errors) == ("r1", 5 - left, 1)
    assert revision.output_tokens >= 10
    assert sum(revision.ttft_ms) == revision.requests - 1
    assert len(revision.ttft_ms) == len(TTFT_BOUNDS_MS) + 1


async def test_another_process_begins_anew_and_says_so(world: Any) -> None:
    async with world.gateway():
        first = await Poll(world).report()
    async with world.gateway():
        second = await Poll(world).report(after=first.cursor + 1000)
    assert second.whole
    assert second.started_at > first.started_at


async def test_the_last_word_of_a_gateway_that_stops_is_that_nothing_is_left(world: Any) -> None:
    async with world.gateway():
        poll = Poll(world)
        report = await poll.report()
        waiting = asyncio.create_task(poll.report(after=report.cursor, wait=30))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    last = await waiting
    assert (report.ended, last.ended) == (False, True)


def test_a_window_forgets_what_is_older_and_keeps_the_rest() -> None:
    window = Window()
    for at in range(0, 3 * WINDOW_SECONDS, SLOT_SECONDS):
        window.add(now=at, failed=at % 20 == 0, ttft_ms=5.0, tokens=2, output_ms=7.5)
    told = window.told("r", now=3 * WINDOW_SECONDS - 1)
    assert told is not None
    assert (told.requests, told.errors, told.output_tokens, told.output_ms) == (6, 3, 12, 42)
    assert told.ttft_ms[0] == 6
    assert window.told("r", now=5 * WINDOW_SECONDS) is None


@pytest.mark.parametrize(("ttft", "place"), [(0.0, 0), (10.0, 0), (10.1, 1), (25_600.0, 11), (99_999.0, 12)])
def test_times_fall_into_the_bucket_whose_bound_they_do_not_pass(ttft: float, place: int) -> None:
    window = Window()
    window.add(now=1, failed=False, ttft_ms=ttft, tokens=1, output_ms=0)
    told = window.told("r", now=1)
    assert told is not None
    assert [index for index, count in enumerate(told.ttft_ms) if count] == [place]


def deployment(name: str, *, routing: str, urls: tuple[str, ...] = ()) -> Deployment:
    target = Revision(name="r", weight=1, model="m", tokenizer="t", context_length=1, max_concurrency=1, endpoints=urls)
    return Deployment(
        name=f"acme/{name}", namespace="acme", uid=f"uid-{name}", created=0, model="m", purpose="p", declined=False,
        access=frozenset(), routing=routing, targets=(target,),
    )  # fmt: skip


def decoded(body: bytes) -> GatewayReport:
    return msgspec.json.decode(body, type=GatewayReport)


async def test_what_is_gone_is_told_once_and_then_left_out_of_a_whole_report() -> None:
    book = Signals(clock=SYSTEM, instance="g", requests_at=lambda _url: 0)
    for name in ("a", "b"):
        book.routed(f"acme/{name}", deployment(name, routing="one", urls=("http://u",)))
    all_ = decoded(await book.report(after=0, wait=0))
    book.routed("acme/a", None)
    gone = decoded(await book.report(after=all_.cursor, wait=0))
    book._forget()
    rest = decoded(await book.report(after=gone.cursor, wait=5))
    assert [(signal.name, signal.routing) for signal in gone.deployments] == [("acme/a", "")]
    assert (rest.whole, [signal.name for signal in rest.deployments]) == (True, ["acme/b"])


async def test_a_deployment_made_anew_under_its_name_is_another() -> None:
    book = Signals(clock=SYSTEM, instance="g", requests_at=lambda _url: 0)
    old = deployment("a", routing="one", urls=("http://u",))
    book.routed("acme/a", old)
    meter = book.meter(old)
    meter.begin()
    again = Deployment(
        name="acme/a", namespace="acme", uid="uid-again", created=0, model="m", purpose="p", declined=False,
        access=frozenset(), routing="two",
    )  # fmt: skip
    book.routed("acme/a", again)
    told = {signal.uid: signal for signal in decoded(await book.report(after=0, wait=0)).deployments}
    assert (told["uid-a"].routing, told["uid-a"].in_flight, told["uid-again"].routing) == ("", 1, "two")
    meter.end()
    book._forget()
    assert [item.uid for item in decoded(await book.report(after=0, wait=0)).deployments] == ["uid-again"]


async def test_in_flight_is_told_with_the_next_tick_and_a_request_that_waits_at_once() -> None:
    book = Signals(clock=SYSTEM, instance="g", requests_at=lambda _url: 0)
    one = deployment("a", routing="one")
    book.routed("acme/a", one)
    start = decoded(await book.report(after=0, wait=0)).cursor
    book.meter(one).begin()
    assert decoded(await book.report(after=start, wait=0)).deployments == ()
    book.meter(one).hold(1)
    (told,) = decoded(await book.report(after=start, wait=0)).deployments
    assert (told.in_flight, told.held) == (1, 1)


async def test_sums_that_grow_old_are_told_though_nothing_happens() -> None:
    now = [100.0]
    clock = Clock(wall=SYSTEM.wall, steady_ns=lambda: int(now[0] * 1e9), boot_id=SYSTEM.boot_id)
    book = Signals(clock=clock, instance="g", requests_at=lambda _url: 0)
    one = deployment("a", routing="one")
    book.routed("acme/a", one)
    book.meter(one).answered("r", failed=False, ttft_ms=1.0, tokens=1, output_ms=1.0)
    first = decoded(await book.report(after=0, wait=0))
    running = asyncio.create_task(book.run())
    now[0] += 2 * WINDOW_SECONDS
    later = decoded(await asyncio.wait_for(book.report(after=first.cursor, wait=30), 30))
    running.cancel()
    assert first.deployments[0].revisions[0].requests == 1
    assert later.deployments[0].revisions == ()


async def test_the_end_of_the_last_request_at_an_endpoint_that_left_is_told_at_once() -> None:
    requests = {"http://u": 1}
    book = Signals(clock=SYSTEM, instance="g", requests_at=lambda url: requests.get(url, 0))
    one = deployment("a", routing="one", urls=("http://u",))
    book.routed("acme/a", one)
    book.meter(one).begin()
    book.routed("acme/a", deployment("a", routing="two"))
    before = decoded(await book.report(after=0, wait=0))
    requests.clear()
    book.meter(one).end()
    (told,) = decoded(await book.report(after=before.cursor, wait=0)).deployments
    assert before.deployments[0].left == ("http://u",)
    assert (told.left, told.endpoints) == ((), {})


async def test_an_endpoint_that_left_is_told_empty_by_and_by_though_no_request_ends_here() -> None:
    """As when the engine has let the last one go while its client still takes the end."""
    requests = {"http://u": 1}
    book = Signals(clock=SYSTEM, instance="g", requests_at=lambda url: requests.get(url, 0))
    one = deployment("a", routing="one", urls=("http://u",))
    book.routed("acme/a", one)
    book.meter(one).begin()
    book.routed("acme/a", deployment("a", routing="two"))
    before = decoded(await book.report(after=0, wait=0))
    running = asyncio.create_task(book.run())
    requests.clear()
    (told,) = decoded(await asyncio.wait_for(book.report(after=before.cursor, wait=30), 30)).deployments
    running.cancel()
    assert (before.deployments[0].left, told.left, told.in_flight) == (("http://u",), (), 1)


async def test_a_gateway_says_that_it_knows_the_deployments_only_once_it_has_listed_them() -> None:
    book = Signals(clock=SYSTEM, instance="g", requests_at=lambda _url: 0)
    assert not decoded(await book.report(after=0, wait=0)).synced
    book.synced = lambda: True
    assert decoded(await book.report(after=0, wait=0)).synced


async def test_a_long_report_lets_requests_have_their_turn_and_misses_nothing_that_changes_meanwhile() -> None:
    book = Signals(clock=SYSTEM, instance="g", requests_at=lambda _url: 0)
    many = [deployment(str(number), routing="one") for number in range(3 * AT_A_TIME)]
    for each in many:
        book.routed(each.name, each)
    asked = asyncio.create_task(book.report(after=0, wait=0))
    await asyncio.sleep(0)  # it has begun
    assert not asked.done()
    book.routed(many[0].name, deployment("0", routing="two"))
    first = decoded(await asked)
    (then,) = decoded(await book.report(after=first.cursor, wait=0)).deployments
    assert (len(first.deployments), first.deployments[0].routing, then.routing) == (3 * AT_A_TIME, "one", "two")


async def test_polls_that_wait_are_bounded(world: Any, play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal, "MOST_POLLS", 1)
    async with world.gateway(), aiohttp.ClientSession() as session:
        poll = Poll(world)
        after = (await poll.report()).cursor
        waiting = asyncio.create_task(
            session.get(poll.url, params={"after": after, "wait": "30"}, headers=poll.headers)
        )
        async with asyncio.timeout(300):
            while (await poll.raw(after=0))[0] != 429:  # noqa: ASYNC110 - the port says it alone
                await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_answers_that_the_gateway_cut_are_no_errors_of_the_revision(world: Any, gated: Any, play: Any) -> None:
    """As in a canary whose license is revoked."""
    async with world.gateway():
        stream = await ask(world, stream=True)
        await anext(aiter(stream))
        (identifier, body), *_ = play.acceptance("acme-inc", "deployer").items()
        world.controlplane.put("acceptance", identifier, {**body, "state": "revoked"})
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass
        await world.controlplane.settled()
        report = await Poll(world).report()
    assert report.deployments[0].revisions == ()
