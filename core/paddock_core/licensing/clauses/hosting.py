"""Some licenses are personal: the licensee runs the model for itself, and for nobody else."""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason

TYPES = ("hosting",)


def check(case: Case) -> Verdict:
    """Denied unless the asking entity runs the platform itself and nobody else is a tenant there.

    Who the others are is nobody's business: tenants are not told of each other.
    """
    others = case.index.hosted - {case.entity.id}
    if case.entity.id == case.index.operator and not others:
        return PASSED
    whose = "this platform also hosts others" if others else f"{case.index.operator} runs this platform"
    return Verdict(
        reason=Reason.PURPOSE_DENIED,
        message=f"{case.license.title} is personal and cannot be sublicensed, so {case.model.title} is for one entity "
        f"that runs it for itself; {whose}: choose another model",
        mendable=False,
    )
