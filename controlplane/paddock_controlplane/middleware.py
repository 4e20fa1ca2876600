"""What every request passes: a bound on its body, a span, a duration, one line in the log."""

import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any

from opentelemetry import propagate
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paddock_controlplane.problems import Invalid, TooLarge
from paddock_controlplane.telemetry import Telemetry

log = logging.getLogger("paddock_controlplane.access")

_QUIET = ("/healthz", "/readyz", "/metrics", "/internal/v1/policy/changes")
"""Asked all the time; logged only when they fail."""
_TOKEN = re.compile(r"(?<=/console/sign/)[^/]{9,}|[a-z]{2,4}_[a-z2-7]{12}_[^/]*")
"""The token of a signatory's link, also one that was cut or stands in a wrong place; and any other credential."""
_DEFAULT_BODY_BYTES = 2 * 2**20
_BODY_BYTES = {"/internal/v1/usage": 32 * 2**20, "/internal/v1/artifacts/": 64 * 2**20}
"""Larger bounds, by the beginning of the path."""


class BodyLimit:
    """Refuses a body that is larger than its route can want, by its declared and by its real length."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bound = next(
            (size for start, size in _BODY_BYTES.items() if scope["path"].startswith(start)), _DEFAULT_BODY_BYTES
        )
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = TooLarge(f"the body has more than {bound} bytes")
        if not declared.isdigit():
            await Invalid("content-length is not a number").response()(scope, receive, send)
            return
        if int(declared) > bound:
            await too_large.response()(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > bound:
                raise too_large
            return message

        await self._app(scope, counted, send)


class Observe:
    """One span, one duration and one log line a request."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._tracer = telemetry.tracer
        self._duration = telemetry.meter.create_histogram(
            "http.server.request.duration", unit="s", description="How long requests took."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracer.start_as_current_span(
            scope["method"], context=propagate.extract(headers), kind=SpanKind.SERVER
        ) as span:
            try:
                await self._app(scope, receive, noted)
            finally:
                attributes = _attributes(scope, status)
                span.update_name(f"{scope['method']} {attributes['http.route']}")
                span.set_attributes(attributes)
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
                seconds = time.perf_counter() - started
                self._duration.record(seconds, attributes)
                _line(scope, status, seconds, trace_id=span.get_span_context().trace_id)


def _attributes(scope: MutableMapping[str, Any], status: int) -> dict[str, str | int]:
    """Attributes of few values each: the route's template, never the path, which holds ids."""
    route = scope.get("route")
    return {
        "http.request.method": scope["method"],
        "http.route": getattr(route, "path", None) or "(none)",
        "http.response.status_code": status,
    }


def _masked(path: str) -> str:
    """The path without credentials."""
    return _TOKEN.sub("***", path)


def _line(scope: MutableMapping[str, Any], status: int, seconds: float, *, trace_id: int) -> None:
    if status < 400 and scope["path"] in _QUIET:
        return
    log.info(
        "request",
        extra={
            "method": scope["method"],
            "path": _masked(scope["path"]),
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "trace": f"{trace_id:032x}",
        },
    )
