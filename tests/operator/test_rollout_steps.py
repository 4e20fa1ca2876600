"""Rollouts, strategy by strategy, rehearsed from the first copy to the last."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStep
from paddock_operator.decide.rollout.types import CopyLook, Health, State, Verdict
from paddock_operator.decide.rollout.weights import by_copies, stepped

from tests.operator.rehearsal import Cluster, serving
from tests.operator.rehearsing import BAD, GOOD, benchmark, change, until


def most_copies(cluster: Cluster, steps: int = 400) -> tuple[int, int]:
    """The most copies that were there at once, and the fewest that answered, until the change is over."""
    most, fewest = 0, 100
    for _ in range(steps):
        step = cluster.round()
        most = max(most, len(cluster.copies))
        serving_now = [copy for copy in cluster.copies.values() if copy.look.answering and not copy.look.draining]
        fewest = min(fewest, len(serving_now))
        cluster.pass_time(5.0)
        if step.verdict is Verdict.STEADY:
            break
    return most, fewest


class TestTheFirstRevision:
    def test_all_copies_are_made_at_once_and_it_becomes_current_with_the_first_answer(self) -> None:
        cluster = Cluster(wanted=3)
        first = cluster.round()
        assert [(new.revision, new.index) for new in first.create] == [("a", 0), ("a", 1), ("a", 2)]
        assert first.weights == {}
        assert first.verdict is Verdict.STEADY
        assert first.standings[0].state is State.COMING
        steps = cluster.settle()
        assert steps[-1].weights == {"a": 100}
        assert cluster.current == "a"

    def test_one_copy_that_answers_makes_it_current_though_others_find_no_devices(self) -> None:
        cluster = Cluster(wanted=3, devices=1)
        cluster.settle()
        assert cluster.current == "a"

    def test_where_none_ever_served_a_change_replaces_at_once_and_has_nothing_to_go_back_to(self) -> None:
        cluster = Cluster(wanted=2, devices=2, broken={"a"})
        for _ in range(5):
            cluster.round()
            cluster.pass_time(60.0)
        assert cluster.current is None
        steps = change(cluster)
        assert steps[0].drain == {"a-0", "a-1"}
        assert cluster.answering() == {"b": 2}
        assert all(step.rollout is None for step in steps)

    @pytest.mark.parametrize("broken", [True, False])
    def test_a_deployment_that_is_stopped_can_go_back_when_it_is_started_with_another_one(self, broken: bool) -> None:
        cluster = serving(wanted=2)
        cluster.wanted = 0
        cluster.settle()
        assert cluster.current == "a"
        assert not cluster.copies
        cluster.target = "b"
        cluster.settle()
        assert not cluster.copies
        assert [item.state for item in cluster.round().standings] == [State.COMING, State.CURRENT]
        cluster.wanted, cluster.broken = 2, {"b"} if broken else set()
        cluster.settle()
        assert cluster.answering() == {"a" if broken else "b": 2}
        assert cluster.current == ("a" if broken else "b")


class TestRollingUpdate:
    def test_one_copy_more_comes_before_one_goes(self) -> None:
        cluster = serving(RolloutSpec(max_surge=1, max_unavailable=0))
        cluster.target = "b"
        assert most_copies(cluster) == (4, 3)
        assert cluster.answering() == {"b": 3}
        assert cluster.current == "b"

    def test_so_many_as_may_be_missing_go_first(self) -> None:
        cluster = serving(RolloutSpec(max_surge=0, max_unavailable=2), wanted=4)
        cluster.target = "b"
        assert most_copies(cluster) == (4, 2)

    def test_surge_brings_several_at_once(self) -> None:
        cluster = serving(RolloutSpec(max_surge=2), wanted=4)
        cluster.target = "b"
        assert len(cluster.round().create) == 2
        assert most_copies(cluster) == (6, 4)

    def test_without_a_spare_device_one_copy_goes_first_and_no_more_than_one(self) -> None:
        cluster = serving(wanted=3, devices=3)
        cluster.target = "b"
        assert most_copies(cluster)[1] == 2
        assert cluster.answering() == {"b": 3}

    def test_the_only_copy_without_a_spare_device_lets_requests_wait(self) -> None:
        cluster = serving(wanted=1, devices=1)
        steps = change(cluster)
        gap = [step for step in steps if not step.weights]
        assert gap
        assert all(step.hold for step in gap)
        assert steps[-1].weights == {"b": 100}
        assert not steps[-1].hold

    def test_no_room_at_all_is_drain_first(self) -> None:
        cluster = serving(RolloutSpec(max_surge=0, max_unavailable=0))
        cluster.target = "b"
        assert most_copies(cluster) == (3, 2)

    def test_a_copy_that_made_room_is_taken_back_where_devices_turn_up(self) -> None:
        cluster = serving(wanted=3, devices=3)
        cluster.target = "b"
        cluster.round()
        cluster.pass_time(5.0)
        assert cluster.round().drain == {"a-2"}
        cluster.devices = 4
        cluster.pass_time(5.0)
        assert cluster.round().drain == frozenset()

    def test_every_copy_gets_as_many_requests_as_any_other(self) -> None:
        cluster = serving(wanted=3)
        cluster.target = "b"
        steps = until(cluster)
        assert steps[-1].weights == {"a": 67, "b": 33}

    def test_copies_that_answer_nothing_go_before_those_that_do(self) -> None:
        cluster = serving(wanted=3)
        cluster.copies["a-0"].lost = True
        cluster.lose("a-0")
        cluster.target = "b"
        assert cluster.round().drain == {"a-0"}

    def test_a_copy_of_which_nothing_is_known_yet_is_not_taken_away(self) -> None:
        cluster = serving(wanted=3)
        cluster.target = "b"
        cluster.forgetful = True
        assert cluster.round().drain == frozenset()

    def test_answers_that_fail_take_it_back(self) -> None:
        cluster = serving(wanted=4)
        cluster.target = "b"
        until(cluster, weight=40)
        cluster.health = {"a": GOOD, "b": BAD}
        step = cluster.round()
        assert step.verdict is Verdict.GOING_BACK
        assert step.weights == {"a": 100}
        assert "40 % of 100 answers failed" in step.message


class TestDrainFirst:
    def test_it_never_has_more_copies_than_wanted_though_devices_are_free(self) -> None:
        cluster = serving(RolloutSpec(strategy="DrainFirst", max_surge=3))
        cluster.target = "b"
        assert most_copies(cluster) == (3, 2)

    def test_the_device_is_free_before_the_next_copy_is_made(self) -> None:
        cluster = serving(RolloutSpec(strategy="DrainFirst"), wanted=1, devices=1)
        cluster.target = "b"
        assert cluster.round().create == ()
        steps = cluster.settle()
        made = next(number for number, step in enumerate(steps) if step.create)
        deleted = next(number for number, step in enumerate(steps) if step.delete)
        assert deleted < made
        assert all(step.hold for step in steps[:-20] if step.verdict is Verdict.ROLLING)

    def test_a_drain_ends_only_when_no_request_is_left(self) -> None:
        cluster = serving(RolloutSpec(strategy="DrainFirst"), wanted=1)
        cluster.target = "b"
        cluster.drains = 600.0
        for _ in range(100):
            step = cluster.round()
            assert step.drain == {"a-0"}
            assert step.delete == ()
            cluster.pass_time(5.0)


class TestBlueGreen:
    SPEC = RolloutSpec(strategy="BlueGreen")

    def test_nobody_is_served_by_the_new_ones_before_all_answer_and_then_everybody(self) -> None:
        cluster = serving(self.SPEC)
        cluster.target = "b"
        steps = until(cluster)
        assert len(steps[0].create) == 3
        assert {tuple(step.weights.items()) for step in steps} == {(("a", 100),), (("b", 100),)}
        assert cluster.answering() == {"a": 3, "b": 3}
        assert steps[-1].drain == frozenset()

    def test_the_former_ones_stay_for_a_while_and_then_go_together(self) -> None:
        cluster = serving(self.SPEC)
        cluster.target = "b"
        until(cluster)
        switched = cluster.now
        while not (step := cluster.round()).drain:
            cluster.pass_time(5.0)
        assert cluster.now - switched == 60.0
        assert step.drain == {"a-0", "a-1", "a-2"}

    def test_the_first_step_of_the_specification_says_how_long_they_stay(self) -> None:
        cluster = serving(RolloutSpec(strategy="BlueGreen", steps=(RolloutStep(weight_percent=100, seconds=20),)))
        cluster.target = "b"
        until(cluster)
        switched = cluster.now
        while not cluster.round().drain:
            cluster.pass_time(5.0)
        assert cluster.now - switched == 20.0

    def test_a_trial_that_is_worse_than_the_former_one_takes_it_back_before_anybody_was_served(self) -> None:
        cluster = serving(self.SPEC)
        cluster.benchmarks = {"a": benchmark(ttft=100), "b": benchmark(ttft=400)}
        steps = change(cluster)
        assert all("b" not in step.weights for step in steps)
        assert steps[-1].verdict is Verdict.ROLLED_BACK
        assert "first token took 400 ms" in cluster.failed["b"]

    def test_the_outcome_of_the_trial_is_awaited_but_not_for_ever(self) -> None:
        cluster = serving(self.SPEC)
        cluster.benchmarked, cluster.target = True, "b"
        while cluster.answering()["b"] < 3:
            cluster.round()
            cluster.pass_time(5.0)
        since = cluster.now
        step = until(cluster)[-1]
        assert cluster.now - since == 300.0
        assert step.weights == {"b": 100}

    def test_bad_answers_after_the_switch_go_back_in_one_step(self) -> None:
        cluster = serving(self.SPEC)
        cluster.target = "b"
        until(cluster)
        cluster.health = {"b": BAD}
        step = cluster.round()
        assert step.weights == {"a": 100}
        assert step.create == ()
        assert cluster.answering()["a"] == 3

    def test_one_that_is_woken_takes_the_new_set_alone_and_can_go_back(self) -> None:
        cluster = serving(self.SPEC, devices=3)
        cluster.wanted = 0
        cluster.settle()
        cluster.wanted, cluster.target = 3, "b"
        steps = cluster.settle()
        assert {new.revision for step in steps for new in step.create} == {"b"}
        assert (steps[-1].verdict, steps[-1].weights) == (Verdict.STEADY, {"b": 100})
        cluster.wanted = 0
        cluster.settle()
        cluster.wanted, cluster.target, cluster.broken = 3, "c", {"c"}
        steps = cluster.settle()
        assert (steps[-1].verdict, steps[-1].weights) == (Verdict.ROLLED_BACK, {"b": 100})

    def test_without_devices_for_a_second_set_it_says_so_and_ends_as_it_began(self) -> None:
        cluster = serving(self.SPEC, devices=4)
        cluster.target = "b"
        cluster.round()
        cluster.pass_time(5.0)
        assert "choose RollingUpdate or DrainFirst" in cluster.round().message
        steps = cluster.settle()
        assert all(step.weights == {"a": 100} for step in steps)
        assert steps[-1].verdict is Verdict.ROLLED_BACK


class TestCanary:
    SPEC = RolloutSpec(strategy="Canary")

    def test_requests_move_in_steps_and_each_lasts_its_time(self) -> None:
        steps = (RolloutStep(weight_percent=20, seconds=30), RolloutStep(weight_percent=60, seconds=90))
        cluster = serving(RolloutSpec(strategy="Canary", steps=steps), wanted=5)
        cluster.target = "b"
        reached: dict[int, float] = {}
        while not reached.get(100):
            reached.setdefault(cluster.round().weights.get("b", 0), cluster.now)
            cluster.pass_time(5.0)
        assert reached[40] - reached[20] >= 30.0
        assert reached[100] - reached[60] >= 90.0
        assert 80 not in [weight for weight in reached if reached[weight] < reached[60] + 90.0]

    def test_as_many_new_copies_as_the_share_needs_and_the_former_ones_keep_theirs(self) -> None:
        cluster = serving(self.SPEC, wanted=4)
        cluster.target = "b"
        until(cluster, weight=10)
        assert cluster.answering() == {"a": 4, "b": 1}
        until(cluster, weight=50)
        assert cluster.answering() == {"a": 2 + 1, "b": 2}

    def test_a_step_that_does_not_end_at_a_hundred_is_followed_by_the_rest(self) -> None:
        cluster = serving(RolloutSpec(strategy="Canary", steps=(RolloutStep(weight_percent=30, seconds=1),)))
        cluster.target = "b"
        until(cluster, weight=100)
        assert cluster.answering()["b"] == 3

    @pytest.mark.parametrize(
        ("worse", "words"),
        [
            (Health(requests=100, errors=30, ttft_p95_ms=200.0, tokens_per_second=40.0), "30 % of 100 answers failed"),
            (Health(requests=100, ttft_p95_ms=900.0, tokens_per_second=40.0), "first token took 900 ms"),
            (Health(requests=100, ttft_p95_ms=200.0, tokens_per_second=20.0), "20 tokens a second against 40"),
        ],
    )
    def test_one_that_answers_worse_is_taken_back_in_its_first_step(self, worse: Health, words: str) -> None:
        cluster = serving(self.SPEC)
        cluster.target = "b"
        until(cluster, weight=10)
        cluster.health = {"a": GOOD, "b": worse}
        assert cluster.round().weights == {"a": 100}
        steps = cluster.settle()
        assert steps[-1].verdict is Verdict.ROLLED_BACK
        assert words in cluster.failed["b"]
        assert cluster.answering() == {"a": 3}

    def test_the_only_copy_without_a_device_beside_it_stays(self) -> None:
        cluster = serving(self.SPEC, wanted=1, devices=1)
        cluster.target = "b"
        cluster.round()
        cluster.pass_time(5.0)
        assert "choose DrainFirst" in cluster.round().message
        steps = cluster.settle()
        assert all(step.weights == {"a": 100} for step in steps)

    @pytest.mark.parametrize(("surge", "devices"), [(1, 3), (0, 100)])
    def test_without_room_for_one_more_a_former_copy_goes_first(self, surge: int, devices: int) -> None:
        cluster = serving(RolloutSpec(strategy="Canary", max_surge=surge), wanted=3, devices=devices)
        cluster.target = "b"
        assert most_copies(cluster)[1] == 2
        assert cluster.answering() == {"b": 3}

    def test_the_outcome_of_the_trial_is_awaited_in_the_first_step(self) -> None:
        steps = (RolloutStep(weight_percent=25, seconds=0), RolloutStep(weight_percent=75, seconds=0))
        cluster = serving(RolloutSpec(strategy="Canary", steps=steps), wanted=4)
        cluster.benchmarked, cluster.target = True, "b"
        until(cluster, weight=25)
        since = cluster.now
        until(cluster, weight=26)
        assert cluster.now - since >= 120.0

    def test_of_several_one_makes_room_and_comes_back_with_the_way_back(self) -> None:
        cluster = serving(self.SPEC, wanted=3, devices=3)
        cluster.broken = {"b"}
        steps = change(cluster)
        assert min(step.weights.get("a", 0) for step in steps) == 100
        assert cluster.answering() == {"a": 3}

    def test_a_copy_of_the_former_revision_that_is_gone_comes_back_while_it_has_a_share(self) -> None:
        cluster = serving(
            RolloutSpec(strategy="Canary", steps=(RolloutStep(weight_percent=10, seconds=9999),)), wanted=4
        )
        cluster.target = "b"
        until(cluster, weight=10)
        for name in ("a-0", "a-1"):
            del cluster.copies[name]
        made = [new for _ in range(3) for new in cluster.round().create]
        assert [new.revision for new in made] == ["a"]

    def test_of_the_former_revision_copies_on_their_way_out_are_taken_back_before_new_ones_are_made(self) -> None:
        steps = (RolloutStep(weight_percent=50, seconds=9999),)
        cluster = serving(RolloutSpec(strategy="Canary", max_unavailable=8, steps=steps), wanted=4)
        cluster.target, cluster.drains = "b", 9999.0
        while not cluster.round().drain:
            cluster.pass_time(5.0)
        cluster.wanted = 8
        step = cluster.round()
        assert step.drain == frozenset()
        assert {new.revision for new in step.create} == {"b"}


class TestScaling:
    def test_what_answers_nothing_goes_first_the_newest_before_others_then_the_highest_index(self) -> None:
        cluster = serving(wanted=5)
        cluster.copies["a-1"].lost = True
        cluster.lose("a-1")
        cluster.wanted = 3
        assert cluster.round().drain == {"a-1", "a-4"}

    def test_of_those_that_answer_the_highest_index_goes_whenever_it_was_made(self) -> None:
        cluster = serving(wanted=3)
        del cluster.copies["a-0"]
        cluster.settle()
        cluster.wanted = 2
        assert cluster.round().drain == {"a-2"}

    def test_copies_on_their_way_out_are_taken_back_before_new_ones_are_made(self) -> None:
        cluster = serving(wanted=4)
        cluster.wanted = 2
        assert cluster.round().drain == {"a-2", "a-3"}
        cluster.pass_time(5.0)
        cluster.wanted = 3
        step = cluster.round()
        assert step.create == ()
        assert step.drain == {"a-3"}

    @given(st.integers(0, 6), st.integers(0, 6))
    def test_any_number_is_reached_from_any_number(self, first: int, second: int) -> None:
        cluster = serving(wanted=first)
        cluster.wanted = second
        cluster.settle()
        assert cluster.answering() == (Counter({"a": second}) if second else Counter())

    def test_an_index_that_a_copy_still_bears_is_not_given_again(self) -> None:
        cluster = serving(wanted=2)
        cluster.copies["a-0"].look = CopyLook(name="a-0", revision="a", index=0, born_at=cluster.now, going=True)
        assert [new.index for new in cluster.round().create] == [2]


class TestShares:
    @pytest.mark.parametrize(
        ("found", "before", "step", "copies", "weights"),
        [
            ({"a": 2, "b": 1}, 0, 50, 1, {"b": 50, "a": 50}),
            ({"a": 2, "b": 1}, 0, 50, 2, {"b": 33, "a": 67}),
            ({"a": 5, "b": 4}, 50, 100, 10, {"b": 50, "a": 50}),
            ({"a": 2, "c": 1, "b": 1}, 0, 10, 1, {"b": 10, "a": 60, "c": 30}),
            ({"a": 2, "x": 1, "b": 1}, 0, 10, 1, {"b": 10, "a": 90}),
            ({"x": 1, "b": 1}, 0, 10, 1, {"b": 10, "x": 90}),
            ({"c": 1, "b": 1}, 0, 10, 1, {"b": 10, "c": 90}),
            ({"a": 2}, 0, 10, 1, {"a": 100}),
            ({"b": 2}, 0, 10, 1, {"b": 100}),
            ({}, 0, 10, 1, {}),
        ],
    )
    def test_a_canarys_step(
        self, found: dict[str, int], before: int, step: int, copies: int, weights: dict[str, int]
    ) -> None:
        look = replace(serving().look(), told={"b": before, "a": 100 - before}, failed={"x": "why"})
        rule = stepped(look, goal="b", before=before, step=step, copies=copies)
        assert rule(Counter(found)) == weights

    def test_what_failed_before_gets_nothing_while_others_answer(self) -> None:
        look = replace(serving().look(), failed={"x": "why"})
        rule = by_copies(look, goal="b", floor=2)
        assert rule(Counter(a=1, b=1, x=2)) == {"a": 50, "b": 50}
        assert rule(Counter(x=2)) == {"x": 100}
