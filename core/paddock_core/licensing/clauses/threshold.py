"""Above a number of monthly active users in one named month, nothing is permitted without the vendor's own grant.

The test is frozen: users in one calendar month before one date, of all products of the entity and its affiliates.
So it rests on a signed statement per license; what is counted later never changes it.
"""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Role
from paddock_core.policy.documents import Grant, Statement

TYPES = ("scale_threshold",)

BOUND_ROLES = (Role.OPERATOR.value, Role.DEPLOYER.value)
_AT_MOST = "le_700m"


def check(case: Case) -> Verdict:
    """Strictly greater than the threshold is above it; an affiliate above it catches the entity too."""
    if case.role.value not in case.clause.params.get("roles", BOUND_ROLES) or _exempt(case):
        return PASSED
    own = case.index.statement(case.entity.id, case.license.id)
    if own is None:
        return Verdict(
            reason=Reason.THRESHOLD_STATEMENT_MISSING,
            message=f"{case.entity.id} has not stated its monthly active users for {case.license.title} "
            f"({case.clause.params.get('window', 'the month that the license names')}): "
            f"state them with {case.offer_command()}",
        )
    if not _above(case, own) and not _affiliate_above(case):
        return PASSED
    return _granted(case)


def _exempt(case: Case) -> bool:
    """Who receives the materials inside an integrated end-user product is outside the clause, where it says so."""
    exempt = case.clause.params.get("exempt", ())
    if "received_in_integrated_end_user_product" not in exempt or case.role is Role.OPERATOR:
        return False
    return case.entity.receives_integrated_product


def _above(case: Case, statement: Statement) -> bool:
    """A figure beside the band is checked against it: the worse of the two counts."""
    limit = int(case.clause.params["value"])
    return statement.band != _AT_MOST or (statement.value is not None and statement.value > limit)


def _affiliate_above(case: Case) -> bool:
    group = case.index.groups.get(case.entity.id, frozenset())
    for member in group - {case.entity.id}:
        stated = case.index.statement(member, case.license.id)
        if stated is not None and _above(case, stated):
            return True
    return False


def _granted(case: Case) -> Verdict:
    now = case.request.at
    grants = [grant for grant in case.index.grants(case.entity.id, case.license.id) if _covers(case, grant)]
    valid = [grant for grant in grants if grant.valid_from <= now < grant.valid_to]
    if valid:
        return Verdict(until=valid[0].valid_to)
    coming = min((grant.valid_from for grant in grants if grant.valid_from > now), default=None)
    if any(grant.valid_to <= now for grant in grants):
        return Verdict(
            reason=Reason.GRANT_EXPIRED,
            message=f"the vendor's grant to {case.entity.id} for {case.license.title} has expired: record its renewal",
            until=coming,
        )
    return Verdict(
        reason=Reason.THRESHOLD_GRANT_REQUIRED,
        message=f"{case.entity.id} or an affiliate had more than {int(case.clause.params['value']):,} monthly active "
        f"users in {case.clause.params.get('window', 'the named month')}: nothing is permitted under "
        f"{case.license.title} until a grant of {case.license.licensor} is recorded",
        until=coming,
    )


def _covers(case: Case, grant: Grant) -> bool:
    return grant.state == "active" and (not grant.models or case.model.id in grant.models)
