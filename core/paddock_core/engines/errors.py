"""What can be wrong with an engine that is asked for."""


class EngineRequestError(ValueError):
    """This engine cannot be made; the message says why and what to do."""
