"""The control plane over HTTP, with every answer that is no success turned into one of this package's errors."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paddock_cli.errors import CliError, DeniedError, NotFoundError, UnreachableError

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 2


@dataclass(slots=True, kw_only=True)
class Connection:
    """Where the control plane is and which token to show; set from the command line, before any noun runs."""

    url: str = "http://127.0.0.1:7401"
    token_file: Path | None = None

    def token(self) -> str:
        """The bearer token. Raises DeniedError if there is none."""
        if self.token_file is None and os.environ.get("PADDOCK_TOKEN"):
            return os.environ["PADDOCK_TOKEN"].strip()
        if self.token_file is None:
            raise DeniedError("no token", advice="set PADDOCK_TOKEN_FILE (or PADDOCK_TOKEN), or give --token-file")
        try:
            return self.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise DeniedError(
                f"the token file cannot be read: {error}", advice="give another one with --token-file"
            ) from error


connection = Connection()


class Client:
    """Calls the control plane. `token` replaces the connection's own (a signatory's, for one)."""

    def __init__(self, *, token: str | None = None) -> None:
        self._token = token

    def get(self, path: str, **params: Any) -> Any:
        """Read; parameters that are None are left out."""
        return self._call("GET", path, params={key: value for key, value in params.items() if value is not None})

    def page(self, path: str) -> str:
        """Read what is there as a page."""
        return str(self._answer("GET", path, headers={"Accept": "text/html"}).text)

    def lines(self, path: str, **params: Any) -> list[str]:
        """Read what comes a line each; parameters that are None are left out."""
        given = {key: value for key, value in params.items() if value is not None}
        return str(self._answer("GET", path, params=given).text).splitlines()

    def read(self, path: str, kind: type[T], **params: Any) -> T:
        """Read what is of one type: a large answer is taken apart quicker so.

        Raises CliError if it is not of that type.
        """
        import msgspec  # here, so that help and completion do without

        response = self._answer("GET", path, params=params)
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.DecodeError as error:
            advice = "use the version of `paddock` that belongs to the control plane"
            raise CliError(f"{path} answered something else: {error}", advice=advice) from error

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Create. A repetition after a broken connection has no second effect (Idempotency-Key)."""
        return self._call("POST", path, body=body, headers={"Idempotency-Key": uuid.uuid4().hex})

    def put(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Set."""
        return self._call("PUT", path, body=body)

    def delete(self, path: str) -> None:
        """Remove."""
        self._call("DELETE", path)

    def items(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        after = None
        while True:
            page = self.get(path, after=after, **params)
            yield from page["items"]
            after = page.get("next")
            if after is None:
                return

    def _call(self, method: str, path: str, **sent: Any) -> Any:
        response = self._answer(method, path, **sent)
        return response.json() if response.content else None

    def _answer(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The successful response; anything else is raised."""
        import httpx  # here, so that help and completion do without

        token = self._token if self._token is not None else connection.token()
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = httpx.request(
                    method, connection.url + path, json=body, params=params, headers=sent, timeout=TIMEOUT_SECONDS
                )
                break
            except (httpx.TransportError, httpx.InvalidURL) as error:
                if attempt == _ATTEMPTS:
                    raise UnreachableError(
                        f"the control plane at {connection.url} does not answer: {error}",
                        advice="is it running (`paddock local status`)? Else set PADDOCK_URL",
                    ) from error
        if response.is_success:
            return response
        raise _problem(response.status_code, _document(response))


def _document(response: Any) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"detail": response.text[:500]}


def _problem(status: int, document: dict[str, Any]) -> CliError:
    """The error for a problem document (RFC 9457)."""
    code, detail = document.get("code", status), document.get("detail") or document.get("title") or "no detail"
    if not isinstance(detail, str):
        detail = "; ".join(str(item) for item in detail) if isinstance(detail, list) else str(detail)
    message = f"{code}: {detail}"
    if status == 401:
        return DeniedError(message, advice="show a valid token: PADDOCK_TOKEN_FILE or --token-file")
    if status == 403:
        return DeniedError(message)
    if status == 404:
        return NotFoundError(message)
    if status in (502, 503, 504):
        return UnreachableError(message, advice="try again in a moment")
    return CliError(message)
