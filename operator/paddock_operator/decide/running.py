"""The copies of a deployment that may be served: how many, of which revision, which of them go, and what is told.

Here the pure judges of copies meet: scaling says how many, healing which may be there, the planner of rollouts which
come and go, routing what gateways are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from paddock_core.resources import names
from paddock_core.resources.conditions import Finding
from paddock_core.resources.llamadeployment import CopyStatus, RevisionStatus, RolloutSpec, RoutingStatus

from paddock_operator.decide import copies as copies_of
from paddock_operator.decide import drains, healing, license, routable, routing, scaling, serving, workloads  # noqa: A004
from paddock_operator.decide.actions import Action
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.draining import Drain
from paddock_operator.decide.outcome import Config, Life, Outcome
from paddock_operator.decide.patients import Patient, quiet_since, ready_since
from paddock_operator.decide.quota import Judgement as Quota
from paddock_operator.decide.revisions import Revision
from paddock_operator.decide.rollout.plan import next_step
from paddock_operator.decide.rollout.types import CopyLook, Look, State, Step
from paddock_operator.decide.scaling_advice import Answering
from paddock_operator.manifests.placement import VOLCANO
from paddock_operator.observed import Observed
from paddock_operator.ports import Manifest
from paddock_operator.times import format_time, parse_time

HOLD_SECONDS = 120
"""So long requests wait where a rollout itself leaves no copy for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is to run."""

    target: Revision
    """The revision that answers the wish."""
    known: Mapping[str, Revision]
    """All revisions that are there, and the target, by name."""
    shared: Sequence[Manifest]
    """Manifests of what all copies have in common."""
    namespace: str
    wish: str
    quota: Quota
    rotation: int = 0
    """Of the secret."""
    drifted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The copies of a round, and what was found of each."""

    copies: tuple[Copy, ...]
    verdicts: Mapping[str, healing.Verdict]
    denied: Mapping[str, str]
    """Revisions whose model may no longer be used, and why."""
    drains: Mapping[str, Drain]
    """Copies that get no more requests, and what is left of those that they had."""

    @property
    def routable(self) -> list[Copy]:
        """Copies that may get requests as far as they answer."""
        return [copy for copy in self.copies if copy.revision not in self.denied and not self.silent(copy.name)]

    def is_drained(self, name: str) -> bool:
        """True if no request is left in it, or the limit for them is over."""
        return name in self.drains and self.drains[name].over

    def moves(self, name: str) -> bool:
        verdict = self.verdicts.get(name)
        return verdict is not None and verdict.moves

    def leaves(self, name: str) -> bool:
        """True for one that is taken down: of it is told why, and not what its pods say."""
        verdict = self.verdicts.get(name)
        return verdict is not None and (verdict.held or verdict.down)

    def silent(self, name: str) -> bool:
        verdict = self.verdicts.get(name)
        return verdict is not None and verdict.silent


def run(observed: Observed, config: Config, course: Course) -> Outcome:
    """What to do about the copies, and what to tell of them."""
    seen = _seen(observed, config, course)
    scaled = _scaled(observed, course, seen)
    wanted = scaled.desired if course.quota.copies is None else min(scaled.desired, course.quota.copies)
    step = next_step(_look(observed, course, seen, wanted=wanted))
    told = _routing(observed, course, seen, step)
    endpoints = sum(len(target.endpoints) for target in told.targets)
    state = serving.judge(
        observed,
        [copy for copy in seen.copies if not seen.leaves(copy.name)],
        wanted=_wanted(observed, course.target, wanted, held=_held(seen, step)),
        endpoints=endpoints,
        told=_troubles(seen, step),
        note=step.message,
        probe_interval_seconds=config.probe_interval_seconds,
    )
    waits = [scaled.look_after_seconds, step.look_after_seconds, state.look_after_seconds]
    waits += [verdict.look_after_seconds for verdict in seen.verdicts.values()]
    waits += [drain.look_after_seconds for drain in seen.drains.values()]
    here = [copy for copy in seen.copies if not copy.going]
    outcome = Outcome(
        actions=_actions(observed, config, course, seen, step),
        findings=(*state.findings, *_routable(observed, told)),
        routing=told,
        life=_life(observed, course, seen, step, scaled),
        wanted=wanted,
        replicas=len(here),
        ready_replicas=endpoints,
        verdict=step.verdict,
        note=step.message,
        serving_namespace=course.namespace,
        look_after_seconds=min(wait for wait in waits if wait is not None),
    )
    return _with_groups(outcome, here)


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
        serving_namespace=status.serving_namespace,
        look_after_seconds=state.look_after_seconds,
    )
    return _with_groups(outcome, here)


def denied_models(observed: Observed, models: Mapping[str, str]) -> dict[str, str]:
    """Of revisions, by name with their models, those whose model may no longer be used, and why."""
    found = {name: license.denied_former(observed, model) for name, model in models.items()}
    return {name: why for name, why in found.items() if why is not None}


def _routable(observed: Observed, told: RoutingStatus | None) -> tuple[Finding, ...]:
    finding = routable.routable(routing=told, gateways=observed.gateways)
    return () if finding is None else (finding,)


def _with_groups(outcome: Outcome, here: Sequence[Copy]) -> Outcome:
    groups = [copy for copy in here if copy.size > 1]
    return replace(outcome, groups=len(groups), ready_groups=sum(1 for copy in groups if copy.answering))


def _seen(observed: Observed, config: Config, course: Course) -> _Seen:
    found = copies_of.of(observed, namespace=course.namespace, gpu=course.target.facts.plan.resource)
    denied = denied_models(observed, {name: item.facts.model for name, item in course.known.items()})
    draining = [copy for copy in found if copy.draining and not copy.going]
    return _Seen(
        copies=found,
        verdicts=_healed(observed, config, course, found),
        denied=denied,
        drains={copy.name: drains.judge(observed, config, copy) for copy in draining},
    )


def _healed(observed: Observed, config: Config, course: Course, found: Sequence[Copy]) -> dict[str, healing.Verdict]:
    """What becomes of each copy, and of those that were taken down and are to come back."""
    records = {record.name: record for record in observed.live.status.copies}
    retry = str((observed.metadata.get("annotations") or {}).get(names.RETRY, ""))
    gang = observed.live.spec.placement.scheduler_name == VOLCANO or observed.live.spec.placement.queue is not None
    patients = [_patient(copy, gang=gang) for copy in found if not copy.draining]
    leaving = [_patient(copy, gang=gang) for copy in found if copy.draining]
    there = {copy.name for copy in found}
    patients += [
        Patient(name=record.name, revision=record.revision, size=1, workload=None)
        for record in records.values()
        if record.name not in there and record.revision in course.known
    ]
    judged = {patient.name: healing.judge_leaving(patient, faults=observed.faults) for patient in leaving}
    return judged | {
        patient.name: healing.judge(
            patient,
            former=records.get(patient.name),
            now=observed.now,
            retry=retry,
            gpu=course.target.facts.plan.resource,
            faults=observed.faults,
            rules=config.healing,
        )
        for patient in patients
    }


def _patient(copy: Copy, *, gang: bool) -> Patient:
    return Patient(
        name=copy.name,
        revision=copy.revision,
        size=copy.size,
        workload=copy.workload,
        pods=(*copy.pods, *copy.leaving),
        # One that is ready and was not asked yet is not cut off for that.
        answers=copy.answering is not False,
        avoids=copy.avoids,
        gang=gang,
    )


def _scaled(observed: Observed, course: Course, seen: _Seen) -> scaling.Verdict:
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


def _look(observed: Observed, course: Course, seen: _Seen, *, wanted: int) -> Look:
    status = observed.live.status
    states = {item.name: item for item in status.revisions}
    current = next((item.name for item in status.revisions if item.state == State.CURRENT), None)
    known = current is not None and current in course.known and current not in seen.denied
    spare = course.quota.spare
    return Look(
        now=observed.now,
        wanted=wanted,
        spec=_within(observed.live.spec.rollout, wanted, spare),
        target=course.target.name,
        current=current if known else None,
        failed={name: item.message for name, item in states.items() if item.state == State.FAILED},
        rollout=status.rollout,
        copies=(*(_copy_look(copy, seen) for copy in seen.copies), *_held_back(course, seen)),
        health=dict(observed.health),
        benchmarks={name: item.benchmark for name, item in states.items() if item.benchmark is not None}
        | dict(observed.benchmarks),
        benchmarked=observed.benchmarked,
    )


def _within(spec: RolloutSpec, wanted: int, spare: int | None) -> RolloutSpec:
    """The strategy with no more copies beside the wanted ones than the quota has room for."""
    if spare is None:
        return spec
    strategy = "RollingUpdate" if spec.strategy == "BlueGreen" and spare < wanted else spec.strategy
    return msgspec.structs.replace(spec, strategy=strategy, max_surge=min(spec.max_surge, spare))


def _copy_look(copy: Copy, seen: _Seen) -> CopyLook:
    verdict = seen.verdicts.get(copy.name, healing.Verdict(record=None))
    goes = copy.going or verdict.down or verdict.moves
    return CopyLook(
        name=copy.name,
        revision=copy.revision,
        index=copy.index,
        born_at=copy.born_at,
        answering=False if verdict.silent else copy.answering,
        quiet_since=None if copy.leader is None else quiet_since(copy.leader),
        starved=copy.starved,
        failed=verdict.held and not (verdict.record and verdict.record.retry_at),
        draining=copy.draining,
        drained=seen.is_drained(copy.name),
        # One that has failed keeps its place while it is taken down: what was counted is kept by its name.
        going=copy.revision in seen.denied or (goes and not (verdict.record and verdict.record.failures)),
    )


def _held_back(course: Course, seen: _Seen) -> list[CopyLook]:
    """Copies that were taken down and may not come back yet: nobody makes them anew in the meantime."""
    there = {copy.name for copy in seen.copies}
    held = {name: verdict for name, verdict in seen.verdicts.items() if verdict.held and name not in there}
    return [
        CopyLook(
            name=name,
            revision=verdict.record.revision,
            index=int(name.rpartition("-")[2]),
            # It is given time anew: how often it may fail is what its budget is for.
            born_at=parse_time(verdict.record.failed_at),
            failed=not verdict.record.retry_at,
        )
        for name, verdict in held.items()
        if verdict.record is not None and verdict.record.revision in course.known
    ]


def _routing(observed: Observed, course: Course, seen: _Seen, step: Step) -> RoutingStatus:
    return routing.of_step(
        course.known,
        [copy for copy in seen.routable if copy.name not in step.drain and not seen.moves(copy.name)],
        weights=step.weights,
        goal=step.goal,
        hold_seconds=max(scaling.hold_seconds(observed.live.spec), HOLD_SECONDS if step.hold else 0),
        secret_rotation=course.rotation,
    )


def _held(seen: _Seen, step: Step) -> int:
    return sum(1 for name, verdict in seen.verdicts.items() if verdict.held and not _forgone(seen, step, name))


def _wanted(observed: Observed, target: Revision, copies: int, *, held: int) -> serving.Wanted:
    spec, plan = observed.live.spec, target.facts.plan
    return serving.Wanted(
        copies=copies,
        min_available=spec.min_available,
        pods_per_copy=plan.pods_per_group,
        gpu=plan.resource,
        by_load=spec.scaling is not None,
        held=held,
    )


def _actions(observed: Observed, config: Config, course: Course, seen: _Seen, step: Step) -> tuple[Action, ...]:
    by_name = {copy.name: copy for copy in seen.copies}
    down = {name for name, verdict in seen.verdicts.items() if verdict.down}
    # A copy of a model that may no longer be used goes as soon as gateways were told: nothing more is waited for.
    ended = {copy.name for copy in seen.copies if copy.revision in seen.denied and _told_of(observed, config, copy)}
    moves = {name for name in by_name if seen.moves(name)}
    ended |= {name for name in moves if seen.is_drained(name)}
    delete = [by_name[name] for name in sorted({*step.delete, *down, *ended}) if name in by_name]
    denied = {copy.name for copy in seen.copies if copy.revision in seen.denied}
    key, avoids = observed.key, observed.faults.avoided
    create = [
        workloads.NewCopy(
            name=names.copy_name(namespace=key.namespace, name=key.name, revision=new.revision, index=new.index),
            revision=course.known[new.revision],
            avoids=avoids,
        )
        for new in step.create
    ]
    needed = {course.target.name, step.goal, *(standing.revision for standing in step.standings)}
    needed |= {copy.revision for copy in seen.copies}
    changes = workloads.Changes(
        shared=course.shared,
        needed=[course.known[name] for name in sorted(needed) if name in course.known],
        wish=course.wish,
        target=course.target,
        create=create,
        draining=frozenset({*step.drain, *denied, *moves}),
        delete=[copy for copy in delete if not copy.going],
        forced=[pod for verdict in seen.verdicts.values() for pod in verdict.forced],
    )
    return workloads.actions(observed, seen.copies, changes, namespace=course.namespace)


def _told_of(observed: Observed, config: Config, copy: Copy) -> bool:
    return copy.draining_since is not None and observed.now - copy.draining_since >= config.drain_seconds


def _life(observed: Observed, course: Course, seen: _Seen, step: Step, scaled: scaling.Verdict) -> Life:
    return Life(
        revisions=_revisions(observed, course, seen, step),
        rollout=step.rollout,
        scaling=scaled.status,
        copies=_records(seen, step),
        quota=course.quota.status,
        drifted=course.drifted,
    )


def _records(seen: _Seen, step: Step) -> tuple[CopyStatus, ...]:
    found = (verdict.record for name, verdict in sorted(seen.verdicts.items()) if not _forgone(seen, step, name))
    return tuple(record for record in found if record is not None)


def _troubles(seen: _Seen, step: Step) -> list[Cause]:
    """What is known of copies in trouble; first of those that only a person brings back."""
    found = [item for name, item in sorted(seen.verdicts.items()) if not _forgone(seen, step, name)]
    ordered = sorted(found, key=lambda verdict: not verdict.failed_for_good)
    return [verdict.cause for verdict in ordered if verdict.cause is not None]


def _forgone(seen: _Seen, step: Step, name: str) -> bool:
    """True for a copy that was taken down and that nobody wants back."""
    return name in step.drain and all(copy.name != name for copy in seen.copies)


def _revisions(observed: Observed, course: Course, seen: _Seen, step: Step) -> tuple[RevisionStatus, ...]:
    before = {item.name: item for item in observed.live.status.revisions}
    made = []
    for standing in step.standings:
        revision, former = course.known.get(standing.revision), before.get(standing.revision)
        own = [copy for copy in seen.copies if copy.revision == standing.revision and not copy.going]
        noted = "" if former is None else former.created_at
        created = revision.created_at if revision is not None and revision.created_at else format_time(observed.now)
        benchmark = observed.benchmarks.get(standing.revision) or (None if former is None else former.benchmark)
        made.append(
            RevisionStatus(
                name=standing.revision,
                state=standing.state.value,
                created_at=noted or created,
                rendered_by="" if revision is None else revision.rendered_by,
                replicas=len(own),
                ready_replicas=sum(1 for copy in own if copy.answering and not copy.draining),
                message=standing.message,
                benchmark=benchmark,
            )
        )
    return tuple(made)
