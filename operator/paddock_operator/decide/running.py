"""The copies of a deployment that may be served: how many, of which revision, which of them go, and what is told.

Here the pure judges of copies meet: scaling says how many, healing which may be there, the planner of rollouts which
come and go, routing what gateways are told.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionType, Finding
from paddock_core.resources.llamadeployment import RoutingStatus

from paddock_operator.decide import (
    bad_nodes,
    drains,
    lingering,
    moving,
    routable,
    routing,
    scaling,
    serving,
    workloads,
)
from paddock_operator.decide import copies as copies_of
from paddock_operator.decide.actions import Action
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.outcome import Config, Life, Outcome
from paddock_operator.decide.patients import ready_since
from paddock_operator.decide.prospect import look_of
from paddock_operator.decide.revisions import Revision
from paddock_operator.decide.rollout.plan import next_step
from paddock_operator.decide.rollout.types import State, Step, Verdict
from paddock_operator.decide.scaling_advice import Answering
from paddock_operator.decide.seen import Course, Seen, seen_of
from paddock_operator.decide.told import held_back, life_of, troubles
from paddock_operator.kinds import POD_DISRUPTION_BUDGET, kind_of
from paddock_operator.observed import Child, Observed, label_of

LONG_DRAIN_SECONDS = 60.0
"""A drain that has lasted so long may well last as long again, and then a copy has to load: who comes meanwhile would
wait in vain."""
DRIFTED = "it has drifted, which is no trouble: the next maintenance window or change of the specification ends it"


def run(observed: Observed, config: Config, course: Course) -> Outcome:
    """What to do about the copies, and what to tell of them."""
    seen = seen_of(observed, config, course)
    scaled = _scaled(observed, course, seen)
    wanted = _granted(course, seen, scaled.desired)
    step = next_step(look_of(observed, course, seen, wanted=wanted))
    leaving = moving.leaving(observed, config, seen, wanted=wanted, drained=step.drain)
    told = _routing(observed, course, seen, step, leaving=leaving)
    endpoints = sum(len(target.endpoints) for target in told.targets)
    state = serving.judge(
        observed,
        [copy for copy in seen.copies if not seen.leaves(copy.name)],
        wanted=_wanted(observed, course.target, wanted, held=held_back(seen, step), refused=wanted < scaled.desired),
        endpoints=endpoints,
        told=troubles(seen, step),
        note=step.message or (DRIFTED if course.drifted else ""),
        probe_interval_seconds=config.probe_interval_seconds,
    )
    waits = [scaled.look_after_seconds, step.look_after_seconds, state.look_after_seconds]
    waits += [verdict.look_after_seconds for verdict in seen.verdicts.values()]
    waits += [drain.look_after_seconds for drain in seen.drains.values()]
    here = [copy for copy in seen.copies if not copy.going]
    kept_back = bool(course.taken_back) and step.verdict is Verdict.STEADY
    outcome = Outcome(
        actions=_actions(observed, config, course, seen, step, wanted=wanted, leaving=leaving),
        findings=(*state.findings, *_routable(observed, told)),
        routing=told,
        life=life_of(observed, course, seen, step, scaled),
        wanted=wanted,
        replicas=len(here),
        ready_replicas=endpoints,
        verdict=Verdict.ROLLED_BACK if kept_back else step.verdict,
        note=course.taken_back if kept_back else step.message,
        in_vain=step.in_vain,
        slowest=state.slowest,
        serving_namespace=course.namespace,
        look_after_seconds=min(wait for wait in waits if wait is not None),
    )
    return _with_groups(outcome, here)


def _granted(course: Course, seen: Seen, desired: int) -> int:
    """As many of the wanted copies as the quota has room for: it keeps new ones from coming, and takes none away."""
    if course.quota.copies is None:
        return desired
    there = Counter(copy.revision for copy in seen.copies if not copy.going and not copy.draining)
    return min(desired, max(course.quota.copies, *there.values(), 0))


def hold(observed: Observed, config: Config, findings: tuple[Finding, ...], *, denied: Mapping[str, str]) -> Outcome:
    """Leave what runs as it is, create nothing, and go on telling which copies answer."""
    status, found = observed.live.status, copies_of.of(observed)
    plan = status.plan
    told = None if status.routing is None else routing.refreshed(status.routing, found, denied=denied)
    endpoints = 0 if told is None else sum(len(target.endpoints) for target in told.targets)
    wanted = observed.live.spec.replicas if status.scaling is None else status.scaling.desired_replicas
    state = serving.judge(
        observed,
        found,
        wanted=serving.Wanted(
            copies=wanted,
            min_available=observed.live.spec.min_available,
            pods_per_copy=1 if plan is None else plan.pods_per_group,
            gpu="" if plan is None else plan.resource,
            by_load=observed.live.spec.scaling is not None,
        ),
        endpoints=endpoints,
        probe_interval_seconds=config.probe_interval_seconds,
    )
    here = [copy for copy in found if not copy.going]
    outcome = Outcome(
        findings=(*findings, *state.findings, *_routable(observed, told)),
        license=status.license,
        plan=plan,
        routing=told,
        life=Life.former(status),
        wanted=wanted,
        replicas=len(here),
        ready_replicas=endpoints,
        slowest=state.slowest,
        serving_namespace=status.serving_namespace,
        look_after_seconds=state.look_after_seconds,
    )
    return _with_groups(outcome, here)


def _routable(observed: Observed, told: RoutingStatus | None) -> tuple[Finding, ...]:
    conditions = observed.live.status.conditions
    former = next((item for item in conditions if item.type == ConditionType.ROUTABLE), None)
    finding = routable.routable(
        routing=told, gateways=observed.gateways, former=former, expired=observed.policy.expired
    )
    return () if finding is None else (finding,)


def _with_groups(outcome: Outcome, here: Sequence[Copy]) -> Outcome:
    groups = [copy for copy in here if copy.size > 1]
    return replace(outcome, groups=len(groups), ready_groups=sum(1 for copy in groups if copy.answering))


def _scaled(observed: Observed, course: Course, seen: Seen) -> scaling.Verdict:
    spec, plan = observed.live.spec, course.target.facts.plan
    answering = [copy for copy in seen.routable if copy.endpoint and not copy.draining and not copy.going]
    return scaling.judge(
        scaling.Look(
            now=observed.now,
            scaling=spec.scaling,
            replicas=spec.replicas,
            before=observed.live.status.scaling,
            demand=observed.demand,
            answering=tuple(_answering(observed, copy) for copy in answering),
            max_concurrency=plan.max_concurrency,
            gpus_per_copy=plan.gpus,
        )
    )


def _answering(observed: Observed, copy: Copy) -> Answering:
    since = None if copy.leader is None else ready_since(copy.leader)
    uid = "" if copy.leader is None else copy.leader.uid
    return Answering(since=copy.born_at if since is None else since, kv_use=observed.kv_use.get(uid))


def _routing(observed: Observed, course: Course, seen: Seen, step: Step, *, leaving: Collection[str]) -> RoutingStatus:
    gone = {*step.drain, *leaving}
    return routing.of_step(
        course.known,
        [copy for copy in seen.routable if copy.name not in gone],
        leaving=[
            copy for copy in seen.copies if (copy.draining or copy.name in gone) and not seen.is_drained(copy.name)
        ],
        weights=step.weights,
        goal=step.goal,
        hold_seconds=max(scaling.hold_seconds(observed.live.spec), _hold_seconds(observed, seen, step)),
        secret_rotation=course.rotation,
        former=observed.live.status.routing,
    )


def _hold_seconds(observed: Observed, seen: Seen, step: Step) -> int:
    """For how long requests wait because of a rollout: not behind a long drain, before whose end nothing comes."""
    if not step.hold:
        return 0
    here = [copy for copy in seen.copies if not copy.going]
    ending = [copy for copy in here if copy.draining and not seen.is_drained(copy.name)]
    # One that finds no node waits itself, as for the devices of those that end.
    coming = bool(step.create) or any(not copy.draining and copy.unplaced is None for copy in here)
    late = observed.now - LONG_DRAIN_SECONDS
    long = any(copy.draining_since is not None and copy.draining_since <= late for copy in ending)
    return 0 if long and not coming else observed.live.spec.rollout.hold_seconds


def _wanted(observed: Observed, target: Revision, copies: int, *, held: int, refused: bool) -> serving.Wanted:
    spec, plan = observed.live.spec, target.facts.plan
    return serving.Wanted(
        copies=copies,
        min_available=spec.min_available,
        pods_per_copy=plan.pods_per_group,
        gpu=plan.resource,
        by_load=spec.scaling is not None,
        held=held,
        refused=refused,
    )


def _actions(
    observed: Observed, config: Config, course: Course, seen: Seen, step: Step, *, wanted: int, leaving: Collection[str]
) -> tuple[Action, ...]:
    by_name = {copy.name: copy for copy in seen.copies}
    down = {name for name, verdict in seen.verdicts.items() if verdict.down}
    # A copy of a model that may no longer be used goes as soon as gateways were told: nothing more is waited for.
    ended = {copy.name for copy in seen.copies if copy.revision in seen.denied and _told_of(observed, config, copy)}
    ended |= {name for name in leaving if seen.is_drained(name)}
    delete = [by_name[name] for name in sorted({*step.delete, *down, *ended}) if name in by_name]
    denied = {copy.name for copy in seen.copies if copy.revision in seen.denied}
    create = _new_copies(observed, course, seen, step)
    needed = {course.target.name, step.goal, *(standing.revision for standing in step.standings)}
    needed |= {copy.revision for copy in seen.copies}
    # One that has failed before it could be pinned is not pinned any more.
    failed = {standing.revision for standing in step.standings if standing.state is State.FAILED}
    needed -= {name for name in failed if name in course.known and not course.known[name].created_at}
    changes = workloads.Changes(
        # A single copy is taken off a drained node all the same: there is nothing to wait for.
        shared=[item for item in course.shared if wanted > 1 or kind_of(item) != POD_DISRUPTION_BUDGET],
        needed=[course.known[name] for name in sorted(needed) if name in course.known],
        wish=course.wish,
        target=course.target,
        create=create,
        draining=frozenset({*step.drain, *denied, *leaving}),
        delete=[copy for copy in delete if not copy.going],
        forced=[pod for verdict in seen.verdicts.values() for pod in verdict.forced],
        orphans=_orphans(observed, course, seen),
    )
    return workloads.actions(observed, seen.copies, changes, namespace=course.namespace)


def _orphans(observed: Observed, course: Course, seen: Seen) -> list[Child]:
    """Pods that nobody else will end. Those that may still have requests wait for them, if their model may be used."""
    here = [pod for pod in lingering.orphans(observed.children) if pod.namespace == course.namespace]
    denied = [pod for pod in here if label_of(pod, names.REVISION) in seen.denied]
    return [*denied, *drains.unasked(observed, [pod for pod in here if pod not in denied])]


def _new_copies(observed: Observed, course: Course, seen: Seen, step: Step) -> list[workloads.NewCopy]:
    named = _named(observed, seen, step)
    if not named:
        return []
    avoids = bad_nodes.avoided(observed.faults, (verdict.record for verdict in seen.verdicts.values()))
    return [workloads.NewCopy(name=name, revision=course.known[revision], avoids=avoids) for name, revision in named]


def _named(observed: Observed, seen: Seen, step: Step) -> list[tuple[str, str]]:
    """Names and revisions of the copies to be made. One that was taken down and may come back comes back by its name:
    what was counted of it is remembered by that."""
    key, there = observed.key, {copy.name for copy in seen.copies}
    back = {
        name: verdict.record.revision
        for name, verdict in sorted(seen.verdicts.items())
        if verdict.record is not None and verdict.record.failed_at and not verdict.held and name not in there
    }
    found = []
    for revision in dict.fromkeys(new.revision for new in step.create):
        indices = [new.index for new in step.create if new.revision == revision]
        new_names = [
            names.copy_name(namespace=key.namespace, name=key.name, revision=revision, index=index) for index in indices
        ]
        known = [name for name, its in back.items() if its == revision]
        found += [(name, revision) for name in [*dict.fromkeys((*known, *new_names))][: len(indices)]]
    return found


def _told_of(observed: Observed, config: Config, copy: Copy) -> bool:
    return copy.draining_since is not None and observed.now - copy.draining_since >= config.drain_seconds
