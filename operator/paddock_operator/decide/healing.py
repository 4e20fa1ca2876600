"""Copies that fail, hang, are lost, or find only a part of their devices: when each is taken down and may come back.

Pure and without memory: all that is remembered of a copy is in `status.copies`, so it survives pods, groups and the
operator.
"""

from dataclasses import dataclass

from msgspec.structs import replace
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import CopyStatus, EvidenceStatus

from paddock_operator.decide import counted, evidence, hung
from paddock_operator.decide.bad_nodes import let_back, moved, on_bad_node, on_silent_node
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.counted import Counted
from paddock_operator.decide.node_faults import NO_FAULTS, NodeFaults
from paddock_operator.decide.patients import Patient, created, node_of, placed_since, ready_since
from paddock_operator.decide.patients import unplaced_since as unplaced
from paddock_operator.decide.refusals import is_taken_up
from paddock_operator.decide.verdicts import Verdict, gave_way, looked_at, reason_of, record_of, signed, told_of
from paddock_operator.times import format_time, parse_time


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingRules:
    """How patient the platform is with a copy."""

    budget: int = 6
    """Failures after which a copy is not started again."""
    first_pause_seconds: float = 10.0
    """Before the third start; the second comes at once, and each later one after twice the pause before it."""
    longest_pause_seconds: float = 600.0
    forget_seconds: float = 600.0
    """A copy that has answered for so long has its failures forgotten."""
    recreate_seconds: float = 30.0
    """So long a group's controller is given to make a broken group anew, before it is done for it."""
    partial_seconds: float = 90.0
    """So long a group may hold devices while other pods of it find none."""
    hung_seconds: float = 600.0
    """A copy that is ready and has generated nothing for so long has failed."""
    moving_seconds: float = 1800.0
    """So long a copy that answers on a bad node waits for another to answer in its place, and so long it is told where
    one that is gone was."""


def judge(
    patient: Patient,
    *,
    former: CopyStatus | None,
    now: float,
    retry: str = "",
    gpu: str = "",
    faults: NodeFaults = NO_FAULTS,
    rules: HealingRules,
) -> Verdict:
    """What becomes of a copy. `former` is its record, `retry` the value of the annotation `names.RETRY`, `gpu` the
    resource by which its pods ask for GPUs."""
    forced = tuple(pod for pod in patient.pods if node_of(pod) in faults.lost)
    patient = patient.of_workload()
    former, known = _known(patient, former, retry=counted.digest([retry]))
    verdict = on_bad_node(patient, former, known, now=now, faults=faults)
    if verdict is None:
        record, known = _counted(patient, former, known, now=now, rules=rules)
        record, known = _answered(patient, record, known, now=now, rules=rules)
        told = known.state == counted.HUNG
        record, known = _hung(patient, record, known, now=now, faults=faults, rules=rules)
        verdict = _paused(patient, record, now=now, rules=rules)
        verdict = hung.taken_down(patient, verdict, known, told=told)
        verdict = _refused(patient, verdict)
        verdict = _broken_up(patient, verdict, known, now=now, rules=rules)
        verdict = _partly_placed(patient, verdict, known, now=now, gpu=gpu, rules=rules)
        verdict = let_back(patient, verdict, faults=faults)
        verdict = on_silent_node(patient, verdict, faults=faults)
        verdict = replace(verdict, record=signed(verdict.record, known))
    gone = verdict.down or not patient.there
    spent = [] if gone else patient.spent
    return replace(verdict, forced=(*(pod for pod in forced if gone or pod.going), *spent))


def judge_leaving(patient: Patient, *, faults: NodeFaults) -> Verdict:
    """What becomes of a copy that is being drained: only its nodes matter still, and nothing of it is remembered."""
    forced = tuple(pod for pod in patient.pods if node_of(pod) in faults.lost)
    patient = patient.of_workload()
    verdict = on_bad_node(patient, None, Counted(), now=0.0, faults=faults) or Verdict(record=None)
    gone = verdict.down or not patient.there
    return replace(verdict, record=None, cause=None, forced=tuple(pod for pod in forced if gone or pod.going))


def pause_seconds(failures: int, *, rules: HealingRules) -> float:
    """How long a copy is left alone after so many failures: after the first one not at all."""
    doublings = min(failures - 2, 32)
    return min(rules.longest_pause_seconds, rules.first_pause_seconds * 2.0**doublings) if doublings >= 0 else 0.0


def _known(patient: Patient, former: CopyStatus | None, *, retry: str) -> tuple[CopyStatus | None, Counted]:
    """Its record, and what that was written by, as far as both are about what is there now."""
    if former is None:
        return None, counted.of_new(patient, retry=retry)
    known = counted.parse(former.seen)
    if known is None or known.retry != retry:
        # A person has asked for a new try, or nobody knows what was counted: all that is seen now is forgiven.
        known = counted.afresh(patient, retry=retry)
        return record_of(patient, None, known), known
    if patient.workload is not None and known.workload != patient.workload.uid:
        # Made anew by ourselves.
        known = counted.of_new(patient, retry=retry, refusing=known.refusing)
    return former, known


def _counted(
    patient: Patient, former: CopyStatus | None, known: Counted, *, now: float, rules: HealingRules
) -> tuple[CopyStatus | None, Counted]:
    """One failure more, if its pods show one that was not counted yet."""
    failed, known = counted.count(patient, known)
    if not failed:
        return former, known
    base = record_of(patient, former, known)
    left = _left(patient) or base.evidence
    return _failed(base, left=left, now=now, rules=rules), known


def _failed(base: CopyStatus, *, left: EvidenceStatus | None, now: float, rules: HealingRules) -> CopyStatus:
    """The record after one failure more, and when it may come back, if its budget is not spent."""
    failures = base.failures + 1
    over, pause = failures >= rules.budget, pause_seconds(failures, rules=rules)
    return replace(
        base,
        failures=failures,
        failed_at=format_time(now),
        retry_at="" if over else format_time(now + pause),
        evidence=left,
    )


def _hung(
    patient: Patient, record: CopyStatus | None, known: Counted, *, now: float, faults: NodeFaults, rules: HealingRules
) -> tuple[CopyStatus | None, Counted]:
    """One failure more, if it is ready and has generated nothing for too long."""
    left = hung.left_by(patient, known, now=now, after_seconds=rules.hung_seconds, faults=faults)
    if left is None:
        return record, known
    known = counted.hung(known)
    return _failed(record_of(patient, record, known), left=left, now=now, rules=rules), known


def _left(patient: Patient) -> EvidenceStatus | None:
    """What is left of its failure: what the node said that refused it last, or what its containers ended of."""
    refused = max(patient.refused, key=created, default=None)
    if refused is not None:
        return evidence.of_refusal(refused.manifest)
    return evidence.left_by(pod.manifest for pod in patient.pods)


def _answered(
    patient: Patient, record: CopyStatus | None, known: Counted, *, now: float, rules: HealingRules
) -> tuple[CopyStatus | None, Counted]:
    """Of one that answers: in time nothing of its failures is remembered, and of a group always which pods it is."""
    if not patient.answers or patient.unasked or patient.leader is None or counted.is_broken(patient, known):
        return record, known
    known = counted.answered(patient, known)
    since = ready_since(patient.leader)
    failed_at = parse_time(record.failed_at) if record is not None and record.failed_at else 0.0
    steady = since is not None and now - max(since, failed_at) >= rules.forget_seconds
    if steady or record is None:
        known = replace(known, refusing=())
        # A pod alone that never failed is found again by itself: nothing need be written of it.
        plain = not patient.grouped and not known.ends
        return None if plain else record_of(patient, None, known), known
    return record, known


def _paused(patient: Patient, record: CopyStatus | None, *, now: float, rules: HealingRules) -> Verdict:
    """It is held back while its pause lasts, and for good once its budget is spent."""
    if record is None:
        return Verdict(record=None)
    if record.failures and not record.retry_at:
        cause = Cause(reason=ConditionReason.GROUP_FAILED, message=told_of(record, "is not started again"))
        return Verdict(record=record, held=True, down=patient.there, silent=True, cause=cause)
    wait = parse_time(record.retry_at) - now if record.retry_at else 0.0
    told = _told_seconds(patient, record, now=now, rules=rules)
    if told is not None and told <= 0:
        return Verdict(record=None)
    if wait <= 0:
        verdict = Verdict(record=record, cause=moved(patient, record) or hung.made_anew(patient, record))
        return verdict if told is None else looked_at(verdict, told)
    reason = reason_of(record) if gave_way(record) else ConditionReason.RESTART_DELAYED
    cause = Cause(reason=reason, message=told_of(record, f"is tried again at {record.retry_at}"))
    look = max(1.0, wait)
    return Verdict(record=record, held=True, down=patient.there, silent=True, cause=cause, look_after_seconds=look)


def _refused(patient: Patient, verdict: Verdict) -> Verdict:
    """One that its node refused is taken down at once, before its controller makes ever more of it; why is told until a
    node has taken up one in its place."""
    record, leader = verdict.record, patient.leader
    if verdict.held or record is None or reason_of(record) is not ConditionReason.POD_EVICTED:
        return verdict
    cause = Cause(reason=ConditionReason.POD_EVICTED, message=told_of(record, "is tried again"))
    if patient.refused:
        return replace(verdict, down=patient.there, silent=True, cause=cause)
    up = leader is not None and is_taken_up(leader.manifest)
    return verdict if up else replace(verdict, cause=verdict.cause or cause)


def _told_seconds(patient: Patient, record: CopyStatus, *, now: float, rules: HealingRules) -> float | None:
    """How long one is still remembered that might be there and is not: nobody wants it any more, or another is made in
    its place. None for one that is there."""
    if patient.workload is not None or patient.pods:
        return None
    if record.retry_at:
        return parse_time(record.retry_at) + rules.longest_pause_seconds - now
    # Without a pause it left a node: what else goes wrong is followed by one.
    left = record.evidence
    return 0.0 if left is None else parse_time(left.at) + rules.moving_seconds - now


def _broken_up(patient: Patient, verdict: Verdict, known: Counted, *, now: float, rules: HealingRules) -> Verdict:
    """A group that is not the one that answered gets no request; one that its controller leaves so is taken down."""
    leader = patient.leader
    if verdict.held or leader is None or not counted.is_broken(patient, known):
        return verdict
    cause = verdict.cause or Cause(
        reason=ConditionReason.RANKS_LOST,
        message=f"copy {patient.name}: a worker of it ended or was replaced while its leader {leader.name} stayed;"
        " the group is made anew as a whole",
    )
    verdict = replace(verdict, silent=True, cause=cause)
    failed_at = verdict.record.failed_at if verdict.record is not None else ""
    since = max([parse_time(failed_at) if failed_at else 0.0, *(created(pod) for pod in patient.workers)])
    due = since + rules.recreate_seconds - now
    if due > 0 or len(patient.living) < len(patient.pods):
        # What is being deleted shows that its controller is at work.
        return looked_at(verdict, due if due > 0 else rules.recreate_seconds)
    return replace(verdict, down=patient.there)


def _partly_placed(
    patient: Patient, verdict: Verdict, known: Counted, *, now: float, gpu: str, rules: HealingRules
) -> Verdict:
    """A group of which some pods hold devices and others find none gives them back, and is tried later."""
    if verdict.held or verdict.down or not patient.grouped or patient.gang:
        return verdict
    waits = [since for pod in patient.living if (since := unplaced(pod)) is not None]
    holds = [since for pod in patient.living if (since := placed_since(pod)) is not None]
    if not waits or not holds:
        return _placed(verdict, complete=len(holds) >= patient.size)
    due = max(min(waits), min(holds)) + rules.partial_seconds - now
    if due > 0:
        return looked_at(verdict, due)
    record = verdict.record or record_of(patient, None, known)
    left = evidence.of_placement((pod.manifest for pod in patient.living), gpu=gpu)
    yielded = record.yielded + 1
    wait = _yield_seconds(patient.name, yielded, rules=rules)
    until = format_time(now + wait)
    record = replace(record, yielded=yielded, failed_at=format_time(now), retry_at=until, evidence=left)
    often = f"gave its devices back, as only {len(holds)} of {patient.size} pods found a node, and is tried again"
    cause = Cause(reason=reason_of(record), message=told_of(record, f"{often} at {until}"))
    return Verdict(record=record, held=True, down=patient.there, silent=True, cause=cause, look_after_seconds=wait)


def _placed(verdict: Verdict, *, complete: bool) -> Verdict:
    """Once all its pods have nodes, how often they had not is forgotten."""
    if verdict.record is None or not verdict.record.yielded or not complete:
        return verdict
    return replace(verdict, record=replace(verdict.record, yielded=0, evidence=None))


def _yield_seconds(name: str, yielded: int, *, rules: HealingRules) -> float:
    """Twice as long each time, and apart from others that gave way at the same moment, by their names."""
    apart = 1.0 + int(counted.digest([name]), 16) % 1000 / 1000
    return min(rules.longest_pause_seconds, rules.first_pause_seconds * 2.0 ** min(yielded, 32)) * apart
