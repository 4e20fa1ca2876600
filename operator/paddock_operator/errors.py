"""Errors of the operator.

OperatorError
├── ClusterError            the API server refused or did not answer (status, reason)
│   ├── NotFoundError       404
│   ├── ConflictError       409: somebody else was faster, or a precondition did not hold
│   ├── OverloadedError     429, 503: the API server wants to be asked later
│   ├── SilentError         a watch that was answered said nothing for longer than is waited for
│   └── GoneError           410: the watch's revision is no longer known; list again
├── ControlPlaneError       the control plane did not answer as agreed
│   ├── DownloadDeniedError it refuses a download; carries its reason
│   └── RegistrationRefusedError it refuses a model; carries its reason
├── BenchmarkError          a copy did not answer as a benchmark needs
├── NotLeadingError         this process must not write now
└── SettingsError           a setting names what is not there
"""


class OperatorError(Exception):
    """Base of all errors of the operator."""


class ClusterError(OperatorError):
    """The API server refused a request or could not be reached (`status` 0). `about` is the request that was refused,
    empty where none was."""

    def __init__(self, message: str, *, status: int = 0, about: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.about = about


class NotFoundError(ClusterError):
    """The object is not there."""


class ConflictError(ClusterError):
    """A precondition did not hold, or another manager owns the field."""


class OverloadedError(ClusterError):
    """The API server has too much to do, or is about to stop: ask it later, for the same."""


class SilentError(ClusterError):
    """A watch said nothing for a while: either nothing happened, or the connection is dead. List again to know."""


class GoneError(ClusterError):
    """The watch cannot go on from this revision: list again."""


class ControlPlaneError(OperatorError):
    """The control plane could not be reached, or answered what was not agreed."""


class DownloadDeniedError(ControlPlaneError):
    """The control plane refuses to let this model be downloaded. The message says why and what to do."""


class RegistrationRefusedError(ControlPlaneError):
    """The control plane refuses to register a model or to let it go. `reason` is stable."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class BenchmarkError(OperatorError):
    """A copy did not answer a request of its benchmark, or not in time."""


class SettingsError(OperatorError):
    """A setting names something that is not there, or a file of the platform's does not read."""


class NotLeadingError(OperatorError):
    """Another instance leads, or this one is no longer sure that it does: nothing may be written."""


_MOST_TOLD = 300


def told(error: BaseException) -> str:
    """An error for a log or a status. Its `repr` may show a request's headers, and with them the secret in them."""
    kind, text = type(error).__name__, str(error)[:_MOST_TOLD]
    return f"{kind}: {text}" if text else kind
