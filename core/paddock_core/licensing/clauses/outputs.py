"""The outputs of some models must not improve other language models."""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Verb

TYPES = ("output_training",)


def check(case: Case) -> Verdict:
    """Denied for a model that was trained on them, and for training one that is not known to be exempt.

    Exempt is a student of the family that the clause names. Who distils from a model names the student; a registered
    model with teachers is the student itself.
    """
    if case.source == "outputs":
        return PASSED if _exempt(case, case.lineage.families) else _denied(case, f"{case.model.title} was trained")
    is_student = case.lineage.registered is not None and bool(case.lineage.teachers)
    if case.verb is not Verb.DISTILL or is_student or _exempt(case, case.students):
        return PASSED
    return _denied(case, f"{case.request.student or 'a student that is not named'} would be trained")


def _exempt(case: Case, families: frozenset[str]) -> bool:
    return case.clause.params.get("except_family") in families


def _denied(case: Case, what: str) -> Verdict:
    return Verdict(
        reason=Reason.OUTPUT_TRAINING_DENIED,
        message=f"{case.license.title} forbids improving other language models with the model's outputs, and {what} on "
        "them: choose another teacher, or a student of the same family",
        mendable=False,
    )
