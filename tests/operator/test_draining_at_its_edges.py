"""When a copy that gets no new requests may go, and when it is looked at again, to the second."""

from typing import Any

import pytest
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.draining import LOOK_SECONDS, Drain
from paddock_operator.decide.drains import judge, of_told
from paddock_operator.gateways import Gateways
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Child, Observed

from tests.operator.platforms import CONFIG, looked
from tests.operator.test_what_gateways_say import NOW, asked, seen, view

ADDRESS = "10.0.0.1"
URL = f"http://{ADDRESS}:8000"


def copy(*, since: float | None, address: str = ADDRESS) -> Copy:
    """Marked so many seconds ago."""
    at = {"name": "chat-r-0", "namespace": "paddock-serving-acme", "uid": "p"}
    leader = Child(kind=POD, manifest={"metadata": at, "status": {"podIP": address}})
    return Copy(
        name="chat-r-0",
        revision="r",
        index=0,
        workload=Child(kind=REPLICA_SET, manifest={"metadata": at}),
        pods=(leader,),
        leader=leader,
        draining_since=None if since is None else NOW - since,
    )


def look(*told: str, gateways: Gateways, routed: bool = True) -> Observed:
    """A deployment of which gateways were told these URLs; of which nothing was told yet, where it is not `routed`."""
    target = {"revision": "r", "model": "m", "tokenizer": "t", "contextLength": 1, "maxConcurrency": 1}
    endpoints = [{"pod": "p", "url": url} for url in told]
    status = {"routing": {"digest": "d1", "targets": [{**target, "endpoints": endpoints}]}} if routed else {}
    return looked(spec={"model": {"id": "m"}}, status=status, now=NOW, gateways=gateways)


class TestWhatGatewaysSay:
    @pytest.mark.parametrize(("since", "again"), [(30.0, LOOK_SECONDS), (90.0, 10.0), (95.0, 5.0)])
    def test_it_is_looked_at_now_and_then_and_when_the_limit_is_over(self, since: float, again: float) -> None:
        assert asked(seen(view(age=0.0, endpoints={URL: 1})), since=since).look_after_seconds == again

    @pytest.mark.parametrize(("age", "over"), [(30.0, True), (30.5, False)])
    def test_what_was_heard_in_the_moment_of_the_mark_counts(self, age: float, over: bool) -> None:
        assert asked(seen(view(age=age)), since=30.0).over is over

    def test_requests_of_all_its_addresses_count(self) -> None:
        left = seen(view(endpoints={URL: 2, "http://10.0.0.1:9000": 3}))
        assert asked(left, urls=(URL, "http://10.0.0.1:9000")).note == "g0 has 5 requests left there"


class TestACopy:
    @pytest.mark.parametrize("ask", [judge, of_told])
    def test_one_that_is_not_marked_does_not_go(self, ask: Any) -> None:
        for gateways in (seen(view()), Gateways()):
            for address in (ADDRESS, ""):
                assert not ask(look(gateways=gateways), CONFIG, copy(since=None, address=address)).over

    @pytest.mark.parametrize("gateways", [seen(), Gateways()])
    def test_one_without_an_address_goes_at_once(self, gateways: Gateways) -> None:
        assert judge(look(gateways=gateways), CONFIG, copy(since=0.0, address="")) == Drain(over=True)

    def test_one_that_is_still_told_is_looked_at_in_a_second(self) -> None:
        waits = judge(look(URL, gateways=seen(view())), CONFIG, copy(since=30.0))
        assert (waits.over, waits.look_after_seconds) == (False, 1.0)

    @pytest.mark.parametrize(("confirmed", "over"), [("", True), ("d1", False)])
    def test_where_nothing_is_told_gateways_confirm_just_that(self, confirmed: str, over: bool) -> None:
        observed = look(gateways=seen(view(routing=confirmed)), routed=False)
        assert judge(observed, CONFIG, copy(since=30.0)).over is over

    @pytest.mark.parametrize(("since", "over", "again"), [(1.0, False, 2.0), (2.95, False, 0.1), (3.0, True, 0.1)])
    def test_without_gateways_to_ask_it_goes_after_the_time_to_hear_of_it(
        self, since: float, over: bool, again: float
    ) -> None:
        for drain in (
            judge(look(gateways=Gateways()), CONFIG, copy(since=since)),
            of_told(look(gateways=seen(view(endpoints={URL: 1}))), CONFIG, copy(since=since)),
        ):
            assert (drain.over, drain.look_after_seconds) == (over, again)
