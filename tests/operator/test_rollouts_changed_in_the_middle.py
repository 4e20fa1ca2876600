"""Another wish, scale or strategy while a change is under way."""

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStep
from paddock_operator.decide.rollout.types import Health, Verdict

from tests.operator.rehearsal import serving
from tests.operator.rehearsing import GOOD, change, until


class TestChangesInTheMiddle:
    @pytest.mark.parametrize("strategy", ["RollingUpdate", "DrainFirst", "BlueGreen", "Canary"])
    def test_setting_it_back_uses_the_copies_that_are_there(self, strategy: str) -> None:
        cluster = serving(RolloutSpec(strategy=strategy), wanted=3)
        cluster.target = "b"
        for _ in range(40):
            step = cluster.round()
            if step.weights.get("b"):
                break
            cluster.pass_time(5.0)
        there = {name for name, copy in cluster.copies.items() if copy.look.revision == "a"}
        steps = change(cluster, "a")
        assert steps[0].verdict is Verdict.GOING_BACK
        assert not steps[0].drain & there
        assert all(step.delete == () or not set(step.delete) & there for step in steps)
        assert cluster.answering() == {"a": 3}
        assert cluster.current == "a"
        assert steps[-1].verdict is Verdict.STEADY

    def test_setting_a_canary_back_gives_the_former_revision_everything_at_once(self) -> None:
        cluster = serving(RolloutSpec(strategy="Canary"))
        cluster.target = "b"
        until(cluster, weight=10)
        cluster.target = "a"
        assert cluster.round().weights == {"a": 100}

    @pytest.mark.parametrize("errors", [0, 6])
    def test_a_canary_that_has_all_requests_gives_them_back_as_copies_come_back(self, errors: int) -> None:
        cluster = serving(RolloutSpec(strategy="Canary"), wanted=4)
        cluster.target = "b"
        until(cluster, weight=100)
        while cluster.answering()["a"]:
            cluster.round()
            cluster.pass_time(5.0)
        if errors:
            cluster.current, cluster.failed = "a", {"b": "answers failed"}
            cluster.health = {"b": Health(requests=100, errors=errors)}
        cluster.target, cluster.current = "b" if errors else "a", "a"
        steps = []
        for _ in range(100):
            steps.append(cluster.round())
            asked = [copy.look for copy in cluster.copies.values() if copy.look.answering and not copy.look.draining]
            assert len([copy for copy in asked if copy.revision in steps[-1].weights]) >= 4
            cluster.pass_time(5.0)
        assert {"a": 25, "b": 75} in [step.weights for step in steps]
        assert cluster.answering() == {"a": 4}

    def test_of_one_whose_answers_fail_more_than_copies_are_missing_nothing_is_kept(self) -> None:
        cluster = serving(wanted=4)
        cluster.target = "b"
        until(cluster, weight=50)
        assert cluster.answering()["a"] < 4
        cluster.health = {"a": GOOD, "b": Health(requests=100, errors=90)}
        assert cluster.round().weights == {"a": 100}

    @pytest.mark.parametrize("strategy", ["BlueGreen", "Canary"])
    def test_another_strategy_does_not_read_the_steps_of_the_former_one(self, strategy: str) -> None:
        cluster = serving(wanted=4)
        cluster.target = "b"
        until(cluster, weight=50)
        cluster.spec = RolloutSpec(strategy=strategy)
        step = cluster.round()
        assert step.weights == {"a": 60, "b": 40} if strategy == "BlueGreen" else {"a": 50, "b": 50}
        assert not {name for name in step.drain if name.startswith("a")} - {"a-2", "a-3"}
        assert step.rollout is not None
        assert (step.rollout.strategy, step.rollout.step) == (strategy, 0)
        cluster.settle()
        assert cluster.answering() == {"b": 4}

    def test_fewer_steps_in_the_middle_of_a_canary_give_no_more_than_its_copies_bear(self) -> None:
        cluster = serving(RolloutSpec(strategy="Canary"), wanted=4)
        cluster.target = "b"
        until(cluster, weight=50)
        for _ in range(14):
            cluster.round()
            cluster.pass_time(5.0)
        assert cluster.round().rollout.step == 2  # type: ignore[union-attr]
        cluster.spec = RolloutSpec(strategy="Canary", steps=(RolloutStep(weight_percent=100),))
        assert cluster.round().weights.get("a", 0) >= 40

    def test_a_third_revision_takes_from_all_that_serve(self) -> None:
        cluster = serving(RolloutSpec(strategy="Canary"), wanted=4)
        cluster.target = "b"
        until(cluster, weight=50)
        cluster.target = "c"
        assert until(cluster, revision="c")[-1].weights == {"a": 45, "b": 45, "c": 10}

    def test_a_third_revision_takes_the_place_of_both(self) -> None:
        cluster = serving(wanted=3)
        cluster.target = "b"
        until(cluster, weight=33)
        steps = change(cluster, "c")
        assert cluster.answering() == {"c": 3}
        assert cluster.current == "c"
        later = [step.drain - {"a-2"} for step in steps if step.drain - {"a-2"}]
        assert later[0] == {"b-0"}

    def test_a_third_revision_begins_its_steps_anew(self) -> None:
        cluster = serving(RolloutSpec(strategy="Canary"))
        cluster.target = "b"
        until(cluster, weight=50)
        cluster.target = "c"
        assert until(cluster, revision="c")[-1].weights["c"] == 10

    def test_scaling_in_the_middle_is_part_of_it(self) -> None:
        cluster = serving(wanted=3)
        cluster.target = "b"
        until(cluster, weight=33)
        cluster.wanted = 5
        cluster.settle()
        assert cluster.answering() == {"b": 5}

    def test_an_operator_that_starts_anew_in_every_round_gets_there_too(self) -> None:
        cluster = serving(RolloutSpec(strategy="Canary"))
        cluster.target = "b"
        for number in range(400):
            cluster.forgetful = number % 2 == 0
            cluster.round()
            cluster.pass_time(5.0)
        assert cluster.answering() == {"b": 3}
