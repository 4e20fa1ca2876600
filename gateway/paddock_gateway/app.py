"""The ASGI application: which path does what, bodies read within bounds, errors in the dialect's shape."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

import msgspec

from paddock_gateway.admit import admit
from paddock_gateway.authenticate import Caller, Callers, need_scope
from paddock_gateway.dialects import load_dialects
from paddock_gateway.dialects.base import Dialect
from paddock_gateway.errors import NOT_FOUND, RequestError, cut_off, internal_failure, policy_expired, stopping
from paddock_gateway.pump import Pump
from paddock_gateway.rights import AT_A_TIME, INTERVAL_SECONDS, objection
from paddock_gateway.route import Target, find_target, visible_targets
from paddock_gateway.wiring import Wiring

_log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_JSON = (b"content-type", b"application/json")
_MODELS = "/v1/models"
_MODELS_SCOPE = "models:read"


class App:
    """Bare ASGI. Owns the pumps: shutdown waits for them, not for the clients' connections."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._callers = Callers()
        dialects = load_dialects()
        self._operations = {
            path: (dialect, operation) for dialect in dialects for path, operation in dialect.paths.items()
        }
        self._default = next(dialect for dialect in dialects if dialect.name == "openai")
        self._pumps: dict[asyncio.Task[None], Pump] = {}
        self._admitting = 0
        self._stopping = False
        self._quiet = asyncio.Event()

    @property
    def running(self) -> int:
        """Requests that are being pumped."""
        return len(self._pumps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        known = self._operations.get(path)
        dialect = self._default if known is None else known[0]
        try:
            if known is not None:
                _expect(method, "POST")
                await self._complete(dialect, known[1], scope, receive, send)
            else:
                _expect(method, "GET")
                await self._look_up(path, scope, send)
        except RequestError as error:
            await self._reject(error, dialect, send)
        except Exception:  # noqa: BLE001 - logged here; a client gets an answer in its own dialect whatever the bug is
            _log.exception("a request failed before it was admitted", extra={"path": path})
            await self._reject(internal_failure(), dialect, send)

    async def finish(self, seconds: float) -> None:
        """Let running requests end, also those that are still being admitted; cut off and settle what takes longer.

        Those that wait for an endpoint are told at once: another gateway may serve them.
        """
        self._wiring.held.stop()
        await self._until_quiet(seconds)
        self._stopping = True  # nothing is admitted from here on
        for task, pump in self._pumps.items():
            pump.cut_off(task, stopping())
        await self._until_quiet(5)

    async def end_with_rights(self) -> None:
        """Cut off every answer whose license has ended, and refuse those that wait without a right, until cancelled."""
        held = self._wiring.held
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            looks = [partial(self._end_without_right, task, pump) for task, pump in self._pumps.items()]
            looks += [partial(held.refuse_without_right, turn) for turn in held.turns()]
            for number, look in enumerate(looks, start=1):
                look()
                if number % AT_A_TIME == 0:
                    await asyncio.sleep(0)

    def _end_without_right(self, task: "asyncio.Task[None]", pump: Pump) -> None:
        admitted = pump.admitted
        reason = objection(
            target=admitted.target, model=admitted.revision.model, caller=admitted.caller, wiring=self._wiring
        )
        if reason is not None:
            pump.cut_off(task, reason)

    async def _until_quiet(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._pumps or self._admitting:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            pass

    async def _complete(self, dialect: Dialect, operation: str, scope: Scope, receive: Receive, send: Send) -> None:
        wiring = self._wiring
        self._admitting += 1
        try:
            identify = partial(self._allowed, scope, dialect.scopes[operation])
            caller = identify()
            body = await self._read_body(scope, receive)
            size, completion = len(body), dialect.parse(operation=operation, body=body)
            del body  # a request may wait
            admitted = await admit(
                completion=completion,
                size=size,
                caller=caller,
                identify=identify,
                gone=lambda: _left(receive),
                dialect=dialect.name,
                wiring=wiring,
            )
        finally:
            self._admitting -= 1
            self._quiet.set()

        async def reject(error: RequestError) -> None:
            await self._reject(error, dialect, send, usage_id=admitted.intent.usage_id)

        answer = dialect.answer(
            completion=completion,
            usage_id=admitted.intent.usage_id,
            created=int(admitted.intent.t_admit),
            model=admitted.intent.deployment,
            notices=(notices := wiring.licenses.notices(model=admitted.intent.model, view=wiring.policy.view)),
        )
        span = wiring.telemetry.begin(admitted.intent, scope["headers"])
        pump = Pump(
            wiring=wiring, admitted=admitted, answer=answer, send=send, reject=reject, span=span, notices=notices
        )
        loop = asyncio.get_running_loop()
        task = loop.create_task(pump.run())
        self._pumps[task] = pump
        task.add_done_callback(self._ended)
        deadline = loop.call_later(wiring.settings.request_timeout_seconds, pump.cut_off, task, cut_off())
        try:
            # Comes back when the answer is complete or the client left, whichever is first.
            await _left(receive)
            pump.client_gone()
            if not task.done():
                await asyncio.wait((task,))  # unlike awaiting the task, this never cancels it
        finally:
            deadline.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        pump = self._pumps.pop(task)
        if self._wiring.held.waiting:
            self._wiring.held.flow(pump.admitted.target.deployment.name)
        self._quiet.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a request could not be settled: the next start will", exc_info=error)

    def _allowed(self, scope: Scope, needed: str) -> Caller:
        """The caller by what holds now, whose key has this scope. Raises RequestError."""
        caller = self._caller(scope)
        need_scope(caller, needed)
        return caller

    def _caller(self, scope: Scope) -> Caller:
        policy = self._wiring.policy
        if self._stopping:
            raise stopping()
        if policy.expired():
            raise policy_expired()
        header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        return self._callers.prove(authorization=header, view=policy.view, now=policy.now())

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        settings = self._wiring.settings
        limit = settings.max_body_bytes
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(announced) > limit:
            raise _too_large(limit)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(settings.body_timeout_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError(status=400, code="client_gone", message="the client left")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise _too_large(limit)
                    if not message.get("more_body", False):
                        return parts[0] if len(parts) == 1 else b"".join(parts)
        except TimeoutError as error:
            message_text = f"the request's body did not come within {settings.body_timeout_seconds:g} s"
            headers = ((b"connection", b"close"),)
            raise RequestError(status=408, code="request_timeout", message=message_text, headers=headers) from error

    async def _look_up(self, path: str, scope: Scope, send: Send) -> None:
        if path == "/healthz":
            await _respond(send, 200, b'{"status":"ok"}')
        elif path == "/readyz":
            await self._readiness(send)
        elif path == _MODELS:
            need_scope(caller := self._caller(scope), _MODELS_SCOPE)
            targets = visible_targets(caller=caller, routes=self._wiring.routes, view=self._wiring.policy.view)
            entries = [_model(target) for target in targets if self._licensed(target, caller)]
            await _respond(send, 200, msgspec.json.encode({"object": "list", "data": entries}))
        elif path.startswith(_MODELS + "/"):
            need_scope(caller := self._caller(scope), _MODELS_SCOPE)
            target = find_target(
                model=path[len(_MODELS) + 1 :], caller=caller, routes=self._wiring.routes, view=self._wiring.policy.view
            )
            self._check_license(target, caller)
            await _respond(send, 200, msgspec.json.encode(_model(target)))
        else:
            raise RequestError(status=404, code="unknown_url", message=f"there is no {path} here", type=NOT_FOUND)

    async def _readiness(self, send: Send) -> None:
        wiring = self._wiring
        missing = [
            what
            for what, there in (
                ("the policy has not been received or is too old", not wiring.policy.expired()),
                ("the deployments have not been listed yet", wiring.routes.synced),
                ("the operator has not asked this gateway yet", self._known_to_operator()),
            )
            if not there
        ]
        body = msgspec.json.encode({"status": "ready" if not missing else "not ready", "missing": missing})
        await _respond(send, 503 if missing else 200, body)

    def _known_to_operator(self) -> bool:
        """Whether a drain waits for this gateway's requests, or the operator was given its time."""
        wiring = self._wiring
        return wiring.signals.heard or wiring.signals.age() >= wiring.settings.operator_wait_seconds

    def _check_license(self, target: Target, caller: Caller) -> None:
        """Raises RequestError unless the caller may ask at least one model that answers there."""
        wiring, refusals = self._wiring, []
        for model in target.deployment.models:
            try:
                wiring.licenses.check(
                    target=target,
                    model=model,
                    caller=caller,
                    view=wiring.policy.view,
                    now=wiring.policy.now(),
                    asked=False,
                )
            except RequestError as refusal:
                refusals.append(refusal)
            else:
                return
        raise refusals[0]

    def _licensed(self, target: Target, caller: Caller) -> bool:
        try:
            self._check_license(target, caller)
        except RequestError:
            return False
        return True

    async def _reject(self, error: RequestError, dialect: Dialect, send: Send, *, usage_id: str | None = None) -> None:
        self._wiring.telemetry.refuse(error.code)
        headers = error.headers if usage_id is None else (*error.headers, (b"x-request-id", usage_id.encode()))
        await _respond(send, error.status, dialect.error(error), headers)


async def _left(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(send: Send, status: int, body: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    headers = [_JSON, (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _expect(method: str, expected: str) -> None:
    if method != expected:
        headers = ((b"allow", expected.encode()),)
        message = f"this address takes {expected}, not {method}"
        raise RequestError(status=405, code="method_not_allowed", message=message, headers=headers)


def _too_large(limit: int) -> RequestError:
    return RequestError(status=413, code="request_too_large", message=f"the body is larger than {limit} bytes")


def _model(target: Target) -> dict[str, Any]:
    deployment = target.deployment
    return {
        "id": deployment.name,
        "object": "model",
        "created": deployment.created,
        "owned_by": target.owner.id,
    }
