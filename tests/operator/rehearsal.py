"""A rehearsal: all steps of a change, on a cluster that knows nothing but copies and devices.

Copies find a device or do not, load, answer, break, and go; whatever the planner wants to remember is in `rollout`,
`failed` and `current` alone, as it is in the status. The tests and the pictures in docs/rollouts.md are made with it.
"""

from collections import Counter
from dataclasses import dataclass, field, replace

from paddock_core.resources.llamadeployment import BenchmarkStatus, RolloutSpec, RolloutStatus
from paddock_operator.decide.rollout.plan import next_step
from paddock_operator.decide.rollout.types import CopyLook, Health, Look, State, Step, Verdict

START = 1_800_000_000.0
LOADS = 20.0
DRAINS = 15.0


@dataclass
class Copy:
    """One copy, and since when it has its device."""

    look: CopyLook
    placed_at: float | None = None
    lost: bool = False
    drain_since: float | None = None


@dataclass
class Cluster:
    """The deployment, its copies, and the status of the last round."""

    spec: RolloutSpec = field(default_factory=RolloutSpec)
    wanted: int = 3
    target: str = "a"
    devices: int = 100
    broken: set[str] = field(default_factory=set)
    """Revisions whose copies never answer."""
    admits: dict[str, int] = field(default_factory=dict)
    """Most copies of a revision that get their turn in a queue, where it has one."""
    loads: float = LOADS
    """Seconds from a device to an answer."""
    drains: float = DRAINS
    """Seconds until the last request has left a copy that is being drained."""
    health: dict[str, Health] = field(default_factory=dict)
    benchmarks: dict[str, BenchmarkStatus] = field(default_factory=dict)
    benchmarked: bool = False
    now: float = START
    copies: dict[str, Copy] = field(default_factory=dict)
    current: str | None = None
    failed: dict[str, str] = field(default_factory=dict)
    rollout: RolloutStatus | None = None
    retried: frozenset[str] = frozenset()
    told: dict[str, int] = field(default_factory=dict)
    forgetful: bool = False
    """True for one look after a start of the operator: nothing is known of the copies' answers yet."""

    def look(self) -> Look:
        """What the operator sees now."""
        return Look(
            now=self.now,
            wanted=self.wanted,
            spec=self.spec,
            target=self.target,
            current=self.current,
            failed=dict(self.failed),
            rollout=self.rollout,
            retried=self.retried,
            told=dict(self.told),
            copies=tuple(self._seen(copy) for copy in self.copies.values()),
            health=dict(self.health),
            benchmarks=dict(self.benchmarks),
            benchmarked=self.benchmarked,
        )

    def _seen(self, copy: Copy) -> CopyLook:
        empty = not copy.look.answering or self.now - (copy.drain_since or self.now) >= self.drains
        starved = copy.placed_at is None and self.now > copy.look.born_at
        seen = replace(
            copy.look,
            quiet_since=copy.placed_at,
            starved=starved,
            queued=starved and self._queues(copy),
            drained=copy.drain_since is not None and empty,
        )
        return replace(seen, answering=None) if self.forgetful and copy.placed_at is not None else seen

    def round(self) -> Step:
        """One round of the operator: look, decide, carry out, report. Raises ValueError if a copy is made twice."""
        step = next_step(self.look())
        self.forgetful = False
        for name in step.delete:
            self.copies[name].look = replace(self.copies[name].look, going=True, answering=False)
        for name, copy in self.copies.items():
            copy.look = replace(copy.look, draining=name in step.drain)
            copy.drain_since = (copy.drain_since or self.now) if name in step.drain else None
        for new in step.create:
            look = CopyLook(
                name=f"{new.revision}-{new.index}", revision=new.revision, index=new.index, born_at=self.now
            )
            if look.name in self.copies:
                raise ValueError(f"{look.name} is there already")
            self.copies[look.name] = Copy(look=look)
        self.rollout, self.told, self.retried = step.rollout, step.weights, frozenset()
        self.current = next((item.revision for item in step.standings if item.state is State.CURRENT), None)
        self.failed = {item.revision: item.message for item in step.standings if item.state is State.FAILED}
        return step

    def pass_time(self, seconds: float) -> None:
        """What the cluster does by itself."""
        self.now += seconds
        self.copies = {name: copy for name, copy in self.copies.items() if not copy.look.going}
        for copy in self.copies.values():
            used = sum(1 for other in self.copies.values() if other.placed_at is not None)
            if copy.placed_at is None and used < self.devices and not self._queues(copy):
                copy.placed_at = self.now
            ready = copy.placed_at is not None and self.now - copy.placed_at >= self.loads
            answering = ready and copy.look.revision not in self.broken and not copy.lost
            copy.look = replace(copy.look, answering=answering)

    def _queues(self, copy: Copy) -> bool:
        own = [other for other in self.copies.values() if other.look.revision == copy.look.revision]
        turns = sum(1 for other in own if other.placed_at is not None)
        return copy.placed_at is None and turns >= self.admits.get(copy.look.revision, len(self.copies))

    def lose(self, name: str) -> None:
        """The pod of a copy dies; its controller makes it anew at once, and it loads again."""
        copy = self.copies[name]
        copy.placed_at = self.now if copy.placed_at is not None else None
        copy.look = replace(copy.look, answering=False)

    def try_again(self) -> None:
        """A person asks for a new try: what failed counts for nothing, also not what its trial showed."""
        self.benchmarks = {name: item for name, item in self.benchmarks.items() if name not in self.failed}
        self.failed, self.retried = {}, frozenset(self.failed)

    def answering(self) -> Counter[str]:
        """Copies by revision that answer, whether they get requests or not."""
        return Counter(copy.look.revision for copy in self.copies.values() if copy.look.answering)

    def settle(self, *, seconds: float = 5.0, rounds: int = 3000) -> list[Step]:
        """All steps until nothing moves any more. Raises TimeoutError if that takes too many rounds."""
        steps: list[Step] = []
        quiet = 0
        while quiet < 20:
            step = self.round()
            steps.append(step)
            self.pass_time(seconds)
            moves = step.create or step.delete or step.drain
            ended = step.verdict in (Verdict.STEADY, Verdict.ROLLED_BACK, Verdict.STOPPED)
            quiet = quiet + 1 if ended and not moves else 0
            if len(steps) > rounds:
                raise TimeoutError(f"no end in sight: {step}")
        return steps


def serving(spec: RolloutSpec | None = None, *, wanted: int = 3, devices: int = 100) -> Cluster:
    """A cluster whose revision `a` serves wholly."""
    cluster = Cluster(spec=spec or RolloutSpec(), wanted=wanted, devices=devices)
    cluster.settle()
    return cluster
