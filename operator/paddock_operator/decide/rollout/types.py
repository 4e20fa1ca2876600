"""What the planner of rollouts looks at, and what it answers. No Kubernetes object is known here.

A round makes a `Look` from the cluster and the status, asks `plan.next_step`, and carries the `Step` out: workloads of
`create` are applied from the pinned template of their revision, those of `drain` are marked as draining (the mark is
taken from all others), those of `delete` are deleted. `Step.rollout` and `Step.standings` go into the status and come
back with the next look. Nothing else is remembered, so that a restart at any moment changes nothing.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from paddock_core.resources.llamadeployment import BenchmarkStatus, RolloutSpec, RolloutStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyLook:
    """One copy of the model, as far as a rollout cares."""

    name: str
    revision: str
    index: int
    born_at: float
    """Unix seconds of its workload's creation."""
    answering: bool | None = False
    """Whether it has generated a token lately. None: not known yet, as after a start of the operator; such a copy is
    counted on for nothing, and not taken away for that."""
    quiet_since: float | None = None
    """Since when it could answer and does not, where that is later than its birth: its leader got a node, or stopped
    being ready. Its deadline counts from there."""
    lacks: str = ""
    """Why it has no nodes, in the scheduler's words; empty where it has them."""
    starved: bool = False
    """It has none because what other copies hold is lacking, first of all devices: one that goes may make room."""
    queued: bool = False
    """It has none because its turn in a queue has not come: that takes as long as it takes."""
    failed: bool = False
    """It has been given up: its restart budget is used up."""
    draining: bool = False
    """It bears the mark of a drain, so no request goes there any more."""
    drained: bool = False
    """No request is in it either, or the limit of its drain is over. Only asked of draining ones."""
    going: bool = False
    """Its workload is being deleted already."""
    stuck: bool = False
    """It goes, and should have gone long since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a revision answered lately, all gateways together (`gate.health_of` makes it from their signals)."""

    requests: int = 0
    errors: int = 0
    ttft_p95_ms: float | None = None
    """None where nothing was answered."""
    tokens_per_second: float | None = None
    """Of one answer, from its first to its last token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything that a step depends on."""

    now: float
    wanted: int
    """Copies that should answer in the end."""
    spec: RolloutSpec
    target: str
    """Name of the revision that the specification asks for."""
    unmet: bool = False
    """True where the target is what served last only because what is asked for cannot be served."""
    current: str | None = None
    """The last revision that served wholly: the one whose state is Current in the status. None if none ever did."""
    failed: dict[str, str] = field(default_factory=dict)
    """Revisions whose state is Failed in the status, and why."""
    recalled: frozenset[str] = frozenset()
    """Those of them that answer the present wish, though another revision is the target: they are not forgotten as
    long as the wish is the same, so that they are not tried again."""
    rollout: RolloutStatus | None = None
    """As in the status."""
    retried: frozenset[str] = frozenset()
    """Revisions whose state is Failed in the status, and which a person wants to see tried again: the change begins
    anew."""
    told: dict[str, int] = field(default_factory=dict)
    """Percent of the requests by revision, as gateways were told last."""
    copies: tuple[CopyLook, ...] = ()
    """All of them, also those that are held back by their restart budget and have no workload now (they answer
    nothing): a copy that is not named is made anew."""
    health: dict[str, Health] = field(default_factory=dict)
    """By revision; one of which nothing is known is absent."""
    benchmarks: dict[str, BenchmarkStatus] = field(default_factory=dict)
    """By revision, where it was tried."""
    refused: str = ""
    """Why Kubernetes refused copies when they were to be made last, where it did: there is none of them to look at."""
    benchmarked: bool = False
    """Whether a first answering copy is tried at all, so that it is worth to wait for the outcome."""

    def under_way(self, *, goal: str, former: str | None) -> RolloutStatus | None:
        """What the status remembers of this change; None where it speaks of another one, or of a former try of it."""
        known = self.rollout
        same = known is not None and (known.former, known.target) == (former, goal)
        return known if same and goal not in self.retried else None

    def served_before(self, former: str | None) -> int:
        """Copies of the former revision that answered when it was first changed; 0 where the change woke it."""
        if self.rollout is not None and self.rollout.former == former:
            return self.rollout.former_served
        there = [copy for copy in self.copies if copy.revision == former and not copy.going]
        return sum(1 for copy in there if copy.answering is not False)


class Verdict(StrEnum):
    """How a deployment's copies stand to its specification."""

    STEADY = "Steady"
    """Nothing is under way but perhaps copies that come or go within the one revision."""
    ROLLING = "Rolling"
    """Another revision is on its way."""
    STOPPED = "Stopped"
    """The revision failed, and is left as it is, because it should not be taken back by itself."""
    GOING_BACK = "GoingBack"
    """The revision failed, or was taken back by its author, and the former one's copies come back."""
    ROLLED_BACK = "RolledBack"
    """The revision failed, and the former one runs alone again."""


class State(StrEnum):
    """State of a revision in the status."""

    CURRENT = "Current"
    COMING = "Coming"
    FORMER = "Former"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A revision that is needed still."""

    revision: str
    state: State
    message: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCopy:
    """A copy to be made."""

    revision: str
    index: int
    """Free among all copies of the revision that are there, going ones too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do now. Every part says how things should be, so that doing it twice is doing it once."""

    goal: str
    """The revision of which copies are made: the target, or the current one on the way back."""
    create: tuple[NewCopy, ...] = ()
    drain: frozenset[str] = frozenset()
    """Names of all copies that get no requests from now on. Every other one that answers is to be routed to; one that
    was draining is taken back."""
    delete: tuple[str, ...] = ()
    """Names of those draining copies that nobody needs any more."""
    weights: dict[str, int] = field(default_factory=dict)
    """Percent of the requests by revision, 100 in all; only revisions of which a copy answers and does not drain.
    Empty where none does: then the goal is the one to tell, without endpoints."""
    hold: bool = False
    """True while the rollout itself may leave no copy to answer: requests should wait instead of being refused."""
    rollout: RolloutStatus | None = None
    """For the status."""
    standings: tuple[Standing, ...] = ()
    """For the status: what each revision is, the goal first."""
    verdict: Verdict = Verdict.STEADY
    message: str = ""
    """What it waits for or why it failed, for people; empty when steady."""
    in_vain: str = ""
    """What a place was given up for that has not come of it, where fewer serve for that than are promised."""
    look_after_seconds: float | None = None
    """When the clock alone may change the answer; None if it cannot."""
