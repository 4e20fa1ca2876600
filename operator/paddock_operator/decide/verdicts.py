"""What becomes of a copy, and the record that is kept of it in the status."""

import msgspec
from msgspec.structs import replace
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import CopyStatus

from paddock_operator.decide.causes import Cause
from paddock_operator.decide.counted import Counted
from paddock_operator.decide.patients import Patient
from paddock_operator.observed import Child


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
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
    """Pods on nodes that do not answer: nobody there will ever say that they have ended. Also refused ones that another
    stands in for: nobody else deletes them."""
    cause: Cause | None = None
    look_after_seconds: float | None = None

    @property
    def failed_for_good(self) -> bool:
        """True if only a person, or another specification, brings it back."""
        return self.cause is not None and self.cause.reason is ConditionReason.GROUP_FAILED


def record_of(patient: Patient, former: CopyStatus | None, known: Counted) -> CopyStatus:
    base = former or CopyStatus(name=patient.name, revision=patient.revision, failures=0, failed_at="")
    return replace(base, seen=known.text())


def signed(record: CopyStatus | None, known: Counted) -> CopyStatus | None:
    return None if record is None else replace(record, seen=known.text())


def told_of(record: CopyStatus, ahead: str) -> str:
    """What a person reads: how often, what it left, and what comes."""
    often = f"has failed {record.failures} times in a row and " if record.failures else ""
    text, left = f"copy {record.name} {often}{ahead}", record.evidence
    if left is None:
        return text
    where = f"container {left.container} of pod {left.pod} on {left.node}: " if left.container else ""
    return f"{text}; {where}{left.reason}: {left.message}"


def gave_way(record: CopyStatus) -> bool:
    return record.yielded > 0 and record.evidence is not None and not record.evidence.container


def reason_of(record: CopyStatus) -> ConditionReason:
    reason = "" if record.evidence is None else record.evidence.reason
    known = {item.value: item for item in ConditionReason}
    return known.get(reason, ConditionReason.PODS_PENDING)


def looked_at(verdict: Verdict, seconds: float) -> Verdict:
    soon, current = max(1.0, seconds), verdict.look_after_seconds
    return replace(verdict, look_after_seconds=soon if current is None else min(current, soon))
