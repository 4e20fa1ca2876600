"""Requests to the simulated API server, and everything that can go wrong on the way.

It stands below the operator's own HTTP client, so that the operator's adapter, with its timeouts and its reading of
errors, is played too.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import httpx2
import msgspec
from paddock_operator.ports import Clock

from faults.cluster.simulated.server import RefusedError, Server, Target, encoded
from faults.cluster.simulated.store import Change

BOOKMARK_SECONDS = 60.0
LAG_SECONDS = 0.5
READS = ("GET",)


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it was answered. `code` is 0 where nobody answered."""

    at: float
    client: str
    method: str
    path: str
    code: int
    watch: bool = False
    selector: str = ""


@dataclass
class Client:
    """One process that talks to the API server."""

    name: str
    dead: bool = False
    """A process that was killed: nothing that it still sends arrives."""
    writes: int = 0
    calls: Counter[str] = field(default_factory=Counter)


@dataclass
class Weather:
    """What goes wrong now. All of it may be changed while a world runs."""

    latency_seconds: float = 0.002
    down: bool = False
    """Nobody answers; open streams are cut."""
    silent: bool = False
    """Streams stay open and say nothing."""
    lag: int = 0
    """Lists and watches show what was so many revisions ago."""
    lags: Callable[[str, str], int] = lambda _client, _plural: 0
    """The same by client and kind, where one lags more than the rest: an API server has a cache for each kind."""
    mute: Callable[[str, str], bool] = lambda _client, _plural: False
    """By client and kind: a stream that stays open and says nothing."""
    cut_off: set[str] = field(default_factory=set)
    """Clients that reach nobody."""
    paused: dict[str, asyncio.Event] = field(default_factory=dict)
    """Clients whose process stands still until the event: what they have sent is done, its answer is heard later."""
    loses: Callable[[Change], bool] = lambda _: False
    """Watch events that never arrive."""
    breaks_watch: Callable[[str], BaseException | None] = lambda _: None
    """By a kind's plural: what its stream raises instead of going on."""
    refuses: Callable[[str, str], RefusedError | None] = lambda _method, _path: None
    """Asked before every request: an error instead of an answer."""
    wrote: Callable[[Client, str, str], None] = lambda _client, _method, _path: None
    """Told after every write that was performed, before the client hears of it."""

    engine_hangs: Callable[[str], bool] = lambda _host: False
    """By a pod's address: its engine takes requests and answers none."""
    no_way: Callable[[str, str], bool] = lambda _client, _host: False
    """By client and a pod's address: whom this client cannot reach, though others can."""

    def behind(self, client: str, plural: str) -> int:
        """How many revisions this client's lists and watches of a kind are behind."""
        return max(self.lag, self.lags(client, plural))

    def is_silent(self, client: str, plural: str) -> bool:
        """Whether this client's streams of a kind say nothing."""
        return self.silent or self.mute(client, plural)

    def is_away(self, client: Client) -> bool:
        """Whether nobody answers this client."""
        return self.down or client.dead or client.name in self.cut_off


class Api:
    """The server on its network."""

    def __init__(self, server: Server, *, clock: Clock) -> None:
        self.server = server
        self.weather = Weather()
        self.calls: deque[Call] = deque(maxlen=200_000)
        self.sent = 0
        """Watch events so far, of all streams."""
        self._clock = clock
        self._cut = asyncio.Event()

    def client(self, client: Client) -> httpx2.AsyncClient:
        """An HTTP client of this process."""
        return httpx2.AsyncClient(
            transport=_Transport(self, client), base_url="http://kubernetes.test", timeout=20.0, trust_env=False
        )

    def cut(self) -> None:
        """Cut every stream."""
        self._cut.set()
        self._cut = asyncio.Event()

    async def answer(self, request: httpx2.Request, client: Client) -> httpx2.Response:
        """One request. Raises httpx2.ConnectError where nobody answers."""
        method, path = request.method, request.url.path
        await asyncio.sleep(self.weather.latency_seconds)
        response: httpx2.Response | None = None
        try:
            if self.weather.is_away(client) or client.name in self.weather.paused:
                raise httpx2.ConnectError("connection refused", request=request)
            response = self._answered(request, client)
            response.headers["Date"] = formatdate(self._clock.now(), usegmt=True)
            while client.name in self.weather.paused:
                await self.weather.paused[client.name].wait()
            return response
        finally:
            code = 0 if response is None else response.status_code
            client.calls[f"{method} {code}"] += 1
            watch = request.url.params.get("watch") == "true"
            selector = request.url.params.get("labelSelector", "")
            self.calls.append(Call(self._clock.boottime(), client.name, method, path, code, watch, selector))

    def _answered(self, request: httpx2.Request, client: Client) -> httpx2.Response:
        method, path = request.method, request.url.path
        try:
            refusal = self.weather.refuses(method, path)
            if refusal is not None:
                raise refusal
            target, query = self.server.target(path), dict(request.url.params)
            if method in READS and query.get("watch") == "true":
                return httpx2.Response(200, stream=_Lines(self._watch(target, query, request, client)))
            if method in READS:
                return _json(self._read(target, query, client))
            return self._write(request, target, query, client)
        except RefusedError as refused:
            status = {"kind": "Status", "code": refused.code, "message": refused.message, "reason": refused.reason}
            return _json(status, code=refused.code, headers=dict(refused.headers))

    def _read(self, target: Target, query: dict[str, str], client: Client) -> Any:
        if target.name:
            return self.server.read(target)
        return self.server.list(target, query, revision=self._visible(target, client))

    def _write(self, request: httpx2.Request, target: Target, query: dict[str, str], client: Client) -> httpx2.Response:
        body = msgspec.json.decode(request.content) if request.content else {}
        how = request.headers.get("content-type", "")
        answer = self.server.write(request.method, target, query, body, how, client.name)
        client.writes += 1
        self.weather.wrote(client, request.method, request.url.path)
        if client.dead:
            raise httpx2.ReadError("the process that asked is gone", request=request)
        return _json(answer, code=201 if request.method == "POST" else 200)

    def _visible(self, target: Target, client: Client) -> int:
        """The revision that lists and watches of a kind show."""
        return max(1, self.server.store.revision - self.weather.behind(client.name, target.kind.plural))

    async def _watch(
        self, target: Target, query: dict[str, str], request: httpx2.Request, client: Client
    ) -> AsyncIterator[bytes]:
        """Lines of a watch, until its time is over or something goes wrong."""
        silence = float((request.extensions.get("timeout") or {}).get("read") or 1e9)
        now = self._clock.boottime
        ends, bookmark, heard = now() + float(query.get("timeoutSeconds", "1e9")), now() + BOOKMARK_SECONDS, now()
        cursor, cut = int(query.get("resourceVersion") or self.server.store.revision), self._cut
        while True:
            if cut.is_set() or self.weather.is_away(client):
                raise httpx2.ReadError("connection reset", request=request)
            news = self.server.store.news(target.kind)
            broken = self.weather.breaks_watch(target.kind.plural)
            if broken is not None:
                raise broken
            silent = self.weather.is_silent(client.name, target.kind.plural)
            if not silent:
                if cursor < self.server.store.compacted:
                    yield _gone()
                    return
                cursor, lines = self._lines(target, query, cursor, client)
                if now() >= bookmark:
                    bookmark = now() + BOOKMARK_SECONDS
                    lines.append(_bookmark(target, cursor))
                for line in lines:
                    heard = now()
                    yield line
                if now() >= ends:
                    return
            if now() - heard >= silence:
                raise httpx2.ReadTimeout("nothing came", request=request)
            due = heard + silence if silent else min(bookmark, ends, heard + silence)
            lagging = self.weather.behind(client.name, target.kind.plural) > 0
            seconds = max(0.001, due - now())
            # What lags behind moves with every change of any kind; what is silent may come back at any time.
            await self._wait(
                (cut,) if silent else (cut, news), seconds=min(seconds, LAG_SECONDS) if lagging else seconds
            )

    def _lines(self, target: Target, query: dict[str, str], cursor: int, client: Client) -> tuple[int, list[bytes]]:
        """What a watch has to tell, and how far it has come then."""
        until = max(cursor, self._visible(target, client))
        changes = self.server.store.since(target.kind, cursor, until=until)
        lines = (self._line(change, target, query) for change in changes)
        return until, [line for line in lines if line is not None]

    async def _wait(self, events: tuple[asyncio.Event, ...], *, seconds: float) -> None:
        """Until one of these, or the time is over."""
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _line(self, change: Change, target: Target, query: dict[str, str]) -> bytes | None:
        """What a watch with this selector tells of a change."""
        is_in = change.type != "DELETED" and self.server.picked(change.object, target, query)
        was_in = change.old is not None and self.server.picked(change.old, target, query)
        if not (is_in or was_in):
            return None
        self.sent += 1
        if self.weather.loses(change):
            return None
        kind = "MODIFIED" if is_in and was_in else "ADDED" if is_in else "DELETED"
        told = change.object
        if kind == "DELETED" and change.old is not None:
            # As it was when it was picked last, at the revision of what took it away.
            metadata = {**change.old["metadata"], "resourceVersion": change.object["metadata"]["resourceVersion"]}
            told = {**change.old, "metadata": metadata}
        return encoded({"type": kind, "object": told}) + b"\n"


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, api: Api, client: Client) -> None:
        self._api = api
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._api.answer(request, self._client)


class _Lines(httpx2.AsyncByteStream):
    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        self._lines = lines

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(self._lines) as lines:  # type: ignore[type-var]
            async for line in lines:
                yield line


def _json(document: Any, *, code: int = 200, headers: dict[str, str] | None = None) -> httpx2.Response:
    return httpx2.Response(
        code, content=encoded(document), headers={"Content-Type": "application/json", **(headers or {})}
    )


def _gone() -> bytes:
    status = {"kind": "Status", "code": 410, "message": "too old resource version", "reason": "Expired"}
    return encoded({"type": "ERROR", "object": status}) + b"\n"


def _bookmark(target: Target, revision: int) -> bytes:
    bare = {"kind": target.kind.name, "apiVersion": target.kind.api_version}
    return encoded({"type": "BOOKMARK", "object": {**bare, "metadata": {"resourceVersion": str(revision)}}}) + b"\n"
