"""A model made with the licensed one carries a name that begins as the license says, when others get to see it."""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Verb

TYPES = ("model_name_prefix",)

_MAKING = (Verb.FINE_TUNE, Verb.REGISTER_ADAPTER, Verb.DISTILL, Verb.PUBLISH)


def check(case: Case) -> Verdict:
    """An unmodified model under an alias was not made with it. A private model needs a name only to be published."""
    if case.verb not in _MAKING:
        return PASSED
    prefix = str(case.clause.params["prefix"])
    name = case.request.public_name
    if (name or "").startswith(prefix) or (name is None and case.verb is not Verb.PUBLISH):
        return PASSED
    return Verdict(
        reason=Reason.NAME_PREFIX_REQUIRED,
        message=f"{case.license.title} asks that the name of a model made with {case.model.title} begins with "
        f"“{prefix}”; {f'“{name}” does not' if name else 'none was given'}: choose another public name",
        mendable=False,
    )
