"""Copies that fail, are lost, or find only a part of their devices: when each is taken down, and when it may come back.

Pure and without memory: all that is remembered of a copy is in `status.copies`, so it survives pods, groups and the
operator.
"""

from dataclasses import dataclass, replace

import msgspec
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import CopyStatus, EvidenceStatus

from paddock_operator.decide import counted, evidence
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.counted import Counted
from paddock_operator.decide.node_faults import NO_FAULTS, NodeFaults
from paddock_operator.decide.patients import Patient, created, devices_of, node_of, placed_since, ready_since
from paddock_operator.decide.patients import unplaced_since as unplaced
from paddock_operator.observed import Child
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of one copy."""

    record: CopyStatus | None
    """What is remembered of it from now on."""
    held: bool = False
    """It is not to be there: not now, or not until a person says so."""
    down: bool = False
    """It is taken down at once: nothing that it could answer is lost."""
    moves: bool = False
    """It is to leave its nodes, though it still answers: first it gets no new requests."""
    silent: bool = False
    """It must get no request, whatever it says of itself."""
    forced: tuple[Child, ...] = ()
    """Pods on nodes that do not answer: nobody there will ever say that they have ended."""
    cause: Cause | None = None
    look_after_seconds: float | None = None

    @property
    def failed_for_good(self) -> bool:
        """True if only a person, or another specification, brings it back."""
        return self.cause is not None and self.cause.reason is ConditionReason.GROUP_FAILED


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
    verdict = _on_bad_node(patient, former, known, now=now, faults=faults)
    if verdict is None:
        record, known = _counted(patient, former, known, now=now, rules=rules)
        record, known = _answered(patient, record, known, now=now, rules=rules)
        verdict = _paused(patient, record, now=now, rules=rules)
        verdict = _broken_up(patient, verdict, known, now=now, rules=rules)
        verdict = _partly_placed(patient, verdict, known, now=now, gpu=gpu, rules=rules)
        verdict = _let_back(patient, verdict, faults=faults)
        verdict = _on_silent_node(patient, verdict, faults=faults)
        verdict = replace(verdict, record=_signed(verdict.record, known))
    gone = verdict.down or not patient.there
    return replace(verdict, forced=tuple(pod for pod in forced if gone or pod.going))


def judge_leaving(patient: Patient, *, faults: NodeFaults) -> Verdict:
    """What becomes of a copy that is being drained: only its nodes matter still, and nothing of it is remembered."""
    forced = tuple(pod for pod in patient.pods if node_of(pod) in faults.lost)
    patient = patient.of_workload()
    verdict = _on_bad_node(patient, None, Counted(), now=0.0, faults=faults) or Verdict(record=None)
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
        return _record(patient, None, known), known
    if patient.workload is not None and known.workload != patient.workload.uid:
        # Made anew by ourselves.
        known = counted.of_new(patient, retry=retry)
    return former, known


def _on_bad_node(
    patient: Patient, former: CopyStatus | None, known: Counted, *, now: float, faults: NodeFaults
) -> Verdict | None:
    """It leaves a node that is lost, or a GPU of which is. That is no failure of its own."""
    reason, node, why = _bad_node(patient, faults) if patient.workload is not None else (None, "", "")
    if reason is None:
        return None
    left = None if former is None else former.evidence
    if left is None or (left.reason, left.node) != (reason.value, node):
        left = EvidenceStatus(pod="", node=node, reason=reason.value, message=why, at=format_time(now))
    taken = replace(known, state=counted.TAKEN)
    record = msgspec.structs.replace(_record(patient, former, taken), evidence=left)
    # What still answers is not cut off: it goes when its requests are done.
    answers = patient.answers and reason is ConditionReason.GPU_LOST
    return Verdict(
        record=record,
        down=patient.there and not answers,
        moves=patient.there and answers,
        silent=not answers,
        cause=Cause(reason=reason, message=f"copy {patient.name}: {why}; it is placed elsewhere"),
    )


def _bad_node(patient: Patient, faults: NodeFaults) -> tuple[ConditionReason | None, str, str]:
    for node in sorted(patient.nodes):
        if node in faults.lost:
            return ConditionReason.NODE_LOST, node, faults.lost[node]
        if node in faults.broken:
            return ConditionReason.GPU_LOST, node, faults.broken[node]
        asked = sum(devices_of(pod) for pod in patient.living if node_of(pod) == node)
        # A copy that answers computes on GPUs that work, unless it has more of them than are left.
        ails = asked > 0 and any(evidence.endings(pod.manifest) for pod in patient.living) and not patient.answers
        if node in faults.short and (asked > faults.short[node] or ails):
            why = f"node {node} offers {faults.short[node]} of its GPUs, fewer than it has"
            return ConditionReason.GPU_LOST, node, why
    return None, "", ""


def _counted(
    patient: Patient, former: CopyStatus | None, known: Counted, *, now: float, rules: HealingRules
) -> tuple[CopyStatus | None, Counted]:
    """One failure more, if its pods show one that was not counted yet."""
    failed, known = counted.count(patient, known)
    if not failed:
        return former, known
    base = _record(patient, former, known)
    failures = base.failures + 1
    over = failures >= rules.budget
    record = msgspec.structs.replace(
        base,
        failures=failures,
        failed_at=format_time(now),
        retry_at="" if over else format_time(now + pause_seconds(failures, rules=rules)),
        evidence=evidence.left_by(pod.manifest for pod in patient.pods) or base.evidence,
    )
    return record, known


def _answered(
    patient: Patient, record: CopyStatus | None, known: Counted, *, now: float, rules: HealingRules
) -> tuple[CopyStatus | None, Counted]:
    """Of one that answers: in time nothing of its failures is remembered, and of a group always which pods it is."""
    if not patient.answers or patient.leader is None or counted.is_broken(patient, known):
        return record, known
    known = counted.answered(patient, known)
    since = ready_since(patient.leader)
    failed_at = parse_time(record.failed_at) if record is not None and record.failed_at else 0.0
    steady = since is not None and now - max(since, failed_at) >= rules.forget_seconds
    if steady or record is None:
        # A pod alone that never failed is found again by itself: nothing need be written of it.
        plain = not patient.grouped and not known.ends
        return None if plain else _record(patient, None, known), known
    return record, known


def _paused(patient: Patient, record: CopyStatus | None, *, now: float, rules: HealingRules) -> Verdict:
    """It is held back while its pause lasts, and for good once its budget is spent."""
    if record is None:
        return Verdict(record=None)
    if record.failures and not record.retry_at:
        cause = Cause(reason=ConditionReason.GROUP_FAILED, message=_told(record, "is not started again"))
        return Verdict(record=record, held=True, down=patient.there, silent=True, cause=cause)
    wait = parse_time(record.retry_at) - now if record.retry_at else 0.0
    if wait <= 0 and _is_forsaken(patient, record, waited=-wait, rules=rules):
        return Verdict(record=None)
    if wait <= 0:
        return Verdict(record=record, cause=_moved(patient, record))
    reason = _reason_of(record) if _gave_way(record) else ConditionReason.RESTART_DELAYED
    cause = Cause(reason=reason, message=_told(record, f"is tried again at {record.retry_at}"))
    look = max(1.0, wait)
    return Verdict(record=record, held=True, down=patient.there, silent=True, cause=cause, look_after_seconds=look)


def _is_forsaken(patient: Patient, record: CopyStatus, *, waited: float, rules: HealingRules) -> bool:
    """True if it might be there and is not: nobody wants it any more."""
    gone = patient.workload is None and not patient.pods
    return gone and (not record.retry_at or waited >= rules.longest_pause_seconds)


def _moved(patient: Patient, record: CopyStatus) -> Cause | None:
    """Why it is being placed anew, until it answers again."""
    moved = _reason_of(record) in (ConditionReason.NODE_LOST, ConditionReason.GPU_LOST)
    if patient.answers or not moved:
        return None
    return Cause(reason=_reason_of(record), message=_told(record, "is placed elsewhere"))


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
        return _look(verdict, due if due > 0 else rules.recreate_seconds)
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
        return _look(verdict, due)
    record = verdict.record or _record(patient, None, known)
    left = evidence.of_placement((pod.manifest for pod in patient.living), gpu=gpu)
    yielded = record.yielded + 1
    wait = _yield_seconds(patient.name, yielded, rules=rules)
    until = format_time(now + wait)
    record = msgspec.structs.replace(record, yielded=yielded, failed_at=format_time(now), retry_at=until, evidence=left)
    often = f"gave its devices back, as only {len(holds)} of {patient.size} pods found a node, and is tried again"
    cause = Cause(reason=_reason_of(record), message=_told(record, f"{often} at {until}"))
    return Verdict(
        record=record, held=True, down=patient.there, silent=True, cause=cause, look_after_seconds=max(1.0, wait)
    )


def _let_back(patient: Patient, verdict: Verdict, *, faults: NodeFaults) -> Verdict:
    """One that finds no node, and keeps off one that is sound again, is made anew without that."""
    mended = set(patient.avoids) - set(faults.avoided)
    waits = any(unplaced(pod) is not None for pod in patient.living) and not patient.nodes
    if verdict.held or not mended or not waits or faults.distrusted:
        return verdict
    return replace(verdict, down=patient.there)


def _on_silent_node(patient: Patient, verdict: Verdict, *, faults: NodeFaults) -> Verdict:
    """A node that will soon count as lost is looked at again then; one that is not believed to be lost is told of."""
    waits = [faults.waiting[node] for node in patient.nodes if node in faults.waiting]
    verdict = _look(verdict, min(waits)) if waits else verdict
    doubted = sorted(patient.nodes & faults.doubted)
    if not doubted or verdict.cause is not None:
        return verdict
    text = f"copy {patient.name}: node {doubted[0]} does not answer; {faults.distrusted}"
    return replace(verdict, cause=Cause(reason=ConditionReason.NODE_LOST, message=text))


def _placed(verdict: Verdict, *, complete: bool) -> Verdict:
    """Once all its pods have nodes, how often they had not is forgotten."""
    if verdict.record is None or not verdict.record.yielded or not complete:
        return verdict
    return replace(verdict, record=msgspec.structs.replace(verdict.record, yielded=0, evidence=None))


def _yield_seconds(name: str, yielded: int, *, rules: HealingRules) -> float:
    """Twice as long each time, and apart from others that gave way at the same moment, by their names."""
    apart = 1.0 + int(counted.digest([name]), 16) % 1000 / 1000
    return min(rules.longest_pause_seconds, rules.first_pause_seconds * 2.0 ** min(yielded, 32)) * apart


def _record(patient: Patient, former: CopyStatus | None, known: Counted) -> CopyStatus:
    base = former or CopyStatus(name=patient.name, revision=patient.revision, failures=0, failed_at="")
    return msgspec.structs.replace(base, seen=known.text())


def _signed(record: CopyStatus | None, known: Counted) -> CopyStatus | None:
    return None if record is None else msgspec.structs.replace(record, seen=known.text())


def _told(record: CopyStatus, ahead: str) -> str:
    """What a person reads: how often, what it left, and what comes."""
    often = f"has failed {record.failures} times in a row and " if record.failures else ""
    text, left = f"copy {record.name} {often}{ahead}", record.evidence
    if left is None:
        return text
    where = f"container {left.container} of pod {left.pod} on {left.node or 'no node'}: " if left.container else ""
    return f"{text}; {where}{left.reason}: {left.message}"


def _gave_way(record: CopyStatus) -> bool:
    return record.yielded > 0 and record.evidence is not None and not record.evidence.container


def _reason_of(record: CopyStatus) -> ConditionReason:
    reason = "" if record.evidence is None else record.evidence.reason
    known = {item.value: item for item in ConditionReason}
    return known.get(reason, ConditionReason.PODS_PENDING)


def _look(verdict: Verdict, seconds: float) -> Verdict:
    soon, current = max(1.0, seconds), verdict.look_after_seconds
    return replace(verdict, look_after_seconds=soon if current is None else min(current, soon))
