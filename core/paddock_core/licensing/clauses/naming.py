"""A model made with the licensed one carries a name that begins as the license says, when others get to see it."""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Role, Verb
from paddock_core.policy.documents import RegisteredModel

TYPES = ("model_name_prefix",)

_MAKING = (Verb.FINE_TUNE, Verb.REGISTER_ADAPTER, Verb.DISTILL)
_SHOWING = (Verb.PUBLISH, Verb.EXPORT)
_SPACED = str.maketrans("-_", "  ")


def check(case: Case) -> Verdict:
    """An unmodified model under an alias was not made with it; a private model needs the name once others see it.

    A registered model that is not known to be private is taken for one that others see.
    """
    made = case.lineage.registered
    name = case.request.public_name or (made.public_name if made else None)
    if made is None and (case.verb not in _MAKING or name is None):
        return PASSED
    if begins(name=name or "", prefix=str(case.clause.params["prefix"])):
        return PASSED
    if made is not None and made.published is False and not _shown(case, made):
        return Verdict(warning=f"{_words(case, name)}: choose another before others get to see the model")
    return Verdict(
        reason=Reason.NAME_PREFIX_REQUIRED,
        message=f"{_words(case, name)}: choose another public name",
        mendable=False,
    )


def _shown(case: Case, made: RegisteredModel) -> bool:
    """Whether others get to see a private model by what is asked. Where its owner is not on record, who uses it in
    another role than that of its deployer is somebody else."""
    if case.verb in _SHOWING:
        return True
    if case.verb is not Verb.INVOKE or case.request.role is Role.OPERATOR:
        return False
    maker = case.index.entity_of(made.owner)
    return case.request.role is not Role.DEPLOYER if maker is None else case.request.entity != maker


def begins(*, name: str, prefix: str) -> bool:
    """Whether a name begins with the prefix. Ids cannot hold spaces, so `Llama-3-x` begins with `Llama 3`."""
    return name.translate(_SPACED).startswith(prefix.translate(_SPACED))


def _words(case: Case, name: str | None) -> str:
    given = f"“{name}” does not" if name else "none was given"
    made = case.lineage.registered
    whose = f"a model made with {case.model.title}" if made is None else made.id
    return f"{case.license.title} asks that the name of {whose} begins with “{case.clause.params['prefix']}”; {given}"
