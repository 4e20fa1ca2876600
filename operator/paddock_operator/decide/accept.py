"""Does the specification make sense, and whose is it?"""

from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds

from paddock_operator.observed import Observed


def judge(observed: Observed) -> Finding:
    """The condition Accepted."""
    if observed.problem is not None:
        return fails(
            ConditionType.ACCEPTED,
            ConditionReason.INVALID_SPEC,
            f"{observed.problem}; correct the specification",
        )
    return holds(ConditionType.ACCEPTED, ConditionReason.ACCEPTED, "the specification makes sense")
