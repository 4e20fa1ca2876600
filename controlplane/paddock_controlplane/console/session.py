"""The browser's session: a cookie that a form brought, and what keeps other pages and guessers out."""

import hashlib
import hmac
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request, Response
from paddock_core.keys import ParsedKey, parse_key

from paddock_controlplane.call import State
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.licensing import links
from paddock_controlplane.licensing.models import CredentialRow
from paddock_controlplane.principals import Principal
from paddock_controlplane.problems import Forbidden, Problem

COOKIE = "paddock-signing"
_PATH = "/console/sign"
_MOST_GUESSERS = 10_000


class NoSession(Problem):
    status, code, title = 401, "NoSession", "This page needs the link that you were sent"


class ForeignForm(Forbidden):
    code, title = "ForeignForm", "This form did not come from this site"


class TooManyGuesses(Problem):
    status, code, title = 429, "TooManyGuesses", "Too many wrong links"
    headers = {"retry-after": "60"}  # noqa: RUF012


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A person in a browser who opened a signatory's link."""

    principal: Principal
    form_token: str
    """What every form of this session carries; other sites cannot know it."""
    name: str
    email: str


async def session_of(request: Request) -> Session:
    """The session of a request.

    Raises:
        NoSession: there is none, or it has ended.
    """
    state: State = request.app.state.parts
    key = parse_key(request.cookies.get(COOKIE, ""))
    row = None
    if key is not None:
        async with state.database.transaction(EVERYTHING) as database:
            row = await links.session_of(database, key=key)
    if key is None or row is None:
        raise NoSession(
            "open the link that you were sent, in this browser. If it was opened before in another browser, go on "
            "there or ask an administrator of your company's tenant for a new link"
        )
    return _session(key, row)


def _session(key: ParsedKey, row: CredentialRow) -> Session:
    token = hashlib.sha256(f"form of {key.secret}".encode()).hexdigest()
    principal = Principal(kind="signatory", name=f"signatory:{row.id}", entity=row.entity, credential=row.id)
    return Session(principal=principal, form_token=token, name=row.name, email=row.email)


def set_cookie(response: Response, *, request: Request, text: str) -> None:
    """Hand the session to the browser."""
    response.set_cookie(
        COOKIE,
        text,
        max_age=links.SESSION_SECONDS,
        path=_PATH,
        secure=_is_https(request),
        httponly=True,
        samesite="strict",
    )


def drop_cookie(response: Response, *, request: Request) -> None:
    """Take the session back from the browser."""
    response.delete_cookie(COOKIE, path=_PATH, secure=_is_https(request), httponly=True, samesite="strict")


def _is_https(request: Request) -> bool:
    state: State = request.app.state.parts
    return state.settings.public_url.startswith("https://")


def own_form(request: Request) -> None:
    """A form that another site sends is turned away.

    Raises:
        ForeignForm: the browser says that it comes from elsewhere.
    """
    site = request.headers.get("sec-fetch-site")
    # Without a referrer, browsers send the origin `null`; those that send no Sec-Fetch-Site are told apart by it alone.
    origin = request.headers.get("origin", "null")
    host = request.headers.get("host", "")
    if site not in (None, "same-origin") or (origin != "null" and urlsplit(origin).netloc != host):
        raise ForeignForm("open the link that you were sent and use the form that it shows")


def check_form(session: Session, token: str) -> None:
    """A form of another session is turned away.

    Raises:
        ForeignForm: it is not this session's.
    """
    if not hmac.compare_digest(session.form_token.encode(), token.encode()):
        raise ForeignForm("this form belongs to an earlier session: open the link again and use the form that it shows")


class Guesses:
    """Counts wrong tokens, by the address that tried them and the link that they were for."""

    def __init__(self, *, most: int = 30, seconds: float = 60) -> None:
        self._most = most
        self._seconds = seconds
        self._failed: dict[tuple[str, str], deque[float]] = {}

    def check(self, guesser: tuple[str, str]) -> None:
        """Raises TooManyGuesses where an address has tried too many for a link."""
        tried = self._failed.get(guesser)
        while tried and tried[0] < time.monotonic() - self._seconds:
            tried.popleft()
        if tried and len(tried) >= self._most:
            raise TooManyGuesses("wait a minute, then copy the whole link from the message that you were sent")

    def failed(self, guesser: tuple[str, str]) -> None:
        """Remember a wrong token. Memory is bounded: who failed longest ago is forgotten."""
        tried = self._failed.pop(guesser, None) or deque(maxlen=self._most)
        tried.append(time.monotonic())
        self._failed[guesser] = tried
        if len(self._failed) > _MOST_GUESSERS:
            del self._failed[next(iter(self._failed))]
