"""Terms of use that must be passed on: who lets others use the model promises to hold them to the same terms.

Whoever accepted the whole agreement accepted that with it; an entity that only consumes makes the promise by itself.
"""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Role

TYPES = ("acceptable_use", "flow_down")

PROMISING_ROLES = (Role.CONSUMER.value,)


def check(case: Case) -> Verdict:
    """A missing acceptance is the acceptance clause's finding; here only the promise is judged."""
    promised_by = case.clause.params.get("flow_down_roles", PROMISING_ROLES)
    if not case.clause.params.get("flow_down") or case.role.value not in promised_by:
        return PASSED
    active = [item for item in case.acceptances() if item.state == "active"]
    if not active or any(item.flow_down or item.role not in promised_by for item in active):
        return PASSED
    return Verdict(
        reason=Reason.FLOW_DOWN_MISSING,
        message=f"{case.entity.id} has not promised to pass the acceptable-use terms of {case.license.title} on to its "
        f"users: accept again with that promise, {case.offer_command()}",
    )
