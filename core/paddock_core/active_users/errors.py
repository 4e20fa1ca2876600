"""What can be wrong with a sketch that came from elsewhere."""


class ActiveUsersError(ValueError):
    """Base of the errors of this package."""


class SketchInvalidError(ActiveUsersError):
    """The bytes are no sketch of this version; the message says why."""
