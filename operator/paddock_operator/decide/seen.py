"""The copies of a round, and what was found of each: healing, drains, and what may not be used any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paddock_core.resources import names

from paddock_operator.decide import copies as copies_of
from paddock_operator.decide import drains, healing, license  # noqa: A004
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.draining import Drain
from paddock_operator.decide.outcome import Config
from paddock_operator.decide.patients import Patient
from paddock_operator.decide.quota import Judgement as Quota
from paddock_operator.decide.revisions import Revision
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.manifests.placement import VOLCANO
from paddock_operator.observed import Observed
from paddock_operator.ports import Manifest

UNKNOWN_MODEL = "nobody knows which model it runs"


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
    taken_back: str = ""
    """Why what differs is not tried again."""
    denied: Mapping[str, str] = field(default_factory=dict)
    """Models that the specification names and that may not be used, and why."""
    unmet: bool = False
    """True where the target answers a former wish, since the present one cannot come true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The copies of a round, and what was found of each."""

    copies: tuple[Copy, ...]
    verdicts: Mapping[str, Verdict]
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


def seen_of(observed: Observed, config: Config, course: Course) -> Seen:
    """What there is, judged."""
    found = copies_of.of(observed, namespace=course.namespace, gpu=course.target.facts.plan.resource)
    denied = denied_models(observed, {name: item.facts.model for name, item in course.known.items()}, course.denied)
    if course.denied:
        # One of which nobody knows what it runs may run just that.
        denied |= {copy.revision: UNKNOWN_MODEL for copy in found if copy.revision not in course.known}
    draining = [copy for copy in found if copy.draining and not copy.going]
    return Seen(
        copies=found,
        verdicts=_healed(observed, config, course, found),
        denied=denied,
        drains={copy.name: drains.judge(observed, config, copy) for copy in draining},
    )


def _healed(observed: Observed, config: Config, course: Course, found: Sequence[Copy]) -> dict[str, Verdict]:
    """What becomes of each copy, and of those that were taken down and are to come back."""
    records = {record.name: record for record in observed.live.status.copies}
    retry = str((observed.metadata.get("annotations") or {}).get(names.RETRY, ""))
    gang = observed.live.spec.placement.scheduler_name == VOLCANO or observed.live.spec.placement.queue is not None
    patients = [_patient(observed, copy, gang=gang) for copy in found if not copy.draining]
    leaving = [_patient(observed, copy, gang=gang) for copy in found if copy.draining]
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


def _patient(observed: Observed, copy: Copy, *, gang: bool) -> Patient:
    return Patient(
        name=copy.name,
        revision=copy.revision,
        size=copy.size,
        workload=copy.workload,
        pods=(*copy.pods, *copy.leaving),
        # One that is ready and was not asked yet is not cut off for that.
        answers=copy.answering is not False,
        unasked=copy.answering is None,
        silent=observed.silent,
        problems=observed.probes,
        avoids=copy.avoids,
        gang=gang,
    )


def denied_models(
    observed: Observed, models: Mapping[str, str], denied: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Of revisions, by name with their models, those whose model may no longer be used, and why. `denied`: models of
    which that is known."""
    known = denied or {}
    found = {name: known.get(model) or license.denied_former(observed, model) for name, model in models.items()}
    return {name: why for name, why in found.items() if why is not None}
