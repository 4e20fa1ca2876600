"""What goes wrong in planning. That a model does not fit is an answer (`Refusal`), not an error."""


class PlanningError(ValueError):
    """Any error of this package."""


class ConstantsError(PlanningError):
    """Constants that cannot be used; the message names the constant."""


class RunsError(PlanningError):
    """Measured runs that cannot be used; the message names the run."""


class PoolError(PlanningError):
    """A description of nodes that cannot be used."""
