"""The agreement binds only an entity that accepted it: an active record, of the very words that are in force."""

from paddock_core.licensing.case import CLOCK_SKEW_SECONDS, COVERING, PASSED, Case, Verdict
from paddock_core.licensing.grants import granted
from paddock_core.licensing.types import Reason, Role, Verb
from paddock_core.policy.documents import Acceptance

TYPES = ("acceptance",)

_DAY_SECONDS = 86_400.0
_PERMITTED: dict[Role, tuple[Verb, ...]] = {
    Role.CONSUMER: (Verb.INVOKE, Verb.DISTILL),
    Role.END_USER: (Verb.INVOKE,),
}
"""Who gets outputs alone can do nothing with the materials themselves: for that an entity accepts as deployer."""


def check(case: Case) -> Verdict:
    """Terminated and suspended records weigh more than active ones; revoked ones do not count at all."""
    if case.verb not in _PERMITTED.get(case.role, (case.verb,)):
        return _beyond_role(case)
    if case.role is Role.END_USER:
        return PASSED
    ended = _ended(case)
    if ended is not None:
        return ended
    standing = [item for item in case.acceptances() if item.state in ("active", "stale")]
    waiting = [item for item in case.acceptances() if item.state == "pending_grant"]
    until = None
    if not standing and waiting:
        grant = granted(case, why=f"{case.entity.id} accepted and stated more users than {case.license.title} permits")
        if not grant.allowed:
            return grant
        standing, until = waiting, grant.until
    if not standing:
        return _missing(case)
    current = [item for item in standing if item.state != "stale" and not _outdated(case, item)]
    if current:
        return Verdict(acceptances=(_best(case, current).id,), until=until)
    return _in_grace(case, standing, until)


def _best(case: Case, valid: list[Acceptance]) -> Acceptance:
    """The acceptance that stands in the ledger: of the role itself before a wider one, then the newest."""
    order = {role.value: rank for rank, role in enumerate(COVERING[case.role])}
    return min(valid, key=lambda item: (order[item.role], -item.at, item.id))


def _beyond_role(case: Case) -> Verdict:
    words = case.role.value.replace("_", " ")
    return Verdict(
        reason=Reason.ACCEPTANCE_MISSING,
        message=f"as {words}, {case.entity.id} may only {' or '.join(_PERMITTED[case.role])}; "
        f"to {case.verb.value} it must accept {case.license.title} as deployer",
    )


def _ended(case: Case) -> Verdict | None:
    """A termination ends the agreement with the entity, whatever the role; a suspension ends what the record covers."""
    known = case.index.acceptances(case.entity.id, case.license.id)
    if any(item.state == "terminated" for item in known):
        return Verdict(
            reason=Reason.TERMINATED,
            message=f"the license {case.license.title} of {case.entity.id} was terminated: stop use, ask the licensor",
        )
    if any(item.state == "suspended" for item in case.acceptances()):
        return Verdict(
            reason=Reason.SUSPENDED,
            message=f"the acceptance of {case.license.title} by {case.entity.id} is suspended: ask the platform team",
        )
    return None


def _missing(case: Case) -> Verdict:
    if any(item.state == "stale" for item in case.acceptances()):
        return _stale(case)
    later = [
        item.at - CLOCK_SKEW_SECONDS
        for item in case.index.acceptances(case.entity.id, case.license.id)
        if item.state == "active" and item.at > case.request.at + CLOCK_SKEW_SECONDS
    ]
    return Verdict(
        reason=Reason.ACCEPTANCE_MISSING,
        message=f"{case.entity.id} has not accepted {case.license.title} as {case.role.value}: "
        f"create an offer with {case.offer_command()}",
        until=min(later, default=None),
    )


def _outdated(case: Case, item: Acceptance) -> list[str]:
    """Roles of the texts of which the entity accepted other words than those in force.

    A policy that is not on record with an acceptance is not held against it.
    """
    accepted = {"agreement": item.canonical, **({"aup": item.aup} if item.aup else {})}
    return [
        pin.role
        for pin in case.license.texts
        if pin.role in accepted
        and accepted[pin.role].removeprefix("sha256:") not in (pin.canonical, *pin.equivalent_to)
    ]


def _in_grace(case: Case, standing: list[Acceptance], until: float | None) -> Verdict:
    """An acceptance of older words holds for a while after newer ones were imported, and never by assumption."""
    held = [item for item in standing if case.request.at < _grace_ends(case, item)]
    if not held:
        return _stale(case)
    best = _best(case, held)
    # Where one id has two records, that which holds no longer counts.
    end = min(_grace_ends(case, item) for item in held if item.id == best.id)
    end = end if until is None else min(end, until)
    warning = f"the words of {case.license.title} changed since {case.entity.id} accepted: accept again with "
    return Verdict(acceptances=(best.id,), until=end, warning=warning + case.offer_command())


def _grace_ends(case: Case, item: Acceptance) -> float:
    """When (Unix seconds) an outdated acceptance stops holding; 0 where no import after it is on record."""
    ends = []
    for role in _outdated(case, item):
        text = case.index.texts.get((case.license.id, role))
        known = text is not None and text.at is not None and item.at < text.at
        ends.append(text.at + case.index.policy.grace_days * _DAY_SECONDS if known and text and text.at else 0.0)
    return min(ends, default=0.0)


def _stale(case: Case) -> Verdict:
    return Verdict(
        reason=Reason.ACCEPTANCE_STALE,
        message=f"{case.entity.id} accepted other words of {case.license.title} than those in force: "
        f"accept again with {case.offer_command()}",
    )
