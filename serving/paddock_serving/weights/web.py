"""Reading files over HTTP: by ranges, again after a broken connection, and not before a server wants to be asked again.

A busy server (429 or 503) is obeyed: short waits are waited here, long ones end the Job, whose next run they delay.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from paddock_serving.errors import WeightsError, WeightsSourceBusyError
from paddock_serving.weights.sources.base import Expected

log = logging.getLogger(__name__)

TIMEOUT: Final = httpx.Timeout(30.0, read=120.0)
ATTEMPTS: Final = 6
"""So many tries without a single new byte end the Job."""
_LONGEST_WAIT: Final = 60.0
_DEFAULT_WAIT: Final = 15.0
_BUSY: Final = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_FIRST_SERVER_ERROR: Final = 500
MOST_DOCUMENT: Final = 64 * 2**20
"""Bytes of a listing; more is refused."""


class _PassingError(Exception):
    """Something that may be over at the next try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Web:
    """One server, as one source speaks to it. Credentials never go to another host that it redirects to."""

    client: httpx.Client
    place: str
    """The server and what is read there, for messages."""
    refused: str
    """What to do where it answers 401 or 403."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: httpx.Auth | None = None
    sleep: Callable[[float], None] = time.sleep

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """A whole document of bounded size. Raises WeightsError."""
        failures = 0
        while True:
            try:
                with self._open(url, headers or {}) as response:
                    self._check(response)
                    body = bytearray()
                    for chunk in response.iter_bytes():
                        body += chunk
                        if len(body) > MOST_DOCUMENT:
                            raise WeightsError(f"{self.place}: {_path(response)} has more than {MOST_DOCUMENT} bytes")
                    return httpx.Response(
                        response.status_code, headers=_plain(response), content=bytes(body), request=response.request
                    )
            except _PassingError as error:
                failures += 1
                self._pause(failures, error)

    @contextmanager
    def read(
        self, url: str, file: Expected, *, offset: int, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[bytes]]:
        """The bytes of a file from an offset, through as many connections as it takes. Raises WeightsError."""
        with closing(self._bytes(url, file, offset, headers or {})) as chunks:
            yield chunks

    def close(self) -> None:
        """End its connections."""
        self.client.close()

    def _bytes(self, url: str, file: Expected, offset: int, headers: Mapping[str, str]) -> Generator[bytes, None, None]:
        done, failures = offset, 0
        while True:
            ranged = {"Range": f"bytes={done}-"} if done else {}
            try:
                with self._open(url, {**headers, "Accept-Encoding": "identity", **ranged}) as response:
                    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and done:
                        return
                    self._check(response)
                    for chunk in self._body(response, done):
                        done += len(chunk)
                        failures = 0
                        yield chunk
                    return
            except _PassingError as error:
                failures += 1
                self._pause(failures, error, name=file.name)

    def _body(self, response: httpx.Response, done: int) -> Iterator[bytes]:
        """The body from the byte that was asked for; a server without ranges begins at the first."""
        skip = done if response.status_code == httpx.codes.OK else 0
        told = response.headers.get("Content-Range", "")
        if not skip and told and not told.startswith(f"bytes {done}-"):
            raise WeightsError(f"{self.place}: asked for bytes from {done}, answered {told!r}")
        # As they come: what is put together to larger chunks is lost, and fetched twice, where the line breaks.
        for chunk in response.iter_raw():
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            yield chunk[skip:]
            skip = 0

    @contextmanager
    def _open(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        auth = httpx.USE_CLIENT_DEFAULT if self.auth is None else self.auth
        try:
            with self.client.stream("GET", url, headers={**self.headers, **headers}, auth=auth) as response:
                if response.status_code in _BUSY:
                    raise _BusyError(f"{self.place} is busy ({response.status_code})", seconds=_retry_after(response))
                if response.status_code >= _FIRST_SERVER_ERROR:
                    raise _PassingError(f"{self.place} answered {response.status_code} for {_path(response)}")
                yield response
        except httpx.TransportError as error:
            raise _PassingError(f"connection to {self.place} broke: {error or type(error).__name__}") from error
        except (httpx.TooManyRedirects, httpx.InvalidURL) as error:
            raise WeightsError(f"{self.place}: {error}") from error

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise WeightsError(f"{self.place} refuses ({response.status_code}): {self.refused}")
        if response.status_code == httpx.codes.PRECONDITION_FAILED:
            raise WeightsError(f"{self.place}: {_path(response)} changed while it was fetched; run the Job again")
        raise WeightsError(f"{self.place} answered {response.status_code} for {_path(response)}")

    def _pause(self, failures: int, error: _PassingError, *, name: str = "") -> None:
        named = f"{name}: " if name else ""
        wanted = error.seconds if isinstance(error, _BusyError) else min(0.5 * 2.0 ** (failures - 1), 30.0)
        if isinstance(error, _BusyError) and (wanted > _LONGEST_WAIT or failures >= ATTEMPTS):
            message = f"{named}{error}, and wants to be asked again in {wanted:.0f} s: the Job is run again then"
            raise WeightsSourceBusyError(message, seconds=wanted) from error
        if failures >= ATTEMPTS:
            raise WeightsError(f"{named}{error}; it resumes when run again") from error
        log.info("tried again", extra={"place": self.place, "error": str(error), "seconds": wanted})
        self.sleep(wanted)


class _BusyError(_PassingError):
    """The server wants to be left alone for a while."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


def new_client() -> httpx.Client:
    """A client for one source. It keeps to what its settings say, and follows redirects."""
    return httpx.Client(timeout=TIMEOUT, follow_redirects=True)


def _path(response: httpx.Response) -> str:
    """Without the query, which may hold a signature."""
    return response.url.path


def _plain(response: httpx.Response) -> dict[str, str]:
    dropped = ("content-encoding", "content-length", "transfer-encoding")
    return {name: value for name, value in response.headers.items() if name not in dropped}


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks for, as a number or as a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return _DEFAULT_WAIT
    return max(seconds, 1.0)
