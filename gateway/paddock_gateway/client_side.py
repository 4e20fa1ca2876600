"""The client's side of one request: the head, the pieces and the end of its answer, or why there is none."""

from collections.abc import Awaitable, Callable
from typing import Any

from paddock_core.usage.journal_frames import Progress

from paddock_gateway.admit import Admitted
from paddock_gateway.dialects.base import Answer, Usage
from paddock_gateway.engine_events import Chunk
from paddock_gateway.errors import RequestError
from paddock_gateway.limiting import limit_headers
from paddock_gateway.wiring import Wiring

Send = Callable[[dict[str, Any]], Awaitable[None]]
Reject = Callable[[RequestError], Awaitable[None]]
"""Sends a whole error answer."""
Headers = tuple[tuple[bytes, bytes], ...]
NOTICE_HEADER = b"x-paddock-notice"
"""What the model's licenses want to be told with every answer, one header each."""


class ClientSide:
    """Sends nothing any more once the client is `gone`."""

    __slots__ = ("_admitted", "_answer", "_intent", "_notices", "_send", "_started", "_wiring", "gone", "reject")

    def __init__(
        self,
        *,
        wiring: Wiring,
        admitted: Admitted,
        answer: Answer,
        send: Send,
        reject: Reject,
        notices: tuple[str, ...],
    ) -> None:
        self._wiring = wiring
        self._admitted = admitted
        self._intent = admitted.intent
        self._answer = answer
        self._send = send
        self._notices = notices
        self._started = False
        self.reject = reject
        self.gone = False

    async def pass_on(self, chunks: list[Chunk], progress: Progress) -> None:
        """Send what came of a stream, and note in `progress` how much of it was sent."""
        pieces = [] if self._started else [self._answer.first()]
        pieces.extend(self._answer.chunk(text) for chunk in chunks if (text := chunk.text_output))
        if not self._started:
            await self._start(200, self._answer.content_type_stream, ((b"cache-control", b"no-cache"),))
        if self.gone:
            return
        await self._send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})
        if not self.gone:
            progress.sent_tokens = progress.engine_tokens

    async def _start(self, status: int, content_type: bytes, extra: Headers) -> None:
        self._started = True
        headers = [
            (b"content-type", content_type),
            (b"x-request-id", self._intent.usage_id.encode()),
            *limit_headers(self._admitted.reservation.plan, self._wiring),
            *((NOTICE_HEADER, notice.encode("latin-1", "replace")) for notice in self._notices),
            *extra,
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def fail(self, failure: RequestError) -> None:
        """Say why there is no answer, or no more of it."""
        if not self._started:
            await self.reject(failure)
            return
        await self._send({"type": "http.response.body", "body": self._answer.broken(failure), "more_body": False})

    async def end(self, *, reason: str, text: list[str], progress: Progress) -> None:
        """The end of a stream, or the whole of another answer, whose pieces are `text`."""
        if self.gone:
            return
        usage = Usage(input_tokens=self._intent.input_tokens, output_tokens=progress.engine_tokens)
        if self._intent.stream:
            if not self._started:
                await self.pass_on([], progress)
            body = self._answer.last(finish_reason=reason, usage=usage)
        else:
            body = self._answer.whole(text="".join(text), finish_reason=reason, usage=usage)
            await self._start(200, b"application/json", ((b"content-length", str(len(body)).encode()),))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})
