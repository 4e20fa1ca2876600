"""What the operator makes of gateways' signals: the book, the follower, Routable, and the end of a drain."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources.conditions import FALSE, TRUE, UNKNOWN
from paddock_core.resources.llamadeployment import Condition, Endpoint, RoutingStatus, TargetStatus
from paddock_core.signals import PATH, DeploymentSignal, GatewayReport, RevisionSignal
from paddock_local.bare_kubernetes import free_port
from paddock_operator.adapters import gateways as adapter
from paddock_operator.decide.draining import drained
from paddock_operator.decide.drains import judge
from paddock_operator.decide.routable import routable
from paddock_operator.gateways import FRESH_SECONDS, Gateways, GatewayView
from paddock_operator.ports import Key
from paddock_operator.signals_book import FORGET_SECONDS, SignalBook

from tests.waiting import until

URL = "http://10.0.0.1:8000"
NOW = 1_700_000_000.0


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return NOW + self.at - 1000.0

    def boottime(self) -> float:
        return self.at


def signal(uid: str = "u", **changes: Any) -> DeploymentSignal:
    return DeploymentSignal(**{"name": f"acme/{uid}", "uid": uid, "routing": "d1", **changes})


def report(*signals: DeploymentSignal, instance: str = "g0", started: float = 1.0, **changes: Any) -> GatewayReport:
    said = {"instance": instance, "started_at": started, "cursor": 5, "synced": True, "deployments": signals}
    return GatewayReport(**{**said, **changes})


def book() -> tuple[SignalBook, Clock, list[Key]]:
    clock = Clock()
    woken: list[Key] = []
    return SignalBook(clock=clock, wake=woken.append, configured=True), clock, woken


def view(instance: str = "g0", *, age: float = 1.0, synced: bool = True, **told: Any) -> GatewayView:
    known = signal(**told) if told.pop("known", True) else None
    return GatewayView(instance=instance, heard_at=NOW - age, age_seconds=age, synced=synced, signal=known)


def unheard(instance: str = "http://10.9.9.9:7412") -> GatewayView:
    """An address at which a gateway should answer and never did."""
    return GatewayView(instance=instance, heard_at=-math.inf, age_seconds=math.inf, synced=False)


def seen(*views: GatewayView, settled: bool = True) -> Gateways:
    return Gateways(configured=True, views=views, settled=settled)


# the book


def test_what_gateways_tell_adds_up_as_long_as_they_answer() -> None:
    here, clock, _ = book()
    revision = RevisionSignal(revision="r", requests=3, errors=1)
    here.take("a", report(signal(in_flight=2, held=1, revisions=(revision,)), instance="g0"))
    here.take("b", report(signal(in_flight=5, revisions=(revision,)), instance="g1"))
    both = here.about("u")
    clock.at += FRESH_SECONDS + 1
    here.take("b", report(instance="g1"))
    one = here.about("u")
    assert (both.in_flight, both.held, len(both.revisions), here.answering()) == (7, 1, 2, 1)
    assert (one.in_flight, one.held, [item.fresh for item in one.views]) == (5, 0, [False, True])


def test_idle_time_goes_on_while_nothing_is_told_and_is_nothing_while_somebody_asks() -> None:
    here, clock, _ = book()
    here.take("a", report(signal(idle_seconds=40), instance="g0"))
    here.take("b", report(signal(), instance="g1"))
    clock.at += 10
    assert here.about("u").idle_seconds == 50
    here.take("b", report(signal(held=1), instance="g1"))
    assert here.about("u").idle_seconds == 0
    assert here.about("other").idle_seconds is None


def test_only_news_that_a_round_must_see_now_wake_it() -> None:
    here, _, woken = book()
    here.take("a", report(signal(routing="")))
    assert woken == []  # it is known and not served
    for change in (
        {"routing": "d1"},
        {"in_flight": 4, "endpoints": {URL: 4}},
        {"held": 1},
        {"held": 2},
        {"left": (URL,), "endpoints": {URL: 1}},
        {"left": (URL,), "endpoints": {URL: 3}},
        {},
    ):
        here.take("a", report(signal(**change)))
    # confirmed, waits (the second one changes nothing), the last request has left
    assert woken == [Key("acme", "u")] * 3


def test_a_whole_report_takes_away_what_it_does_not_name() -> None:
    here, _, woken = book()
    here.take("a", report(signal("u"), signal("v"), whole=True))
    woken.clear()
    here.take("a", report(signal("v"), whole=True))
    assert (here.about("u").signals, len(here.about("v").signals), woken) == ((), 1, [Key("acme", "u")])


def test_a_process_that_was_started_anew_has_no_requests_of_the_one_before() -> None:
    here, _, _ = book()
    here.take("old-address", report(signal(in_flight=3), instance="g0", started=1.0))
    here.take("new-address", report(signal(), instance="g0", started=2.0))
    assert [(item.instance, item.signal) for item in here.about("u").views] == [("g0", signal())]
    here.take("new-address", report(instance="g0", started=3.0))
    assert here.about("u").views[0].signal is None


def test_what_is_silent_for_long_is_forgotten_and_all_of_it_by_who_does_not_lead() -> None:
    here, clock, _ = book()
    here.take("a", report(signal()))
    clock.at += FORGET_SECONDS + 1
    assert here.about("u").views == ()
    here.take("a", report(signal()))
    here.clear()
    assert here.about("u").views == ()


def test_a_gateway_that_stopped_in_order_is_waited_for_by_no_drain() -> None:
    here, _, woken = book()
    here.take("a", report(signal(left=(URL,), endpoints={URL: 1})))
    woken.clear()
    here.take("a", report(ended=True))
    assert (here.about("u").views, woken) == ((), [Key("acme", "u")])
    here.take("never-known", report(ended=True))
    assert here.about("u").views == ()


def test_an_address_that_should_answer_is_seen_until_it_is_named_no_more() -> None:
    here, clock, _ = book()
    here.expect(["a", "b"])
    here.take("a", report(signal(), instance="g0"))
    clock.at += FRESH_SECONDS
    here.take("a", report(signal(), instance="g0"))
    waits = here.about("u")
    assert [(item.instance, item.fresh) for item in waits.views] == [("g0", True), ("b", False)]
    assert (waits.settled, waits.complete) == (True, False)
    assert not asked(waits, since=5.0).over
    here.expect(["a"])
    assert [item.instance for item in here.about("u").views] == ["g0"]


def test_what_stopped_in_order_or_was_replaced_is_expected_only_once_it_answers_again() -> None:
    here, _, _ = book()
    here.expect(["a", "b"])
    here.take("a", report(signal(), instance="g0"))
    here.take("a", report(ended=True, instance="g0"))
    here.take("b", report(signal(), instance="g1", started=1.0))
    here.take("c", report(signal(), instance="g1", started=2.0))
    assert [item.instance for item in here.about("u").views] == ["g1"]
    here.take("a", report(signal(), instance="g0", started=2.0))
    assert [item.instance for item in here.about("u").views] == ["g0", "g1"]
    here.clear()
    here.expect(["a"])
    assert [item.instance for item in here.about("u").views] == ["a"]


def test_who_leads_anew_knows_for_a_while_that_others_could_not_answer_yet() -> None:
    here, clock, _ = book()
    clock.at += 100
    here.take("a", report(signal()))
    assert not here.about("u").settled
    clock.at += FRESH_SECONDS
    assert here.about("u").settled
    here.clear()
    assert not here.about("u").settled


def test_a_silent_gateway_is_remembered_for_longer_than_any_drain() -> None:
    clock = Clock()
    here = SignalBook(clock=clock, wake=lambda _: None, configured=True, drain_limit_seconds=3600.0)
    here.take("a", report(signal(endpoints={URL: 2})))
    clock.at += 3601
    assert here.about("u").views
    clock.at += 60
    assert not here.about("u").views


# Routable


def routing(*urls: str, hold: int = 0) -> RoutingStatus:
    target = TargetStatus(
        revision="r", model="m", tokenizer="t", context_length=1, max_concurrency=1,
        endpoints=tuple(Endpoint(pod="p", url=url) for url in urls),
    )  # fmt: skip
    return RoutingStatus(digest="d1", hold_seconds=hold, targets=(target,))


@pytest.mark.parametrize(
    ("gateways", "status", "reason", "says"),
    [
        (seen(view()), TRUE, "Routable", "the gateway"),
        (seen(view("g0"), view("g1")), TRUE, "Routable", "all 2 gateways"),
        (seen(view("g0"), view("g1", age=60)), TRUE, "Routable", "the gateway that answers; not by g1"),
        (seen(view("g0"), unheard()), TRUE, "Routable", "not by http://10.9.9.9:7412"),
        (seen(unheard()), UNKNOWN, "GatewayUnreachable", "no gateway answers"),
        (seen(view("g0"), view("g1", routing="d0")), FALSE, "GatewayBehind", "g1, of 2"),
        (seen(view("g0", known=False)), FALSE, "GatewayBehind", "g0"),
        (seen(view("g0", synced=False)), UNKNOWN, "GatewayUnreachable", "no gateway answers"),
        (seen(view("g0", age=60)), UNKNOWN, "GatewayUnreachable", "no gateway answers"),
        (seen(), UNKNOWN, "GatewayUnreachable", "no gateway answers"),
    ],
)
def test_routable_is_what_every_gateway_that_answers_has_confirmed(
    gateways: Gateways, status: str, reason: str, says: str
) -> None:
    finding = routable(routing=routing(URL), gateways=gateways)
    assert finding is not None
    assert (finding.type, finding.status, finding.reason) == ("Routable", status, reason)
    assert says in finding.message


def condition(status: str, reason: str) -> Condition:
    return Condition(
        type="Routable", status=status, reason=reason, message="was", observed_generation=1, last_transition_time="t"
    )


@pytest.mark.parametrize(
    ("gateways", "former", "reason"),
    [
        (seen(settled=False), condition(TRUE, "Routable"), "was"),
        (seen(unheard(), settled=False), condition(UNKNOWN, "GatewayUnreachable"), "was"),
        (seen(view("g0"), unheard(), settled=False), condition(TRUE, "Routable"), "was"),
        # What is known is said at once.
        (seen(view("g0", routing="d0"), unheard(), settled=False), condition(TRUE, "Routable"), "not confirmed yet"),
        (seen(view("g0"), settled=False), condition(UNKNOWN, "GatewayUnreachable"), "confirmed by the gateway"),
        (seen(settled=False), condition(FALSE, "NoEndpoint"), "no gateway answers"),
        (seen(settled=False), None, "no gateway answers"),
        (seen(), condition(TRUE, "Routable"), "no gateway answers"),
    ],
)
def test_routable_stays_as_it_was_while_gateways_are_only_beginning_to_be_asked(
    gateways: Gateways, former: Condition | None, reason: str
) -> None:
    finding = routable(routing=routing(URL), gateways=gateways, former=former)
    assert finding is not None
    assert finding.message.startswith(reason)
    if reason == "was" and former is not None:
        assert (finding.status, finding.reason) == (former.status, former.reason)


def test_routable_is_absent_where_it_says_nothing() -> None:
    assert routable(routing=None, gateways=seen(view())) is None
    assert routable(routing=routing(URL), gateways=Gateways()) is None
    assert routable(routing=routing(hold=60), gateways=seen(view())) is None
    nowhere = routable(routing=routing(), gateways=seen(view()))
    assert nowhere is not None
    assert nowhere.reason == "NoEndpoint"


def test_nobody_knows_whether_requests_get_through_while_the_policy_is_expired() -> None:
    finding = routable(routing=routing(URL), gateways=seen(view("g0")), expired=True)
    assert finding is not None
    assert (finding.type, finding.status, finding.reason) == ("Routable", UNKNOWN, "PolicyExpired")
    assert "confirmed by the gateway; but the policy is expired" in finding.message
    behind = routable(routing=routing(URL), gateways=seen(view("g0", routing="d0")), expired=True)
    assert behind is not None
    assert behind.reason == "GatewayBehind", "what is known is told"


def test_of_many_gateways_that_are_behind_some_are_named() -> None:
    finding = routable(routing=routing(URL), gateways=seen(*(view(f"g{n}", routing="d0") for n in range(9))))
    assert finding is not None
    assert "g4 and 4 more" in finding.message


# draining


def asked(gateways: Gateways, *, urls: tuple[str, ...] = (URL,), since: float = 30.0) -> Any:
    """Marked so many seconds ago, with a limit of 100 seconds."""
    return drained(urls=urls, digest="d1", since=NOW - since, now=NOW, limit_seconds=100.0, gateways=gateways)


@pytest.mark.parametrize(
    ("gateways", "over", "note"),
    [
        (seen(view()), True, ""),
        (seen(view(endpoints={"http://other": 3})), True, ""),
        (seen(view(endpoints={URL: 2})), False, "g0 has 2 requests left there"),
        (seen(view(routing="d0")), False, "has not confirmed the routing without it"),
        (seen(view("g0"), view("g1", endpoints={URL: 1})), False, "g1 has 1 requests"),
        (seen(view(known=False)), True, ""),
        (seen(view(synced=False)), False, "has not been heard of since"),
        # Confirmed and empty stays so, however long it has been silent since.
        (seen(view(age=20)), True, ""),
        (seen(view(age=20, endpoints={URL: 1})), False, "(it does not answer now)"),
        # What it told before the copy was marked says nothing of the copy.
        (seen(view(age=31)), False, "has not been heard of since"),
        (seen(), False, "no gateway says"),
        (Gateways(), False, "no gateway says"),
        # Others may be there that could not answer yet, or never did.
        (seen(view(), settled=False), False, "gateways are still being asked"),
        (seen(view(), unheard()), False, "http://10.9.9.9:7412 has not been heard of since (it does not answer now)"),
    ],
)
def test_a_copy_goes_once_no_gateway_has_a_request_in_it(gateways: Gateways, over: bool, note: str) -> None:
    drain = asked(gateways)
    assert drain.over is over
    assert note in drain.note
    assert (drain.look_after_seconds is None) is over


@pytest.mark.parametrize(("told", "over"), [((URL,), False), (("http://10.0.0.2:8000",), True)])
def test_a_copy_that_gateways_are_still_told_of_does_not_go_by_what_they_say(told: tuple[str, ...], over: bool) -> None:
    """As after an operator that was killed between the mark and the status: what they confirm is the old routing."""
    config = SimpleNamespace(drain_seconds=3.0, drain_limit_seconds=900.0)
    copy = SimpleNamespace(url=URL, draining_since=NOW - 30)
    status = SimpleNamespace(routing=routing(*told))
    observed = SimpleNamespace(live=SimpleNamespace(status=status), gateways=seen(view()), now=NOW)
    drain = judge(observed, config, copy)  # type: ignore[arg-type]
    assert drain.over is over
    assert over or drain.note == "the routing is about to be told"


def test_a_copy_without_an_address_never_had_a_request() -> None:
    assert asked(seen(), urls=()).over


def test_after_the_limit_it_goes_and_says_what_was_not_waited_for() -> None:
    drain = asked(seen(view(endpoints={URL: 2})), since=100.0)
    assert drain.over
    assert drain.note == "not waited for any longer: g0 has 2 requests left there"
    assert asked(seen(view(endpoints={URL: 2})), since=98.0).look_after_seconds == 2.0


_VIEWS = st.builds(
    view,
    st.sampled_from(["g0", "g1", "g2"]),
    age=st.floats(0, 60),
    synced=st.booleans(),
    known=st.booleans(),
    routing=st.sampled_from(["d0", "d1"]),
    endpoints=st.dictionaries(st.sampled_from([URL, "http://x"]), st.integers(1, 3)),
)


@given(views=st.lists(st.one_of(_VIEWS, st.builds(unheard)), max_size=4), since=st.floats(0, 99), settled=st.booleans())
def test_before_the_limit_no_copy_goes_while_a_gateway_may_have_a_request_in_it(
    views: list[GatewayView], since: float, settled: bool
) -> None:
    may = [item for item in views if item.signal is not None and item.signal.endpoints.get(URL)]
    old = [item for item in views if item.signal is not None and item.signal.routing != "d1"]
    never = [item for item in views if item.heard_at == -math.inf]
    if may or old or never or not views or not settled:
        assert not asked(seen(*views, settled=settled), since=since).over


# the follower


class Leader:
    """Leads, or does not."""

    def __init__(self) -> None:
        self.leading, self.following = asyncio.Event(), asyncio.Event()
        self.lead(leads=True)

    def lead(self, *, leads: bool) -> None:
        (self.leading if leads else self.following).set()
        (self.following if leads else self.leading).clear()


class Gateway:
    """A gateway's internal port."""

    def __init__(self) -> None:
        self.started, self.cursor, self.fails = 1.0, 1, 0
        self.signals: tuple[DeploymentSignal, ...] = (signal(),)
        self.polls: list[tuple[int, str]] = []
        self.news, self.paused = asyncio.Event(), asyncio.Event()
        self.paused.set()
        self.instance, self.url = "g0", ""

    async def answer(self, request: web.Request) -> web.Response:
        after = int(request.query["after"])
        self.polls.append((after, request.headers["authorization"]))
        await self.paused.wait()
        if self.fails:
            self.fails -= 1
            return web.Response(status=500)
        if after == self.cursor:
            self.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query["wait"])):
                    await self.news.wait()
        told = report(*self.signals, instance=self.instance, started=self.started, cursor=self.cursor, whole=after == 0)
        return web.Response(body=msgspec.json.encode(told))

    def tell(self, *signals: DeploymentSignal) -> None:
        self.signals = signals
        self.cursor += 1
        self.news.set()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with served(Gateway()) as here:
        yield here


@contextlib.asynccontextmanager
async def served(here: Gateway) -> AsyncIterator[Gateway]:
    app = web.Application()
    app.router.add_get(PATH, here.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    here.url = f"http://localhost:{port}"
    yield here
    await runner.cleanup()


followers: list[adapter.GatewayFollower] = []
"""The newest one."""


@contextlib.asynccontextmanager
async def following(gateway: Gateway, leader: Leader, *others: Gateway, clock: Any = None) -> AsyncIterator[SignalBook]:
    here = SignalBook(clock=clock or Clock(), wake=lambda _key: None, configured=True)
    urls = tuple(each.url for each in (gateway, *others))
    async with aiohttp.ClientSession() as session:
        follower = adapter.GatewayFollower(session=session, urls=urls, token=lambda: b"internal", book=here)
        followers[:] = [follower]
        task = asyncio.create_task(follower.run(leader))  # type: ignore[arg-type]
        try:
            yield here
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert follower._followed == set()


async def test_each_address_is_followed_with_the_token_and_its_cursor(gateway: Gateway) -> None:
    async with following(gateway, Leader()) as here:
        await until(lambda: here.about("u").signals)
        gateway.tell(signal(held=3))
        await until(lambda: here.about("u").held == 3)
        await until(lambda: gateway.polls[-1][0] == 2)
    assert gateway.polls[0] == (0, "Bearer internal")
    assert {1, 2} <= {after for after, _ in gateway.polls}


async def test_a_gateway_that_fails_or_was_started_anew_is_asked_for_everything(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "RETRY_FIRST_SECONDS", 0.01)
    async with following(gateway, Leader()) as here:
        await until(lambda: here.about("u").signals)
        gateway.fails = 3
        gateway.tell(signal(in_flight=1))
        await until(lambda: here.about("u").in_flight == 1)
        before = len(gateway.polls)
        gateway.started = 2.0
        gateway.tell(signal("v"))
        await until(lambda: here.about("v").signals)
    assert not here.about("u").signals
    assert 0 in [after for after, _ in gateway.polls[before:]]


async def test_who_does_not_lead_follows_nobody_and_remembers_nothing(gateway: Gateway) -> None:
    leader = Leader()
    async with following(gateway, leader) as here:
        await until(lambda: here.about("u").signals)
        leader.lead(leads=False)
        await until(lambda: not here.about("u").views)
        polls = len(gateway.polls)
        gateway.tell(signal(held=1))
        await asyncio.sleep(0.1)
        assert len(gateway.polls) == polls
        leader.lead(leads=True)
        await until(lambda: here.about("u").held == 1)


async def test_a_report_begun_in_an_earlier_term_is_taken_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells of before the book was cleared: whoever leads by then hears everything anew."""
    asked, release = asyncio.Queue[str](), asyncio.Event()

    async def poll(_self: adapter.GatewayFollower, base: str, _cursor: int) -> GatewayReport:
        first = asked.empty() and not release.is_set()
        asked.put_nowait(base)
        await (release.wait() if first else asyncio.Event().wait())
        return report(signal(in_flight=5))

    monkeypatch.setattr(adapter.GatewayFollower, "_poll", poll)
    leader, gateway = Leader(), Gateway()
    gateway.url = "http://127.0.0.1:1"
    async with following(gateway, leader) as here:
        await until(lambda: asked.qsize() == 1)
        leader.lead(leads=False)
        # The book is cleared in the same step in which the term ends; then another one begins.
        await until(lambda: not here.about("u").views)
        leader.lead(leads=True)
        await until(lambda: asked.qsize() == 2)
        release.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert here.answering() == 0
        assert not here.about("u").signals


async def test_addresses_come_and_go_with_the_name(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    named, rounds = [gateway.url.replace("localhost", "127.0.0.1"), "http://127.0.0.1:1"], [0]

    async def resolved(_url: str) -> list[str]:
        rounds[0] += 1
        return list(named)

    monkeypatch.setattr(adapter, "_addresses", resolved)
    monkeypatch.setattr(adapter, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(adapter, "RETRY_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(adapter, "WAIT_SECONDS", 0.1)
    async with following(gateway, Leader()) as here:
        await until(lambda: here.about("u").signals)
        follower = followers[-1]
        left = frozenset(["http://127.0.0.1:1"])
        named[:] = list(left)  # it leaves the name and goes on answering: its last requests are still told
        await until(lambda: follower._named == left)
        polls = len(gateway.polls)
        await until(lambda: len(gateway.polls) > polls + 1)  # one that began before may end after
        gateway.tell(signal(in_flight=1))
        await until(lambda: here.about("u").in_flight == 1)
        assert [item.instance for item in here.about("u").views] == ["g0", "http://127.0.0.1:1"]
        named.clear()  # a name that does not resolve takes nobody away
        looked = rounds[0]
        await until(lambda: rounds[0] > looked + 1)
        assert follower._named == left
        gateway.tell(signal(in_flight=2))
        await until(lambda: here.about("u").in_flight == 2)


async def test_a_name_has_all_its_addresses_and_an_address_is_itself() -> None:
    assert "http://127.0.0.1:7412" in await adapter._addresses("http://localhost:7412/")
    assert await adapter._addresses("http://10.1.2.3:7412/") == ["http://10.1.2.3:7412"]
    assert await adapter._addresses("http://no.such.host.invalid:7412") == []


async def test_a_drain_waits_for_each_of_two_gateways_from_the_first_moment_of_leadership(gateway: Gateway) -> None:
    """The second one has requests at the copy, and does not answer at first."""
    clock, leader = Clock(), Leader()

    def over() -> bool:
        return bool(asked(here.about("u"), since=0.0).over)

    async with served(Gateway()) as other, following(gateway, leader, other, clock=clock) as here:
        other.instance = "g1"
        other.signals = (signal(endpoints={"http://10.0.0.1:8000": 3}, left=(URL,)),)
        other.paused.clear()
        await until(lambda: here.about("u").signals)
        clock.at += FRESH_SECONDS
        gateway.tell(signal(in_flight=1))
        await until(lambda: here.about("u").in_flight == 1)
        assert here.about("u").settled
        assert not over()
        other.paused.set()
        await until(lambda: len(here.about("u").signals) == 2)
        assert not over()
        other.tell(signal())
        await until(lambda: not any(each.endpoints for each in here.about("u").signals))
        assert over()
        # Another instance leads for a moment: it begins anew.
        leader.lead(leads=False)
        await until(lambda: not here.about("u").signals)
        other.paused.clear()
        leader.lead(leads=True)
        await until(lambda: here.about("u").signals)
        assert not over()
        other.paused.set()


async def test_more_gateways_than_can_be_followed_are_told_loudly_and_waited_for(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = gateway.url.replace("localhost", "127.0.0.1")

    async def resolved(_url: str) -> list[str]:
        return [real, "http://127.0.0.9:1"]

    monkeypatch.setattr(adapter, "_addresses", resolved)
    monkeypatch.setattr(adapter, "MOST_ADDRESSES", 1)
    clock = Clock()
    async with following(gateway, Leader(), clock=clock) as here:
        await until(lambda: here.about("u").signals)
        clock.at += FRESH_SECONDS
        assert "http://127.0.0.9:1" in [item.instance for item in here.about("u").views]
        assert not here.about("u").complete
        assert not asked(here.about("u")).over
    (record,) = {record.getMessage(): record for record in caplog.records if record.levelno == logging.ERROR}.values()
    assert "more gateways than can be followed" in record.getMessage()
