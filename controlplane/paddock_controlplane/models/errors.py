"""Errors of registered models."""

from paddock_core.licensing.registration import RegistrationError

from paddock_controlplane.problems import Conflict, Forbidden, Invalid, NotFound, Problem


class ModelNotRegistered(NotFound):
    code, title = "ModelNotRegistered", "No such model is registered"


class ModelExists(Conflict):
    code, title = "ModelExists", "This id is taken"


class ModelImmutable(Conflict):
    code, title = "ModelImmutable", "What a model was made from does not change"


class ModelInUse(Conflict):
    code, title = "ModelInUse", "Other models were made from this one"


class ModelManaged(Conflict):
    code, title = "ModelManaged", "This model is registered in another way"


class TooManyModels(Conflict):
    code, title = "TooManyModels", "No more models can be registered for this owner"


class RegistrationDenied(Forbidden):
    code, title = "DecisionDenied", "The license decision is deny"


class RegistrationConflict(Conflict):
    code, title = "RegistrationConflict", "The registration contradicts what is there"


class RegistrationUnusable(Invalid):
    code, title = "RegistrationUnusable", "The registration does not make sense"


_CONFLICTS = frozenset({"IdTaken", "LineageCycle", "WeightsOfAnother"})
"""Codes of registrations that contradict what is there; the others name something that is not."""


def problem(error: RegistrationError) -> Problem:
    """The problem document for a registration that makes no sense: 409 or 422, with the error's own code."""
    found = (RegistrationConflict if error.code in _CONFLICTS else RegistrationUnusable)(str(error))
    found.code = error.code
    return found
