"""The control plane's internal API as far as the operator uses it, below its own HTTP client, under virtual time."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
from paddock_core.policy.wire import Change, Changes, Snapshot
from paddock_operator.ports import Clock

MAX_AGE_SECONDS = 900.0


class ControlPlane:
    """Policy objects and their changes. `kinds` says how each type of object is called in the policy."""

    def __init__(self, *, clock: Clock, kinds: Mapping[type, str]) -> None:
        self.down = False
        self.asked: list[str] = []
        """Every request that is no poll, as `METHOD path`."""
        self._clock = clock
        self._kinds = kinds
        self._log: list[Change] = []
        self._heard = asyncio.Event()

    def put(self, *objects: Any) -> None:
        """Add or replace policy objects."""
        for item in objects:
            self._append(self._kinds[type(item)], item.id, msgspec.to_builtins(item))

    def remove(self, kind: str, id_: str) -> None:
        """Remove a policy object."""
        self._append(kind, id_, None)

    def client(self) -> httpx.AsyncClient:
        """An HTTP client of it."""
        return httpx.AsyncClient(transport=_Transport(self), base_url="http://controlplane.test", timeout=10.0)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        await asyncio.sleep(0.002)
        if self.down:
            raise httpx.ConnectError("connection refused", request=request)
        path = request.url.path
        if path == "/internal/v1/policy":
            return _json(self._snapshot())
        if path == "/internal/v1/policy/changes":
            return _json(await self._changes(dict(request.url.params)))
        self.asked.append(f"{request.method} {path}")
        if path == "/internal/v1/decision-tokens" or path.endswith("/start"):
            return _json({"token": "token-of-the-simulation", "expires_at": 0})
        return _json({})

    def _append(self, kind: str, id_: str, body: dict[str, Any] | None) -> None:
        self._log.append(Change(revision=len(self._log) + 1, kind=kind, id=id_, body=body))
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()

    def _snapshot(self) -> Snapshot:
        objects: dict[str, dict[str, Any]] = {}
        for change in self._log:
            of_kind = objects.setdefault(change.kind, {})
            if change.body is None:
                of_kind.pop(change.id, None)
            else:
                of_kind[change.id] = change.body
        at = self._clock.now()
        return Snapshot(revision=len(self._log), max_age_seconds=MAX_AGE_SECONDS, at=at, objects=objects)

    async def _changes(self, query: dict[str, str]) -> Changes:
        after = int(query["after"])
        if len(self._log) <= after:
            try:
                async with asyncio.timeout(float(query["wait"])):
                    await self._heard.wait()
            except TimeoutError:
                pass
        changes, at = tuple(self._log[after:]), self._clock.now()
        return Changes(revision=len(self._log), max_age_seconds=MAX_AGE_SECONDS, at=at, changes=changes)


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._control_plane.answer(request)


def _json(document: Any) -> httpx.Response:
    return httpx.Response(200, content=msgspec.json.encode(document), headers={"Content-Type": "application/json"})
