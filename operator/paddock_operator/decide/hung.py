"""Copies whose leader is ready and generates nothing: engines that hang, which no probe of a kubelet sees.

For how long each is silent is memory of the process (`Observed.silent`): a restart of the operator counts anew. That
one was counted is in its record, and it is taken down by that alone, so in the round after the one that wrote it: a
crash between the two neither loses the failure nor counts it twice.
"""

from msgspec.structs import replace
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import CopyStatus, EvidenceStatus

from paddock_operator.decide import causes, counted, evidence
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.counted import Counted
from paddock_operator.decide.node_faults import NodeFaults
from paddock_operator.decide.patients import Patient, held_ready, node_of
from paddock_operator.decide.verdicts import Verdict, looked_at, reason_of, told_of
from paddock_operator.times import format_time


def left_by(
    patient: Patient, known: Counted, *, now: float, after_seconds: float, faults: NodeFaults
) -> EvidenceStatus | None:
    """What is to be counted of one that hangs; None where it does not, was counted, or something else is wrong."""
    leader, silent = patient.leader, _silent_seconds(patient)
    if leader is None or silent is None or silent < after_seconds or known.state == counted.HUNG:
        return None
    # Of a node that is not heard of nobody knows whether the copy or the way to it is silent.
    unheard = patient.nodes & (set(faults.doubted) | set(faults.waiting))
    ended = any(evidence.is_excused(pod.manifest) for pod in patient.present())
    if unheard or ended or counted.is_broken(patient, known):
        return None
    words = patient.problems.get(leader.uid) or "no answer"
    text = f"{causes.placed(leader.manifest)} is ready and has generated nothing for {silent:.0f} s: {words}"
    return EvidenceStatus(
        pod=leader.name,
        node=node_of(leader),
        reason=ConditionReason.ENGINE_HUNG.value,
        message=text[: evidence.MAX_WORDS],
        at=format_time(now),
    )


def taken_down(patient: Patient, verdict: Verdict, known: Counted, *, told: bool) -> Verdict:
    """One that hangs gets no request, and goes once its record says that it was counted (`told`)."""
    if known.state != counted.HUNG:
        return verdict
    verdict = replace(verdict, silent=True, down=told and patient.there)
    return verdict if told else looked_at(verdict, 0.0)


def made_anew(patient: Patient, record: CopyStatus) -> Cause | None:
    """Why it is made anew, until it answers again."""
    if patient.answers or reason_of(record) is not ConditionReason.ENGINE_HUNG:
        return None
    return Cause(reason=ConditionReason.ENGINE_HUNG, message=told_of(record, "is made anew"))


def _silent_seconds(patient: Patient) -> float | None:
    """For how long it has been asked in vain; None while it loads, answers, or nothing is known."""
    leader = patient.leader
    if leader is None or not patient.there or patient.answers or not held_ready(leader):
        return None
    return patient.silent.get(leader.uid)
