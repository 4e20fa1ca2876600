"""The one license decision: `decide(request, facts, catalog) -> Decision`. Deny is the default.

The control plane, the operator's webhook and loop, and the gateway all call this function on their copy of the facts.
Order: is the model known; does it have the license that the tenant names; are the texts imported; may the platform's
own entity do it; may the asking entity. Every clause is judged, so that a denial that nobody can mend is told before
one that an acceptance would mend, and the answer's life is that of its shortest-lived part.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import Clause, LicenseEntry, ModelEntry
from paddock_core.licensing.case import Case, Verdict
from paddock_core.licensing.clauses import CHECKS
from paddock_core.licensing.index import FactsIndex, index_of
from paddock_core.licensing.lineage import Lineage, LineageError, sources, trace
from paddock_core.licensing.types import Decision, Facts, Reason, Request, Role
from paddock_core.policy.documents import Entity

_Finding = tuple[str, Verdict]
"""`<license>#<clause>`, or the license alone, and what it says."""

_MATERIALS = ("materials",)
"""What a clause follows that does not say: the model itself and what is made from it, not from its outputs."""

_OPERATOR_LACKS = frozenset(
    {
        Reason.ACCEPTANCE_MISSING,
        Reason.ACCEPTANCE_STALE,
        Reason.THRESHOLD_STATEMENT_MISSING,
        Reason.THRESHOLD_GRANT_REQUIRED,
        Reason.GRANT_EXPIRED,
        Reason.FLOW_DOWN_MISSING,
        Reason.SUSPENDED,
        Reason.TERMINATED,
    }
)
"""Denials of the platform's own entity that a tenant sees as OperatorNotLicensed: only the platform can mend them."""


def decide(*, request: Request, facts: Facts, catalog: Catalog) -> Decision:
    """Whether `request.entity` may do `request.verb` with the model, why, and for how long that holds."""
    try:
        lineage = trace(model=request.model, registered=facts.models, catalog=catalog)
    except LineageError as error:
        return _denied(Reason.MODEL_UNKNOWN, str(error), clauses=("catalogue#model",))
    model = lineage.model
    if request.claimed_license is not None and request.claimed_license not in model.licenses:
        return _denied(
            Reason.LICENSE_MISMATCH,
            f"{model.title} is under {', '.join(model.licenses)}, not {request.claimed_license}: correct the license",
            clauses=model.licenses,
            mendable=False,
        )
    return _sum_up(list(_Decider(request, facts, catalog, lineage).findings()))


@dataclass(frozen=True, slots=True)
class _Decider:
    """One question with everything that it is judged on."""

    request: Request
    facts: Facts
    catalog: Catalog
    lineage: Lineage

    def findings(self) -> Iterator[_Finding]:
        """What everything that matters says, in the order in which denials are to be told."""
        for license_id in dict.fromkeys((*self.lineage.licenses, *self.lineage.output_licenses)):
            if license_id not in self.catalog.licenses:
                message = f"no license {license_id} in the catalogue"
                yield license_id, Verdict(reason=Reason.LICENSE_UNKNOWN, message=message)
        for entry in self._licenses(self.lineage.licenses):
            yield from _texts(entry, index_of(self.facts))
        yield from self._operator()
        if self.request.role is not Role.OPERATOR:
            yield from self._asker()

    def _licenses(self, names: tuple[str, ...]) -> list[LicenseEntry]:
        return [self.catalog.licenses[name] for name in names if name in self.catalog.licenses]

    def _operator(self) -> Iterator[_Finding]:
        """The platform copies and runs the model, so its own entity needs every right first."""
        request, operator = self.request, self.facts.entities.get(self.facts.operator)
        if operator is None or (request.role is Role.OPERATOR and request.entity != operator.id):
            missing = (
                "no entity is registered as the operator"
                if operator is None
                else f"{request.entity} is not the operator"
            )
            message = f"{missing}: register it with `paddock entity create`, then accept as operator"
            yield self.lineage.licenses[0], Verdict(reason=Reason.OPERATOR_NOT_LICENSED, message=message)
            return
        for name, verdict in self._clauses(operator, Role.OPERATOR):
            if verdict.reason in _OPERATOR_LACKS:
                message = f"the platform's own entity is not licensed ({verdict.reason.value}): {verdict.message}"
                yield name, replace(verdict, reason=Reason.OPERATOR_NOT_LICENSED, message=message)
            elif request.role is Role.OPERATOR:
                yield name, verdict
            elif verdict.acceptances or verdict.warning:
                # Records on which the platform's part rests are its own business, not the asking entity's.
                yield name, replace(verdict, acceptances=(), warning="")
            else:
                yield name, verdict

    def _asker(self) -> Iterator[_Finding]:
        entity = self.facts.entities.get(self.request.entity)
        if entity is None:
            message = (
                f"no entity {self.request.entity or '(none named)'} is registered: the platform team registers it with "
                "`paddock entity create`, then it accepts"
            )
            yield self.lineage.licenses[0], Verdict(reason=Reason.ACCEPTANCE_MISSING, message=message)
            return
        yield from self._clauses(entity, self.request.role)

    def _clauses(self, entity: Entity, role: Role) -> Iterator[_Finding]:
        for source, names in sources(self.lineage):
            for entry in self._licenses(names):
                for clause in entry.clauses:
                    if _matches(clause, self.request, role, self.lineage.model, source):
                        yield f"{entry.id}#{clause.id}", self._judged(entity, role, source, entry, clause)

    def _judged(self, entity: Entity, role: Role, source: str, entry: LicenseEntry, clause: Clause) -> Verdict:
        check = CHECKS.get(clause.type)
        if check is None:
            return _unjudged(entry, clause)
        case = Case(
            request=self.request,
            entity=entity,
            role=role,
            model=self.lineage.model,
            license=entry,
            clause=clause,
            index=index_of(self.facts),
            lineage=self.lineage,
            source=source,
            students=self._students(),
        )
        return check(case)

    def _students(self) -> frozenset[str]:
        if self.request.student is None:
            return frozenset()
        try:
            return trace(model=self.request.student, registered=self.facts.models, catalog=self.catalog).families
        except LineageError:
            return frozenset()


def _texts(entry: LicenseEntry, index: FactsIndex) -> Iterator[_Finding]:
    """Nobody can agree to words that are not there: each pinned text must be imported, with the pinned words."""
    for pin in entry.texts:
        text = index.texts.get((entry.id, pin.role))
        if text is None or not pin.has(text.canonical):
            yield (
                entry.id,
                Verdict(
                    reason=Reason.TEXT_NOT_IMPORTED,
                    message=f"the {pin.role} text of {entry.title} is not imported: the platform team runs "
                    f"`paddock license import {entry.id} --agreement FILE{' --aup FILE' if entry.text('aup') else ''}`",
                ),
            )


def _matches(clause: Clause, request: Request, role: Role, model: ModelEntry, source: str) -> bool:
    """`inputs` says what a clause follows; `when` narrows it to verbs, roles and modalities, and to nothing else."""
    if source not in clause.params.get("inputs", _MATERIALS):
        return False
    when = clause.params.get("when")
    if not when:
        return True
    return (
        request.verb.value in when.get("verbs", (request.verb.value,))
        and role.value in when.get("roles", (role.value,))
        and not set(when.get("modality", model.modality)).isdisjoint(model.modality)
    )


def _unjudged(entry: LicenseEntry, clause: Clause) -> Verdict:
    return Verdict(
        reason=Reason.LICENSE_UNKNOWN,
        message=f"no judge for clauses of type {clause.type} ({entry.title}, {clause.id}): upgrade Paddock",
    )


def _sum_up(findings: list[_Finding]) -> Decision:
    until = min((verdict.until for _, verdict in findings if verdict.until is not None), default=None)
    denials = [finding for finding in findings if not finding[1].allowed]
    if denials:
        first = next((finding for finding in denials if not finding[1].mendable), denials[0])[1]
        return Decision(
            allowed=False,
            reason=first.reason,
            message=first.message,
            clauses=_unique(name for name, verdict in denials if verdict.reason is first.reason),
            valid_until=until,
            mendable=first.mendable,
        )
    return Decision(
        allowed=True,
        reason=Reason.ALLOWED,
        message="every clause is met",
        clauses=_unique(name for name, _ in findings),
        acceptances=_unique(item for _, verdict in findings for item in verdict.acceptances),
        valid_until=until,
        warnings=_unique(verdict.warning for _, verdict in findings if verdict.warning),
    )


def _denied(reason: Reason, message: str, *, clauses: tuple[str, ...], mendable: bool = True) -> Decision:
    return Decision(allowed=False, reason=reason, message=message, clauses=clauses, mendable=mendable)


def _unique(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
