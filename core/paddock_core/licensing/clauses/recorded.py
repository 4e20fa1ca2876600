"""Duties that no software can decide: they are shown, accepted with the agreement and recorded, and deny nothing here.

They are listed so that a clause type that nobody thought of is not mistaken for one of them.
"""

from paddock_core.licensing.case import PASSED, Case, Verdict

TYPES = (
    "display",
    "legal_compliance",
    "litigation_termination",
    "notice_file",
    "provide_copy",
    "termination",
    "trademark",
)


def check(case: Case) -> Verdict:  # noqa: ARG001 - every clause module answers the same call
    """Always passes."""
    return PASSED
