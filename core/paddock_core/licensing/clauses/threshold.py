"""Above a number of monthly active users in one named month, nothing is permitted without the vendor's own grant.

The test is frozen: users in one calendar month before one date, of all products of the entity and its affiliates.
So it rests on a signed statement per license; what is counted later never changes it, unless the platform chose to be
more careful than the words (`conservative`): then users of today count too, and are stated again every year.
"""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.grants import granted
from paddock_core.licensing.types import Reason, Role
from paddock_core.policy.documents import LicensePolicy, Statement

TYPES = ("scale_threshold",)

_LICENSEES = (Role.OPERATOR.value, Role.DEPLOYER.value)
_AT_MOST = "le_700m"
_ABOVE = "gt_700m"
_BANDS = (_AT_MOST, _ABOVE)
_YEAR_SECONDS = 365 * 86_400.0


def bound_roles(*, params: dict[str, object], policy: LicensePolicy) -> tuple[str, ...]:
    """Roles of which a threshold clause asks a statement: the clause's own, else licensees, else consumers too."""
    named = params.get("roles")
    if isinstance(named, list):
        return tuple(str(role) for role in named)
    return (*_LICENSEES, Role.CONSUMER.value) if policy.consumers == "full" else _LICENSEES


def check(case: Case) -> Verdict:
    """Strictly greater than the threshold is above it; an affiliate above it catches the entity too."""
    roles = bound_roles(params=case.clause.params, policy=case.index.policy)
    if case.role.value not in roles or _exempt(case):
        return PASSED
    own = case.index.statement(case.entity.id, case.license.id)
    if own is None or own.band not in _BANDS or _aged(case, own):
        return _not_stated(case)
    if _above(case, case.entity.id) or _affiliate_above(case, own):
        window = case.clause.params.get("window", "the named month")
        why = (
            f"{case.entity.id} or an affiliate had more than {int(case.clause.params['value']):,} monthly active users "
            f"in {window}"
        )
        return granted(case, why=why)
    return PASSED if not _conservative(case) else Verdict(until=_stated_at(own) + _YEAR_SECONDS)


def _exempt(case: Case) -> bool:
    """Who receives the materials inside an integrated end-user product is outside the clause, where it says so."""
    exempt = case.clause.params.get("exempt", ())
    if "received_in_integrated_end_user_product" not in exempt or case.role is Role.OPERATOR:
        return False
    return case.entity.receives_integrated_product


def _conservative(case: Case) -> bool:
    return case.index.policy.threshold != "literal"


def _aged(case: Case, statement: Statement) -> bool:
    return _conservative(case) and case.request.at >= _stated_at(statement) + _YEAR_SECONDS


def _stated_at(statement: Statement) -> float:
    """A correction changes what was stated, not when: only the signatory states anew."""
    return statement.at if statement.stated_at is None else min(statement.at, statement.stated_at)


def _not_stated(case: Case) -> Verdict:
    return Verdict(
        reason=Reason.THRESHOLD_STATEMENT_MISSING,
        message=f"{case.entity.id} has not stated its monthly active users for {case.license.title} "
        f"({case.clause.params.get('window', 'the month that the license names')}"
        f"{', again every year' if _conservative(case) else ''}): state them with {case.offer_command()}",
    )


def _above(case: Case, entity: str) -> bool:
    """The named month does not change any more, so what was once stated above stands, whatever is stated later: only a
    grant, with its two reviewers, opens it. Of the users of today the newest statement tells."""
    stated = case.index.statements(entity, case.license.id)
    if any(item.band == _ABOVE or _exceeds(case, item.value) for item in stated):
        return True
    return _conservative(case) and bool(stated) and _exceeds(case, stated[0].current)


def _exceeds(case: Case, figure: int | None) -> bool:
    """A figure beside the band is checked against it: the worse of the two counts."""
    return figure is not None and figure > int(case.clause.params["value"])


def _affiliate_above(case: Case, own: Statement) -> bool:
    """Affiliates of today catch, and so do those of the month that counts, each with its own group."""
    named = {case.entity.id, *own.affiliates}
    group = named.union(*(case.index.groups.get(member, frozenset()) for member in named))
    return any(_above(case, member) for member in sorted(group - {case.entity.id}))
