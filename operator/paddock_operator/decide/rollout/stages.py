"""Strategies: how many copies of each revision there should be now, who gets the requests, and what is waited for.

Each strategy is a function from a `Course` to a `Stage`. Where it is (`step`, `since`) comes from the status alone.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from paddock_core.resources.llamadeployment import RolloutStep

from paddock_operator.decide.rollout import gate
from paddock_operator.decide.rollout.gate import Opinion, Passed, Sides
from paddock_operator.decide.rollout.settle import Aim, alive, serves
from paddock_operator.decide.rollout.types import Look
from paddock_operator.decide.rollout.weights import Rule, by_copies, first_of, stepped
from paddock_operator.times import format_time

DEFAULT_STEPS = (
    RolloutStep(weight_percent=10),
    RolloutStep(weight_percent=50),
    RolloutStep(weight_percent=100),
)
"""Of a canary that names none."""
WATCH_SECONDS = 60
"""So long the former copies of a blue-green change stay after the switch, where its specification names no step: as
far as the gateways' counts of answers reach back."""
GATE_SECONDS = 5.0
"""How often the gate is asked again while something is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """From which revision to which, and how far it is."""

    look: Look
    goal: str
    former: str | None
    step: int = 0
    since: float | None = None
    """Unix seconds at which the step's conditions were met; None while they are not."""
    stopped: bool = False
    """True if it goes no further."""

    @property
    def serving(self) -> Counter[str]:
        """Copies that can get requests, by revision."""
        return Counter(copy.revision for copy in self.look.copies if serves(copy))

    @property
    def starved(self) -> bool:
        """True if a copy of the goal waits for devices."""
        return any(copy.starved and copy.revision == self.goal and not copy.draining for copy in alive(self.look))

    def kept(self, floor: int) -> int:
        """Former copies that come back where they are lost: those that served before, as many as the floor asks for.

        None once a copy of the goal answers, or may answer: then what is lacking comes as the goal's.
        """
        own = [copy for copy in alive(self.look) if copy.revision == self.goal and not copy.draining]
        if any(copy.answering is not False for copy in own):
            return 0
        status = self.look.under_way(goal=self.goal, former=self.former)
        # The one that went for want of a device would only take that device again.
        fewest = min(floor, self.look.wanted - 1) if status is not None and status.gave_way else floor
        return max(0, min(fewest, self.look.served_before(self.former)))

    def opinion(self, *, errors_alone: bool = False) -> Opinion:
        """What the health gate says of the goal."""
        look, former = self.look, self.former or ""
        sides = Sides(
            new=look.health.get(self.goal),
            former=look.health.get(former),
            new_benchmark=look.benchmarks.get(self.goal),
            former_benchmark=look.benchmarks.get(former),
        )
        if errors_alone:
            return gate.errors(look.spec.gate, sides)
        waited = 0.0 if self.since is None else look.now - self.since
        return gate.judge(look.spec.gate, sides, waited=waited, benchmarked=look.benchmarked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What holds now."""

    aim: Aim
    weigh: Rule
    step: int = 0
    since: float | None = None
    last: bool = False
    """True where nothing is left but to let the copies of other revisions go."""
    failure: str = ""
    """Why the goal is not good enough; empty where nothing speaks against it."""
    message: str = ""
    look_after_seconds: float | None = None


def bounds(course: Course) -> tuple[int, int]:
    """Most copies in all, and fewest that must answer.

    Without room for one more, or devices for it, there is no other way than to take one away first.
    """
    look = course.look
    surge = 0 if look.spec.strategy == "DrainFirst" else look.spec.max_surge
    missing = max(1, look.spec.max_unavailable) if course.starved or surge == 0 else look.spec.max_unavailable
    return look.wanted + surge, max(0, look.wanted - missing)


def replacing(course: Course) -> Stage:
    """One copy after the other: beside the former ones where there are devices (RollingUpdate), or in the place of one
    that went before (DrainFirst)."""
    look, opinion = course.look, course.opinion(errors_alone=True)
    limit, floor = bounds(course)
    done, kept = min(course.serving[course.goal], look.wanted), course.kept(floor)
    return Stage(
        aim=Aim(new=look.wanted, old=kept, former=kept, limit=limit, floor=floor),
        weigh=by_copies(look, goal=course.goal, floor=floor),
        step=done,
        last=True,
        failure=opinion.why,
        message=f"{done} of {look.wanted} copies are of the new revision",
        look_after_seconds=GATE_SECONDS if done else None,
    )


def blue_green(course: Course) -> Stage:
    """All new copies come up beside the former ones, are judged by their trial, and get all requests at once. The
    former ones stay for a while, so that the way back is one step too."""
    look, wanted = course.look, course.look.wanted
    # One that is woken has no former copies to be kept: a second set would be made for nobody.
    there = any(copy.revision == course.former for copy in alive(look))
    there = there or (course.step == 0 and look.served_before(course.former) > 0)
    both = Aim(
        new=wanted,
        old=wanted,
        former=wanted if there else 0,
        limit=wanted + max(wanted, look.spec.max_surge),
        floor=max(0, wanted - look.spec.max_unavailable),
    )
    if course.step == 0:
        return _coming(course, both)
    new_first = first_of(look, course.goal, course.former, floor=both.floor)
    watch = look.spec.steps[0].seconds if look.spec.steps else WATCH_SECONDS
    since = look.now if course.since is None else course.since
    opinion, left = course.opinion(), since + watch - look.now
    if opinion.passed is Passed.NO or (course.step == 1 and left > 0):
        return Stage(
            aim=both,
            weigh=new_first,
            step=course.step,
            since=since,
            failure=opinion.why if opinion.passed is Passed.NO else "",
            message=f"all requests go to the new revision; the former copies stay until {format_time(since + watch)}",
            look_after_seconds=min(GATE_SECONDS, max(1.0, left)),
        )
    aim = Aim(new=wanted, limit=both.limit, floor=both.floor)
    text = "the copies of the former revision end their requests"
    return Stage(aim=aim, weigh=new_first, step=2, since=course.since, last=True, message=text)


def _coming(course: Course, both: Aim) -> Stage:
    """Until all new copies answer and the gate lets them through; no request goes there."""
    look = course.look
    done = course.serving[course.goal]
    old_first = first_of(look, course.former, course.goal, floor=both.floor)
    if done < look.wanted:
        text = f"{done} of {look.wanted} copies of the new revision answer; none gets requests before all do"
        if course.starved:
            text += ". Devices are lacking for a second set: free some, or choose RollingUpdate or DrainFirst"
        return Stage(aim=both, weigh=old_first, message=text)
    here = replace(course, since=look.now if course.since is None else course.since)
    opinion = here.opinion()
    if opinion.passed is Passed.YES and not course.stopped:
        return blue_green(replace(course, step=1, since=look.now))
    return Stage(
        aim=both,
        weigh=old_first,
        since=here.since,
        failure=opinion.why if opinion.passed is Passed.NO else "",
        message=f"all copies of the new revision answer; {opinion.why}",
        look_after_seconds=GATE_SECONDS,
    )


def canary(course: Course) -> Stage:
    """Requests move over in steps, each with as many new copies as its share needs; the gate is asked in every step."""
    look = course.look
    steps = look.spec.steps or DEFAULT_STEPS
    if steps[-1].weight_percent < 100:
        steps = (*steps, RolloutStep(weight_percent=100, seconds=0))
    if course.step >= len(steps):
        text = "the copies of the former revision end their requests"
        stage = replace(replacing(course), step=course.step, since=course.since, message=text)
        return replace(stage, weigh=first_of(look, course.goal, course.former, floor=stage.aim.floor))
    step = steps[course.step]
    aim, done = _share(course, step), course.serving[course.goal]
    since = look.now if course.since is None and done >= aim.new else course.since
    opinion = course.opinion(errors_alone=since is None)
    left = step.seconds if since is None else since + step.seconds - look.now
    if since is not None and left <= 0 and opinion.passed is Passed.YES and not course.stopped:
        return canary(replace(course, step=course.step + 1, since=None))
    before = steps[course.step - 1].weight_percent if course.step else 0
    return Stage(
        aim=aim,
        weigh=stepped(look, goal=course.goal, before=before, step=step.weight_percent, copies=aim.new),
        step=course.step,
        since=since,
        failure=opinion.why if opinion.passed is Passed.NO else "",
        message=f"step {course.step + 1} of {len(steps)}, {step.weight_percent} %: "
        + (
            f"{done} of {aim.new} new copies answer{_lack(course, aim)}"
            if since is None
            else opinion.why or f"until {format_time(since + step.seconds)} at least"
        ),
        look_after_seconds=min(GATE_SECONDS, max(1.0, left)) if done else None,
    )


def _share(course: Course, step: RolloutStep) -> Aim:
    """The copies that a canary's step needs. Of the former revision one always stays while it has any share."""
    look, wanted = course.look, course.look.wanted
    limit, floor = bounds(course)
    new = math.ceil(wanted * step.weight_percent / 100)
    old = min(math.ceil(wanted * (100 - step.weight_percent) / 100), limit - new)
    if course.starved and old > 1:
        old -= 1
    made = sum(1 for copy in alive(look) if copy.revision == course.goal and not copy.draining)
    former = max(course.kept(floor), min(old, wanted - max(new, made)), 0)
    return Aim(new=new, old=max(old, former), former=former, limit=limit, floor=floor)


def _lack(course: Course, aim: Aim) -> str:
    if not course.starved or aim.old != 1 or aim.floor:
        return ""
    return ". Devices are lacking for a copy beside the only one: free some, or choose DrainFirst"


STRATEGIES: dict[str, Callable[[Course], Stage]] = {
    "RollingUpdate": replacing,
    "DrainFirst": replacing,
    "BlueGreen": blue_green,
    "Canary": canary,
}
"""By the name in the specification."""
