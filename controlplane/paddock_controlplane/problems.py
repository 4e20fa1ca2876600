"""Errors of the control plane, and how they are told over HTTP (RFC 9457 problem details).

    ControlPlaneError
    ├── SettingsError            the process cannot start
    └── Problem                  an answer: status, code, title
        ├── Unauthorized  Forbidden  NotFound  Conflict  Gone  Invalid  TooLarge  Unavailable
        └── (more in the errors.py of each domain)

The class carries what is the same for each occurrence; the detail says what happened and what to do next.
"""

from typing import Any

import msgspec
from starlette.responses import Response


class ControlPlaneError(Exception):
    """Base of every error raised on purpose here."""


class SettingsError(ControlPlaneError):
    """A setting is missing or unusable."""


class Problem(ControlPlaneError):  # noqa: N818 - RFC 9457 calls it a problem
    """An error that a caller is told about."""

    status = 500
    code = "Internal"
    title = "Something went wrong here"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed, subclasses replace it

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members

    def response(self) -> Response:
        """The answer as `application/problem+json`."""
        document = {
            "type": f"urn:paddock:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        return Response(
            msgspec.json.encode(document, enc_hook=str),
            status_code=self.status,
            media_type="application/problem+json",
            headers=self.headers,
        )


class Unauthorized(Problem):
    status, code, title = 401, "Unauthorized", "A valid bearer token is needed"
    headers = {"www-authenticate": "Bearer"}  # noqa: RUF012


class Forbidden(Problem):
    status, code, title = 403, "Forbidden", "This token may not do that"


class NotFound(Problem):
    status, code, title = 404, "NotFound", "There is no such thing"


class Conflict(Problem):
    status, code, title = 409, "Conflict", "That contradicts what is there"


class Gone(Problem):
    status, code, title = 410, "Gone", "That is no longer kept"


class Invalid(Problem):
    status, code, title = 422, "Invalid", "The request does not make sense"


class TooLarge(Problem):
    status, code, title = 413, "TooLarge", "The request's body is too large"


class Unavailable(Problem):
    status, code, title = 503, "Unavailable", "Not possible at the moment"
    headers = {"retry-after": "1"}  # noqa: RUF012
