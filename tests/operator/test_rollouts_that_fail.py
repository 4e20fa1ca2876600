"""Changes that do not come up: taken back or stopped, and tried again."""

from dataclasses import replace

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStatus, RolloutStep
from paddock_operator.decide.rollout.plan import next_step
from paddock_operator.decide.rollout.types import CopyLook, State, Step, Verdict
from paddock_operator.times import format_time

from tests.operator.rehearsal import serving
from tests.operator.rehearsing import BAD, GOOD, benchmark, change, until


class TestFailure:
    def test_waiting_for_devices_that_are_being_freed_is_no_failure(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100), wanted=3, devices=3)
        cluster.drains = 900.0
        steps = change(cluster)
        assert all(step.verdict is not Verdict.GOING_BACK for step in steps)
        assert cluster.current == "b"

    def test_its_time_runs_from_when_devices_were_free_and_it_got_none(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100), wanted=3, devices=3)
        cluster.target, cluster.drains = "b", 900.0
        while "a-2" in cluster.copies:
            cluster.round()
            cluster.pass_time(5.0)
            cluster.devices = 2
        freed = cluster.now
        while cluster.round().verdict is Verdict.ROLLING:
            cluster.pass_time(5.0)
        assert 100.0 <= cluster.now - freed <= 120.0

    def test_a_copy_too_many_for_the_devices_does_not_condemn_those_that_answer(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100), wanted=3, devices=3)
        cluster.target = "b"
        while cluster.answering()["b"] < 2:
            cluster.round()
            cluster.pass_time(5.0)
        cluster.wanted = 5
        for _ in range(100):
            assert cluster.round().verdict is Verdict.ROLLING
            cluster.pass_time(5.0)

    def test_what_failed_for_the_same_wish_is_remembered_though_another_one_is_asked_for(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100))
        cluster.broken = {"b"}
        change(cluster)
        cluster.target = "a"
        look = cluster.look()
        recalled = next_step(replace(look, recalled=frozenset({"b"})))
        assert [(item.revision, item.state) for item in recalled.standings] == [
            ("a", State.CURRENT),
            ("b", State.FAILED),
        ]
        assert [item.revision for item in next_step(look).standings] == ["a"]

    def test_what_was_taken_back_stays_so_through_a_stop(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100))
        cluster.broken = {"b"}
        change(cluster)
        cluster.wanted = 0
        cluster.settle()
        cluster.wanted = 3
        steps = cluster.settle()
        assert all(new.revision == "a" for step in steps for new in step.create)
        assert steps[-1].verdict is Verdict.ROLLED_BACK

    @pytest.mark.parametrize("strategy", ["RollingUpdate", "BlueGreen"])
    def test_without_rollback_a_lost_copy_comes_back_as_the_former_one(self, strategy: str) -> None:
        cluster = serving(RolloutSpec(strategy=strategy, deadline_seconds=100, rollback=False))
        cluster.broken = {"b"}
        change(cluster)
        del cluster.copies["a-1"]
        assert [(new.revision, new.index) for new in cluster.round().create] == [("a", 1)]

    def test_a_broken_engine_is_taken_back_after_the_deadline_and_costs_no_answer(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100))
        cluster.broken, cluster.target = {"b"}, "b"
        began = cluster.now
        steps: list[Step] = []
        while not any(step.verdict is Verdict.GOING_BACK for step in steps):
            steps.append(cluster.round())
            cluster.pass_time(5.0)
        assert 100.0 < cluster.now - began <= 115.0
        steps += cluster.settle()
        assert all(step.weights == {"a": 100} for step in steps)
        assert cluster.answering() == {"a": 3}
        assert steps[-1].verdict is Verdict.ROLLED_BACK
        assert "has not answered within 100 s" in steps[-1].message

    def test_a_copy_that_was_given_up_ends_it_at_once(self) -> None:
        cluster = serving()
        cluster.broken, cluster.target = {"b"}, "b"
        cluster.round()
        copy = cluster.copies["b-0"]
        copy.look = CopyLook(name="b-0", revision="b", index=0, born_at=cluster.now, failed=True)
        assert cluster.round().verdict is Verdict.GOING_BACK

    def test_it_is_not_tried_again_until_the_specification_changes(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100))
        cluster.broken = {"b"}
        change(cluster)
        for _ in range(100):
            step = cluster.round()
            assert (step.create, step.drain, step.verdict) == ((), frozenset(), Verdict.ROLLED_BACK)
            cluster.pass_time(60.0)
        assert change(cluster, "c")[-1].weights == {"c": 100}
        cluster.broken = set()
        assert change(cluster)[-1].weights == {"b": 100}

    def test_without_rollback_everything_stays_where_it_is(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100, rollback=False))
        cluster.broken = {"b"}
        steps = change(cluster)
        assert steps[-1].verdict is Verdict.STOPPED
        assert steps[-1].weights == {"a": 100}
        assert sorted(cluster.copies) == ["a-0", "a-1", "a-2", "b-0"]
        assert steps[-1].rollout is not None

    @pytest.mark.parametrize("strategy", ["RollingUpdate", "DrainFirst", "BlueGreen", "Canary"])
    def test_without_rollback_fewer_copies_can_be_asked_for(self, strategy: str) -> None:
        cluster = serving(RolloutSpec(strategy=strategy, deadline_seconds=100, rollback=False), wanted=4)
        cluster.broken = {"b"}
        change(cluster)
        cluster.wanted = 1
        steps = cluster.settle()
        assert steps[-1].verdict is Verdict.STOPPED
        assert cluster.answering() == {"a": 1}
        assert len(cluster.copies) == 2

    def test_the_time_in_a_queue_is_nobodys_failure(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100), wanted=1)
        look = replace(cluster.look(), target="b")
        since = cluster.now - 500.0
        coming = CopyLook(name="b-0", revision="b", index=0, born_at=since, starved=True)
        began = format_time(since)
        rollout = RolloutStatus(former="a", target="b", strategy="RollingUpdate", starved_since=began, started_at=began)
        for queued in (True, False):
            copies = (*look.copies, replace(coming, queued=queued))
            step = next_step(replace(look, copies=copies, rollout=rollout))
            assert (step.verdict is Verdict.ROLLING) is queued

    def test_without_rollback_half_a_second_set_takes_the_place_of_no_former_copy(self) -> None:
        cluster = serving(RolloutSpec(strategy="BlueGreen", deadline_seconds=100, rollback=False))
        cluster.target = "b"
        cluster.round()
        cluster.copies["b-2"].lost = True
        cluster.settle()
        assert cluster.answering() == {"a": 3, "b": 2}
        del cluster.copies["a-1"]
        assert [(new.revision, new.index) for new in cluster.round().create] == [("a", 1)]
        cluster.copies["b-2"].lost = False
        steps = cluster.settle()
        assert cluster.answering() == {"a": 3, "b": 3}
        assert steps[-1].weights == {"a": 100}

    def test_without_rollback_a_canary_keeps_its_share_for_ever(self) -> None:
        spec = RolloutSpec(strategy="Canary", rollback=False, steps=(RolloutStep(weight_percent=40, seconds=30),))
        cluster = serving(spec, wanted=1)
        cluster.target = "b"
        until(cluster, weight=40)
        cluster.health = {"b": BAD}
        cluster.round()
        cluster.health = {}
        for _ in range(60):
            step = cluster.round()
            assert (step.verdict, step.weights) == (Verdict.STOPPED, {"a": 60, "b": 40})
            cluster.pass_time(5.0)

    @pytest.mark.parametrize("strategy", ["RollingUpdate", "DrainFirst", "BlueGreen", "Canary"])
    def test_a_stopped_change_that_is_tried_again_has_its_whole_time_and_then_stops_again(self, strategy: str) -> None:
        cluster = serving(RolloutSpec(strategy=strategy, deadline_seconds=200, rollback=False), wanted=2)
        cluster.broken = {"b"}
        assert change(cluster)[-1].verdict is Verdict.STOPPED
        there = set(cluster.copies)
        cluster.pass_time(5000.0)
        cluster.try_again()
        for _ in range(19):
            assert cluster.round().verdict is Verdict.ROLLING
            cluster.pass_time(10.0)
        assert set(cluster.copies) >= there, "the copies that are there are tried, and none is made in their place"
        assert cluster.settle()[-1].verdict is Verdict.STOPPED
        cluster.broken = set()
        cluster.try_again()
        steps = cluster.settle()
        assert (steps[-1].verdict, steps[-1].weights) == (Verdict.STEADY, {"b": 100})
        assert (cluster.current, cluster.failed) == ("b", {})

    def test_a_stopped_canary_that_is_tried_again_begins_at_its_first_step(self) -> None:
        spec = RolloutSpec(strategy="Canary", rollback=False)
        cluster = serving(spec, wanted=2)
        cluster.target = "b"
        until(cluster, weight=50)
        cluster.health = {"a": GOOD, "b": BAD}
        assert cluster.round().verdict is Verdict.STOPPED
        cluster.health = {}
        cluster.try_again()
        step = cluster.round()
        assert step.rollout is not None
        assert (step.verdict, step.rollout.step) == (Verdict.ROLLING, 0)
        assert cluster.settle()[-1].weights == {"b": 100}

    def test_the_trial_of_a_stopped_change_is_tried_again_too(self) -> None:
        cluster = serving(RolloutSpec(strategy="BlueGreen", rollback=False), wanted=1)
        cluster.benchmarked, cluster.benchmarks = True, {"a": benchmark(), "b": benchmark(ttft=900)}
        assert change(cluster)[-1].verdict is Verdict.STOPPED
        cluster.try_again()
        assert cluster.round().verdict is Verdict.ROLLING
        cluster.benchmarks = {"a": benchmark(), "b": benchmark()}
        assert cluster.settle()[-1].weights == {"b": 100}

    def test_a_copy_that_answered_long_and_is_silent_for_a_moment_is_no_failure(self) -> None:
        spec = RolloutSpec(
            strategy="Canary", deadline_seconds=100, steps=(RolloutStep(weight_percent=10, seconds=500),)
        )
        cluster = serving(spec)
        cluster.target = "b"
        until(cluster, weight=10)
        cluster.pass_time(300.0)
        cluster.lose("b-0")
        cluster.pass_time(5.0)
        assert cluster.round().verdict is Verdict.ROLLING
        assert change(cluster)[-1].weights == {"b": 100}

    def test_the_clock_is_looked_at_when_the_deadline_is_over(self) -> None:
        cluster = serving(RolloutSpec(deadline_seconds=100))
        cluster.target = "b"
        cluster.round()
        assert cluster.round().look_after_seconds == 101.0
