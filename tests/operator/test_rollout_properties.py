"""Rollouts under everything that may happen at any moment: they end, and keep their promises on each step."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStep
from paddock_operator.decide.rollout.plan import next_step
from paddock_operator.decide.rollout.types import CopyLook, Health, Look, Step, Verdict

from tests.operator.rehearsal import Cluster, serving

REVISIONS = ("a", "b", "c", "d")
MOST = 4
SPECS = st.builds(
    RolloutSpec,
    strategy=st.sampled_from(["RollingUpdate", "DrainFirst", "BlueGreen", "Canary"]),
    max_surge=st.integers(0, 2),
    max_unavailable=st.integers(0, 2),
    steps=st.sampled_from(
        [
            (),
            (RolloutStep(weight_percent=25, seconds=0), RolloutStep(weight_percent=75, seconds=30)),
            (RolloutStep(weight_percent=60, seconds=20), RolloutStep(weight_percent=30, seconds=20)),
        ]
    ),
    deadline_seconds=st.just(200),
    rollback=st.booleans(),
)


def check(look: Look, step: Step) -> None:
    """The promises of one step."""
    there = {copy.name: copy for copy in look.copies}
    alive = [copy for copy in look.copies if not copy.going]
    spec = look.spec
    # Weights: all requests, and only to those who can answer them.
    answering = [copy for copy in alive if copy.answering and copy.name not in step.drain]
    assert sum(step.weights.values()) == (100 if answering else 0)
    assert set(step.weights) <= {copy.revision for copy in answering}
    assert all(weight > 0 for weight in step.weights.values())
    # Room: never more copies than the strategy may have.
    surge = {"BlueGreen": max(look.wanted, spec.max_surge)}.get(spec.strategy, spec.max_surge)
    assert not step.create or len(alive) + len(step.create) <= look.wanted + surge
    names = {(new.revision, new.index) for new in step.create}
    assert len(names) == len(step.create)
    assert not names & {(copy.revision, copy.index) for copy in look.copies}
    assert {new.revision for new in step.create} <= {look.target, look.current}
    # Deletion: only what was drained before, and is to go still.
    assert all(name in step.drain and there[name].draining and there[name].drained for name in step.delete)
    # Answers: what serves is taken away only beyond the fewest that must.
    before = [copy for copy in alive if copy.answering and not copy.draining and copy.revision in look.told]
    kept = [copy for copy in answering if copy.revision in step.weights and not _is_condemned(look, copy)]
    before = [copy for copy in before if not _is_condemned(look, copy)]
    missing = max(spec.max_unavailable, 1) if _tight(look) else spec.max_unavailable
    assert len(kept) >= min(len(before), look.wanted - missing)
    # What is not known is not taken away.
    unknown = [copy.name for copy in alive if copy.answering is None and not copy.draining]
    assert not set(unknown) & step.drain
    assert step.look_after_seconds is None or step.look_after_seconds > 0
    # The same look has the same answer.
    assert next_step(look) == step


def _is_condemned(look: Look, copy: CopyLook) -> bool:
    """Whether so many of its answers fail that it is better off without requests."""
    health = look.health.get(copy.revision)
    return copy.revision in look.failed and health is not None and health.errors > 0


def _tight(look: Look) -> bool:
    """Whether a copy has to go before the next can come."""
    return look.spec.strategy == "DrainFirst" or look.spec.max_surge == 0 or any(copy.starved for copy in look.copies)


class Rollouts(RuleBasedStateMachine):
    """A deployment to which things happen."""

    @initialize(spec=SPECS, wanted=st.integers(1, MOST), devices=st.integers(MOST, 2 * MOST + 1))
    def begin(self, spec: RolloutSpec, wanted: int, devices: int) -> None:
        self.cluster = Cluster(spec=spec, wanted=wanted, devices=devices)
        self.cluster.settle()

    def step(self) -> Step:
        look = self.cluster.look()
        step = next_step(look)
        check(look, step)
        assert self.cluster.round() == step
        return step

    @rule(rounds=st.integers(1, 8), seconds=st.sampled_from([1.0, 5.0, 25.0]))
    def time_passes(self, rounds: int, seconds: float) -> None:
        for _ in range(rounds):
            self.step()
            self.cluster.pass_time(seconds)

    @rule(revision=st.sampled_from(REVISIONS))
    def the_wish_changes(self, revision: str) -> None:
        self.cluster.target = revision

    @rule(wanted=st.integers(0, MOST))
    def it_is_scaled(self, wanted: int) -> None:
        self.cluster.wanted = wanted

    @rule(spec=SPECS)
    def the_strategy_changes(self, spec: RolloutSpec) -> None:
        self.cluster.spec = spec

    @rule(revisions=st.sets(st.sampled_from(REVISIONS[1:])))
    def revisions_are_broken(self, revisions: set[str]) -> None:
        self.cluster.broken = revisions

    @rule(revision=st.sampled_from(REVISIONS[1:]), errors=st.sampled_from([0, 50]))
    def answers_come(self, revision: str, errors: int) -> None:
        self.cluster.health = {"a": Health(requests=100), revision: Health(requests=100, errors=errors)}

    @precondition(lambda self: self.cluster.copies)
    @rule(data=st.data())
    def a_copy_is_lost(self, data: Any) -> None:
        self.cluster.lose(data.draw(st.sampled_from(sorted(self.cluster.copies))))

    @precondition(lambda self: self.cluster.copies)
    @rule(data=st.data())
    def a_workload_is_deleted_by_hand(self, data: Any) -> None:
        del self.cluster.copies[data.draw(st.sampled_from(sorted(self.cluster.copies)))]

    @rule(devices=st.integers(MOST, 2 * MOST + 1))
    def devices_come_and_go(self, devices: int) -> None:
        self.cluster.devices = devices

    @rule(revision=st.sampled_from(REVISIONS), turns=st.integers(0, MOST))
    def a_queue_lets_in_so_many(self, revision: str, turns: int) -> None:
        self.cluster.admits = {revision: turns}

    @rule()
    def the_operator_starts_anew(self) -> None:
        self.cluster.forgetful = True
        self.step()

    @invariant()
    def there_is_always_an_answer(self) -> None:
        if hasattr(self, "cluster"):
            check(self.cluster.look(), next_step(self.cluster.look()))

    def teardown(self) -> None:
        """Left alone, it ends: on the revision that is asked for, or on the one that served before."""
        if not hasattr(self, "cluster"):
            return
        cluster, made = self.cluster, 0
        cluster.admits = {}
        quiet = rounds = 0
        while quiet < 20:
            step = self.step()
            cluster.pass_time(5.0)
            made, rounds = made + len(step.create), rounds + 1
            over = step.verdict in (Verdict.STEADY, Verdict.ROLLED_BACK, Verdict.STOPPED)
            # Should the one that served before be broken by now, its copies are all that is wanted, and wait for help.
            over = over or (step.verdict is Verdict.GOING_BACK and step.goal in cluster.broken)
            quiet = quiet + 1 if over and not (step.create or step.drain) else 0
            assert rounds < 2000, f"no end in sight: {step}"
        # No flapping: a copy is made once for the way there, and once for the way back.
        assert made <= 3 * cluster.wanted + 2
        self._ended_well(step)

    def _ended_well(self, step: Step) -> None:
        cluster = self.cluster
        answering = {name: count for name, count in cluster.answering().items() if count}
        match step.verdict:
            case Verdict.STEADY:
                found = 0 if cluster.target in cluster.broken else cluster.wanted
                assert answering == ({cluster.target: found} if found else {})
            case Verdict.ROLLED_BACK:
                assert cluster.current is not None
                assert cluster.spec.rollback
                assert cluster.target in cluster.failed
                found = 0 if cluster.current in cluster.broken else cluster.wanted
                assert answering == ({cluster.current: found} if found else {})
            case Verdict.GOING_BACK:
                assert {copy.look.revision for copy in cluster.copies.values()} == {cluster.current}
                assert len(cluster.copies) == cluster.wanted
            case _:
                assert not cluster.spec.rollback
                assert cluster.target in cluster.failed
                assert cluster.target in cluster.copies or step.rollout is not None


Rollouts.TestCase.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestRollouts = Rollouts.TestCase


THERE_AND_BACK = (RolloutStep(weight_percent=60, seconds=20), RolloutStep(weight_percent=30, seconds=20))
CALM = st.builds(
    RolloutSpec,
    strategy=st.sampled_from(["RollingUpdate", "BlueGreen", "Canary"]),
    max_surge=st.integers(1, 2),
    max_unavailable=st.integers(0, 1),
    steps=st.sampled_from([(), THERE_AND_BACK]),
)
MOMENTS = st.lists(
    st.tuples(st.integers(1, 30), st.one_of(st.sampled_from(REVISIONS[:3]), CALM)), min_size=1, max_size=6
)


@given(spec=CALM, wanted=st.integers(1, 5), moments=MOMENTS)
@settings(max_examples=150, deadline=None)
def test_changes_of_the_wish_and_of_the_strategy_at_any_moment_cost_no_copy(
    spec: RolloutSpec, wanted: int, moments: list[tuple[int, str | RolloutSpec]]
) -> None:
    """Where no copy fails and devices are free, as many get requests all the time as the strategies promise."""
    cluster = serving(spec, wanted=wanted)
    missing = spec.max_unavailable
    for rounds, change in moments:
        if isinstance(change, RolloutSpec):
            cluster.spec, missing = change, max(missing, change.max_unavailable)
        else:
            cluster.target = change
        for _ in range(rounds):
            step = cluster.round()
            copies = [copy.look for copy in cluster.copies.values() if copy.look.answering and not copy.look.draining]
            asked = [copy for copy in copies if copy.revision in step.weights]
            assert len(asked) >= wanted - missing, step
            cluster.pass_time(5.0)
    assert cluster.settle()[-1].verdict is Verdict.STEADY
    assert cluster.answering() == {cluster.target: wanted}
