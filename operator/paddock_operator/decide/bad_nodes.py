"""Copies on nodes that are lost or have lost a GPU: which of them leave, and when one is let back."""

from collections.abc import Iterable

from msgspec.structs import replace
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import CopyStatus, EvidenceStatus

from paddock_operator.decide import counted, evidence
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.counted import Counted
from paddock_operator.decide.node_faults import LAST_CHOICE, NodeFaults
from paddock_operator.decide.patients import Patient, devices_of, node_of
from paddock_operator.decide.patients import unplaced_since as unplaced
from paddock_operator.decide.verdicts import Verdict, looked_at, reason_of, record_of, told_of
from paddock_operator.times import format_time


def on_bad_node(
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
    record = replace(record_of(patient, former, taken), evidence=left)
    # What still answers is not cut off: it goes once another answers in its place, and its requests are done.
    answers = patient.answers and reason is ConditionReason.GPU_LOST
    return Verdict(
        record=record,
        down=patient.there and not answers,
        moves=patient.there and answers,
        silent=not answers,
        cause=Cause(reason=reason, message=f"copy {patient.name}: {why}; it is to be placed elsewhere"),
    )


def _bad_node(patient: Patient, faults: NodeFaults) -> tuple[ConditionReason | None, str, str]:
    for node in sorted(patient.nodes):
        if node in faults.lost:
            return ConditionReason.NODE_LOST, node, faults.lost[node]
        if node in faults.broken:
            return ConditionReason.GPU_LOST, node, faults.broken[node]
        asked = sum(devices_of(pod) for pod in patient.holding if node_of(pod) == node)
        # A copy that answers computes on GPUs that work, unless it has more of them than are left.
        ails = asked > 0 and any(evidence.endings(pod.manifest) for pod in patient.living) and not patient.answers
        # Where none is offered at all, one that answers shows that this is not so of its own.
        if node in faults.short and (asked > faults.short[node] > 0 or ails):
            why = f"node {node} offers {faults.short[node] or 'none'} of its GPUs, fewer than it has"
            return ConditionReason.GPU_LOST, node, why
    return None, "", ""


def avoided(faults: NodeFaults, records: Iterable[CopyStatus | None]) -> tuple[str, ...]:
    """Nodes that a new copy keeps off, as `NodeFaults.avoided`. Those that refused a pod of the deployment lately are
    its last choice: whether they would refuse the next one too is not known."""
    found = (counted.parse(record.seen) for record in records if record is not None)
    refusing = {node for known in found if known is not None for node in known.refusing}
    last = {f"{LAST_CHOICE}{node}" for node in refusing - {*faults.broken}}
    return (*faults.avoided, *sorted(last - {*faults.avoided}))


def has_left(record: CopyStatus) -> bool:
    """True if a node was what was wrong with it last."""
    return reason_of(record) in (ConditionReason.NODE_LOST, ConditionReason.GPU_LOST)


def moved(patient: Patient, record: CopyStatus) -> Cause | None:
    """Why it is being placed anew, until it answers again."""
    if patient.answers or not has_left(record):
        return None
    ahead = "is to be placed elsewhere" if patient.workload is None else "is placed elsewhere"
    return Cause(reason=reason_of(record), message=told_of(record, ahead))


def let_back(patient: Patient, verdict: Verdict, *, faults: NodeFaults) -> Verdict:
    """One that finds no node, and keeps off one that is sound again, is made anew without that."""
    kept_off = {node for node in patient.avoids if not node.startswith(LAST_CHOICE)}
    mended = kept_off - set(faults.broken)
    waits = any(unplaced(pod) is not None for pod in patient.living) and not patient.nodes
    if not mended or not waits or faults.distrusted:
        return verdict
    return replace(verdict, down=patient.there)


def on_silent_node(patient: Patient, verdict: Verdict, *, faults: NodeFaults) -> Verdict:
    """A node that will soon count as lost is looked at again then; one that is not believed to be lost is told of."""
    waits = [faults.waiting[node] for node in patient.nodes if node in faults.waiting]
    verdict = looked_at(verdict, min(waits)) if waits else verdict
    if verdict.cause is not None:
        return verdict
    for node in sorted(patient.nodes & faults.doubted):
        text = f"copy {patient.name}: node {node} does not answer; {faults.distrusted}"
        return replace(verdict, cause=Cause(reason=ConditionReason.NODES_DOUBTED, message=text))
    for node in sorted(patient.nodes & faults.doubted_gpus if not patient.answers else ()):
        text = f"copy {patient.name}: node {node} seems to have lost a GPU; {faults.distrusted}"
        return replace(verdict, cause=Cause(reason=ConditionReason.NODES_DOUBTED, message=text))
    return verdict
