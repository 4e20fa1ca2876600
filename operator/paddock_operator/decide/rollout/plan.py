"""The next step of a deployment's copies: what to make, to drain, to delete, and who gets the requests.

Pure, and without a memory: where a change stands is read from the status and from the copies. That is why a restart,
another change in the middle, or a way back at any moment need no special case.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from paddock_core.resources import names
from paddock_core.resources.llamadeployment import RolloutStatus

from paddock_operator.decide.rollout import deadline
from paddock_operator.decide.rollout.settle import Aim, alive, settle
from paddock_operator.decide.rollout.stages import STRATEGIES, Course, Stage, bounds
from paddock_operator.decide.rollout.types import Look, Standing, State, Step, Verdict
from paddock_operator.decide.rollout.weights import by_copies, returning, serving
from paddock_operator.times import format_time, parse_time

RETRIED = (
    "correct the specification or set it back, or, once the cause is mended elsewhere, give the annotation"
    f" {names.RETRY} another value to try it again"
)
"""What ends a change that failed."""

UNMET = "what the specification asks for cannot be served: the conditions that are False say why"


def next_step(look: Look) -> Step:
    """What to do now. Total: any look has an answer."""
    way = _way(look)
    stage = way.stage(_course(look, way))
    failure = ""
    if way.judged:
        failure = deadline.failure(look, goal=way.goal, former=way.former, last=stage.last) or stage.failure
    if failure:
        return next_step(replace(look, failed={**look.failed, look.target: failure}))
    return _step(look, way, stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """From where to where, and how."""

    verdict: Verdict
    goal: str
    former: str | None
    stage: Callable[[Course], Stage]
    judged: bool = False
    """Whether the goal can fail: there is something to go back to."""
    message: str = ""


def _way(look: Look) -> _Way:
    current, target = look.current, look.target
    if current is None or look.wanted == 0:
        others = any(copy.revision != target for copy in alive(look))
        goal = current if current is not None and target in look.failed else target
        verdict = Verdict.ROLLING if others and look.wanted else Verdict.STEADY
        return _Way(verdict=verdict, goal=goal, former=None, stage=_steady)
    if target == current:
        return _back(look, goal=current, message="")
    if target not in look.failed:
        strategy = STRATEGIES[look.spec.strategy]
        return _Way(verdict=Verdict.ROLLING, goal=target, former=current, stage=strategy, judged=True)
    why = look.failed[target]
    if look.spec.rollback:
        return _back(look, goal=current, message=why)
    return _Way(verdict=Verdict.STOPPED, goal=target, former=current, stage=_stopped, message=why)


def _back(look: Look, *, goal: str, message: str) -> _Way:
    """Straight to the revision that served last, whether the other one failed or was taken back by its author."""
    named = look.rollout
    left = None if named is None else named.former if named.target == goal else named.target
    others = any(copy.revision != goal for copy in alive(look))
    failed = look.target in look.failed
    ended = Verdict.ROLLED_BACK if failed else Verdict.STEADY
    under_way = others or (named is not None and serving(look, drain=())[goal] < look.wanted)
    # A revision that was only being tried gets nothing more, like one that failed; one that replaces copy by copy is
    # trusted as long as its copies are needed.
    at_once = look.spec.strategy in ("BlueGreen", "Canary")
    return _Way(
        verdict=Verdict.GOING_BACK if under_way else ended,
        goal=goal,
        former=look.target if failed else left,
        stage=_at_once if at_once else _steady,
        message=message or look.failed.get(left or "", "") or (UNMET if look.unmet else ""),
    )


def _steady(course: Course) -> Stage:
    """As many copies of the goal as are wanted, and none of another revision; requests by copies."""
    limit, floor = bounds(course)
    aim = Aim(new=course.look.wanted, limit=limit, floor=floor)
    return Stage(aim=aim, weigh=by_copies(course.look, goal=course.goal, floor=floor), last=True)


def _at_once(course: Course) -> Stage:
    """The same, but all requests go to the goal as soon as enough copies of it answer."""
    stage = _steady(course)
    return replace(stage, weigh=returning(course.look, goal=course.goal, floor=stage.aim.floor))


def _stopped(course: Course) -> Stage:
    """Nothing more is replaced, and requests go where they went. Copies that are lost come back as the former's."""
    look = course.look
    own = sum(1 for copy in alive(look) if copy.revision == course.goal)
    stage = STRATEGIES[look.spec.strategy](replace(course, stopped=True))
    former = look.wanted - course.serving[course.goal]
    if look.spec.strategy == "BlueGreen" and course.step == 0:
        former = look.wanted
    # Fewer may be wanted by now: what is more than a change may have at once goes, but nothing that is needed to serve.
    new = min(own, look.wanted)
    aim = replace(stage.aim, new=new, old=max(former, stage.aim.limit - new), former=former)
    return replace(stage, aim=aim, step=course.step, since=course.since, last=False)


def _course(look: Look, way: _Way) -> Course:
    """With step and since when as the status has them, if it speaks of this change and this strategy: each counts its
    steps its own way."""
    course, status = Course(look=look, goal=way.goal, former=way.former), _remembered(look, way)
    if status is None or status.strategy != look.spec.strategy:
        return course
    return replace(course, step=status.step, since=parse_time(status.step_since) if status.step_since else None)


def _step(look: Look, way: _Way, stage: Stage) -> Step:
    weighted = stage.weigh(serving(look, drain={copy.name for copy in look.copies if copy.draining}))
    settled = settle(look, stage.aim, goal=way.goal, former=way.former, weighted=weighted)
    weights = stage.weigh(serving(look, drain=settled.drain))
    done = _done(look, way, stage)
    verdict = Verdict.STEADY if done else way.verdict
    under_way = verdict in (Verdict.ROLLING, Verdict.STOPPED, Verdict.GOING_BACK)
    message = _message(way, stage, verdict)
    return Step(
        goal=way.goal,
        create=settled.create,
        drain=settled.drain,
        delete=settled.delete,
        weights=weights,
        hold=under_way and (stage.aim.floor == 0 or not weights),
        rollout=_status(look, way, stage, message, drain=settled.drain) if under_way and way.former else None,
        standings=_standings(look, way, done=done),
        verdict=verdict,
        message=message,
        in_vain=_in_vain(look, way, verdict),
        look_after_seconds=_again(look, way, stage),
    )


def _done(look: Look, way: _Way, stage: Stage) -> bool:
    """True if the goal has taken the place of what was there before."""
    if way.goal == look.current or look.wanted == 0:
        return False
    if any(copy.revision != way.goal for copy in alive(look)):
        return False
    found = serving(look, drain={copy.name for copy in look.copies if copy.draining})[way.goal]
    return stage.last and found >= (look.wanted if look.current else 1)


def _in_vain(look: Look, way: _Way, verdict: Verdict) -> str:
    if verdict not in (Verdict.ROLLING, Verdict.GOING_BACK):
        return ""
    return deadline.in_vain(look, goal=way.goal, former=way.former, back=verdict is Verdict.GOING_BACK)


def _status(look: Look, way: _Way, stage: Stage, message: str, *, drain: Collection[str]) -> RolloutStatus:
    before = _remembered(look, way)
    return RolloutStatus(
        former=way.former or "",
        target=way.goal,
        strategy=look.spec.strategy,
        step=stage.step,
        step_since=_text(stage.since),
        starved_since=_text(deadline.starved_since(look, goal=way.goal, former=way.former)),
        gave_way=deadline.gives_way(look, goal=way.goal, former=way.former, drain=drain),
        former_served=look.served_before(way.former),
        started_at=format_time(look.now) if before is None else before.started_at,
        message=message,
    )


def _remembered(look: Look, way: _Way) -> RolloutStatus | None:
    return look.under_way(goal=way.goal, former=way.former)


def _text(moment: float | None) -> str:
    return "" if moment is None else format_time(moment)


def _message(way: _Way, stage: Stage, verdict: Verdict) -> str:
    match verdict:
        case Verdict.STEADY:
            return ""
        case Verdict.ROLLING:
            return stage.message or "copies of the present specification replace those of an earlier one"
        case Verdict.STOPPED:
            return f"{way.message}; nothing more is replaced: {RETRIED}"
        case Verdict.GOING_BACK:
            return f"{way.message or 'the specification was set back'}; copies of the former revision come back"
        case Verdict.ROLLED_BACK:
            return f"{way.message}; the former revision serves: {RETRIED}"


def _standings(look: Look, way: _Way, *, done: bool) -> tuple[Standing, ...]:
    """The goal first, then every other revision that is needed still. A failure is forgotten once the revision answers
    another wish, and no copy of it is there."""
    # What serves nothing now may have to go back as well, once it is woken with another revision.
    needed = [way.goal, look.target, *([look.current] if look.current and not done else [])]
    needed += sorted({*(copy.revision for copy in look.copies), *(look.recalled & set(look.failed))})
    found = dict.fromkeys(needed)
    return tuple(_standing(look, name, current=way.goal if done else look.current) for name in found)


def _standing(look: Look, name: str, *, current: str | None) -> Standing:
    if name == current:
        return Standing(revision=name, state=State.CURRENT)
    if name in look.failed:
        return Standing(revision=name, state=State.FAILED, message=look.failed[name])
    state = State.COMING if name == look.target else State.FORMER
    return Standing(revision=name, state=state)


def _again(look: Look, way: _Way, stage: Stage) -> float | None:
    """When the clock changes something: a deadline, or what the stage waits for."""
    left = deadline.seconds_left(look, goal=way.goal, former=way.former) if way.judged else None
    found = [seconds for seconds in (stage.look_after_seconds, left) if seconds is not None]
    return min(found) if found else None
