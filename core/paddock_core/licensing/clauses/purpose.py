"""The license permits only some purposes. Charging for the model is a purpose too, and not a research one."""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason

TYPES = ("purpose",)


def check(case: Case) -> Verdict:
    """Denied for a purpose that is not listed, and for an entity with a priced tenant unless the clause allows that."""
    allowed = tuple(case.clause.params["allowed"])
    if case.request.purpose not in allowed:
        return _denied(case, f"not for the purpose {case.request.purpose!r}")
    if case.entity.id in case.index.priced and not case.clause.params.get("priced", False):
        return _denied(case, "not to a tenant on a priced plan")
    return PASSED


def _denied(case: Case, what: str) -> Verdict:
    allowed = ", ".join(case.clause.params["allowed"])
    return Verdict(
        reason=Reason.PURPOSE_DENIED,
        message=f"{case.license.title} permits {case.model.title} for {allowed} alone, {what}: choose another model",
        mendable=False,
    )
