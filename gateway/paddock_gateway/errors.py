"""What a request or the gateway itself can fail with. Every message says what to do next."""

from dataclasses import dataclass

INVALID = "invalid_request_error"
AUTHENTICATION = "authentication_error"
PERMISSION = "permission_error"
NOT_FOUND = "not_found_error"
RATE_LIMIT = "rate_limit_error"
INSUFFICIENT_QUOTA = "insufficient_quota"
SERVER = "server_error"
CUT_OFF = "RequestCutOff"
INTERNAL = "InternalError"


class PaddockGatewayError(Exception):
    """Root of everything that this package raises."""


@dataclass(eq=False)
class RequestError(PaddockGatewayError):
    """A request that gets an error answer. A dialect gives it its own shape."""

    status: int
    code: str
    message: str
    type: str = INVALID
    param: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"


class EngineError(PaddockGatewayError):
    """Triton could not be reached, broke off, or reported an error in mid-answer."""


class EngineUnreachableError(EngineError):
    """No connection could be made, so no engine can have begun to work: another endpoint may be tried."""


class StaleConnectionError(EngineError):
    """A kept connection was closed without a byte of answer: most likely Triton had closed it before our request."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class EngineRefusedError(EngineError):
    """Triton answered with an error before the first token."""


class JournalFullError(PaddockGatewayError):
    """The disk has no room for another request's frames: new work must be refused."""


class JournalCrowdedError(PaddockGatewayError):
    """A segment cannot hold the settlements of more open requests: new work must wait for others to end."""


class ArtifactError(PaddockGatewayError):
    """A tokenizer document could not be fetched, or is not what its digest says."""


def bad_request(code: str, message: str, *, param: str | None = None) -> RequestError:
    """A 400."""
    return RequestError(status=400, code=code, message=message, param=param)


def denied(code: str, message: str) -> RequestError:
    """A 403."""
    return RequestError(status=403, code=code, message=message, type=PERMISSION)


def unavailable(code: str, message: str, *, retry_after: int = 1) -> RequestError:
    """A 503 that says when to come again, in seconds."""
    headers = ((b"retry-after", str(retry_after).encode()),)
    return RequestError(status=503, code=code, message=message, type=SERVER, headers=headers)


def policy_expired() -> RequestError:
    """A 503 for everything, while the copy of the policy is too old to decide by."""
    message = "this gateway has been cut off from the control plane for longer than it may decide alone: try later"
    return unavailable("PolicyExpired", message, retry_after=5)


def cut_off() -> RequestError:
    """A 504 for a request that used up its time."""
    message = "the request ran for too long and was cut off"
    return RequestError(status=504, code=CUT_OFF, message=message, type=SERVER)


def stopping() -> RequestError:
    """A 503 for whatever is not finished when the process must end."""
    return unavailable("GatewayStopping", "the gateway is stopping: try again")


def internal_failure() -> RequestError:
    """A 500 for a bug of ours: the log has the details, the client gets none of them."""
    return RequestError(status=500, code=INTERNAL, message="the gateway failed: try again", type=SERVER)


def told(error: BaseException) -> str:
    """An error for a log or a message. Its `repr` would show a request's headers, and with them the token in them."""
    return f"{type(error).__name__}: {error}"
