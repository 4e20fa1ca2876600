"""What was counted of a copy's pods, so that looking twice counts once: `seen` of its status, made and read here alone.

A failure is an end of a container in a pod that nobody else ended, a group that its controller made anew, or pods that
their node refused. What only starts slowly (a pull), and what was drained, evicted or shut down with its node, is none.
"""

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from paddock_operator.decide import evidence
from paddock_operator.decide.patients import Patient, node_of

_NONE = "-"
_FIELDS = 6
FAILED, REFUSED, TAKEN = "failed", "refused", "taken"
HUNG = "hung"
"""It was silent for too long: it goes, and no end of it is another failure."""
MAX_REFUSING = 8
"""Nodes that are remembered as those that refused a pod: the last ones."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What a record was written by. Empty fields: not known, or none."""

    workload: str = ""
    """Uid of the object that makes its pods: another one is our own doing, and no failure."""
    leader: str = ""
    """Uid of the pod that answers."""
    ends: int = 0
    """Ends of containers that were counted, of all its pods while this leader is there."""
    workers: str = ""
    """Digest of the workers that it answered with; empty while it has not."""
    state: str = ""
    """FAILED since it last answered; TAKEN: somebody else ends its pods, and no end of them is a failure; REFUSED: so
    were pods of this workload, which is to go."""
    retry: str = ""
    """Digest of what a person had last asked for a new try with."""
    refusing: tuple[str, ...] = ()
    """Nodes that refused a pod of it since it last answered for long enough."""

    def text(self) -> str:
        """As one line of six words, or of one more where nodes have refused it: versions before that rule read six."""
        words = [self.workload, self.leader, str(self.ends), self.workers, self.state, self.retry]
        words += [",".join(self.refusing)] if self.refusing else []
        return " ".join(word or _NONE for word in words)


def parse(text: str) -> Counted | None:
    """Taken apart; None where another version wrote it, so that it says nothing."""
    words = ["" if word == _NONE else word for word in text.split(" ")]
    if len(words) not in (_FIELDS, _FIELDS + 1) or not words[2].isdigit():
        return None
    workload, leader, ends, workers, state, retry = words[:_FIELDS]
    return Counted(
        workload=workload,
        leader=leader,
        ends=int(ends),
        workers=workers,
        state=state,
        retry=retry,
        refusing=tuple(node for text in words[_FIELDS:] for node in text.split(",") if node),
    )


def afresh(patient: Patient, *, retry: str) -> Counted:
    """Where what its pods show now counts for nothing."""
    return Counted(workload=_workload(patient), ends=_ends(patient), retry=retry)


def of_new(patient: Patient, *, retry: str, refusing: tuple[str, ...] = ()) -> Counted:
    """Where nothing of it was counted yet."""
    return Counted(workload=_workload(patient), retry=retry, refusing=refusing)


def count(patient: Patient, known: Counted) -> tuple[bool, Counted]:
    """Whether it has failed once more, and what is counted now."""
    if not patient.there:
        return False, known
    leader = patient.leader
    if patient.refused:
        return known.state != REFUSED, replace(known, state=REFUSED, refusing=_refusing(patient, known))
    if leader is not None and known.leader and leader.uid != known.leader:
        return _anew(patient, known, leader=leader.uid)
    if known.state == REFUSED and not patient.grouped:
        # A node has taken it up: what it is refused for from now on is another failure.
        known = replace(known, state="")
    known = known if leader is None else replace(known, leader=leader.uid)
    ends = _ends(patient)
    if any(evidence.is_excused(pod.manifest) for pod in patient.present()):
        return False, replace(known, state=TAKEN)
    # A group that has answered fails once: whatever else its pods end of follows from that.
    over = known.state in (REFUSED, TAKEN, HUNG) or (known.state == FAILED and known.workers)
    failed = ends > known.ends and not over
    return failed, replace(known, ends=max(ends, known.ends), state=FAILED if failed else known.state)


def answered(patient: Patient, known: Counted) -> Counted:
    """What is remembered of one that answers and is not broken: that it has not failed since, and of a group which pods
    it is."""
    return known if known.state == TAKEN else replace(known, workers=_workers(patient), state="")


def hung(known: Counted) -> Counted:
    """What is remembered of one that hangs, until it is another one or answers again."""
    return replace(known, state=HUNG)


def is_broken(patient: Patient, known: Counted) -> bool:
    """True if a group that has answered computes no more: a part of it has ended, or is another pod now, and its leader
    is still the former one."""
    same = patient.leader is not None and patient.leader.uid == known.leader
    ended = known.state not in ("", HUNG)
    return same and bool(known.workers) and (ended or known.workers != _workers(patient))


def digest(words: Iterable[str]) -> str:
    """A short digest of some words, whatever their order; empty for none."""
    found = sorted(word for word in words if word)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:12] if found else ""


def _anew(patient: Patient, known: Counted, *, leader: str) -> tuple[bool, Counted]:
    """Another pod answers for it. A pod alone is only replaced by somebody else; a group also for what it ended of."""
    ends = _ends(patient)
    unexplained = patient.grouped and known.state == ""
    failed = unexplained or ends > 0
    fresh = replace(known, leader=leader, ends=ends, workers="", state=FAILED if ends else "")
    return failed, fresh


def _refusing(patient: Patient, known: Counted) -> tuple[str, ...]:
    """The nodes that refused it, this time's last."""
    nodes = sorted({node for pod in patient.refused if (node := node_of(pod))})
    return (*(node for node in known.refusing if node not in nodes), *nodes)[-MAX_REFUSING:]


def _ends(patient: Patient) -> int:
    return sum(evidence.endings(pod.manifest) for pod in patient.present())


def _workers(patient: Patient) -> str:
    """A digest of the workers of a group; empty for a copy of one pod, which has none."""
    return digest(pod.uid for pod in patient.workers)


def _workload(patient: Patient) -> str:
    return "" if patient.workload is None else patient.workload.uid
