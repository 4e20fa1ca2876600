"""The outputs of some models must not improve other language models."""

from paddock_core.licensing.case import PASSED, Case, Verdict
from paddock_core.licensing.types import Reason, Verb

TYPES = ("output_training",)


def check(case: Case) -> Verdict:
    """Distilling is making another model from outputs; the student is not named, so it is not known to be exempt."""
    if case.verb is not Verb.DISTILL:
        return PASSED
    return Verdict(
        reason=Reason.OUTPUT_TRAINING_DENIED,
        message=f"{case.license.title} forbids improving other language models with the outputs of {case.model.title}: "
        "choose another teacher",
        mendable=False,
    )
