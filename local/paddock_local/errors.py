"""Errors of the local stack. Each message says what to do next; the CLI prints it as it is."""


class LocalError(Exception):
    """The local stack could not do what was asked."""


class PreflightError(LocalError):
    """The machine lacks something the stack needs."""


class BuildError(LocalError):
    """Kubernetes, the CRI stubs or a tool could not be found or built."""


class StackError(LocalError):
    """A part did not start, stop or become ready."""
