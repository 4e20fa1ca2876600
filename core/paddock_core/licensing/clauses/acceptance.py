"""The agreement binds only an entity that accepted it: an active record, of the very text that is in force."""

from paddock_core.licensing.case import CLOCK_SKEW_SECONDS, COVERING, PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Role, Verb
from paddock_core.policy.documents import Acceptance

TYPES = ("acceptance",)


def check(case: Case) -> Verdict:
    """Terminated and suspended records weigh more than active ones; revoked ones do not count at all."""
    if case.role is Role.END_USER:
        return _end_user(case)
    ended = _ended(case)
    if ended is not None:
        return ended
    active = [item for item in case.acceptances() if item.state == "active"]
    if not active:
        return _waiting(case) or _missing(case)
    current = _words_in_force(case)
    valid = [item for item in active if _hex(item.canonical) in current]
    if not valid:
        return Verdict(
            reason=Reason.ACCEPTANCE_STALE,
            message=f"{case.entity.id} accepted another text of {case.license.title} than the one in force: "
            f"accept again with {case.offer_command()}",
        )
    return Verdict(acceptances=(_best(case, valid).id,))


def _best(case: Case, valid: list[Acceptance]) -> Acceptance:
    """The acceptance that stands in the ledger: of the role itself before a wider one, then the newest."""
    order = {role.value: rank for rank, role in enumerate(COVERING[case.role])}
    return min(valid, key=lambda item: (order[item.role], -item.at, item.id))


def _end_user(case: Case) -> Verdict:
    if case.verb is Verb.INVOKE:
        return PASSED
    return Verdict(
        reason=Reason.ACCEPTANCE_MISSING,
        message=f"an end user may only invoke; to {case.verb.value}, {case.entity.id} must accept as deployer",
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


def _waiting(case: Case) -> Verdict | None:
    """Above the threshold an acceptance waits for the vendor's grant, and nothing is permitted until then."""
    if not any(item.state == "pending_grant" for item in case.acceptances()):
        return None
    return Verdict(
        reason=Reason.THRESHOLD_GRANT_REQUIRED,
        message=f"{case.entity.id} accepted {case.license.title} and stated more users than it permits: nothing is "
        f"permitted until a grant of {case.license.licensor} is recorded",
    )


def _missing(case: Case) -> Verdict:
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


def _words_in_force(case: Case) -> set[str]:
    pin = case.license.text("agreement")
    return set() if pin is None else {pin.canonical, *pin.equivalent_to}


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
