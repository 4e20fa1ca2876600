"""One admitted request from intent to settlement, whatever becomes of its client or its engine.

The pump is a task of the app, not of the client's connection: a disconnect cancels the engine and settles, it never
skips the record. The outcome is durable before the client sees the end of its answer, so a finished answer and its
ledger row always agree.
"""

import asyncio
import logging

from opentelemetry import trace
from paddock_core.serving.contract import FINISH_CANCELLED, FINISH_LENGTH, FINISH_STOP
from paddock_core.telemetry_names import ERROR_TYPE
from paddock_core.usage import settlement
from paddock_core.usage.journal_frames import Progress
from paddock_core.usage.record import Status

from paddock_gateway.admit import Admitted
from paddock_gateway.client_side import ClientSide, Reject, Send
from paddock_gateway.counting import Counting
from paddock_gateway.covering import Covering
from paddock_gateway.dialects.base import Answer
from paddock_gateway.engine import Connection
from paddock_gateway.engine_events import Chunk, reported
from paddock_gateway.errors import (
    SERVER,
    EngineError,
    EngineRefusedError,
    EngineUnreachableError,
    JournalCrowdedError,
    JournalFullError,
    RequestError,
    StaleConnectionError,
    cut_off,
    internal_failure,
    unavailable,
)
from paddock_gateway.export import traceparent
from paddock_gateway.presence import Presence
from paddock_gateway.wiring import Wiring

_log = logging.getLogger(__name__)


class Pump:
    """Runs one request. `client_gone` may be called at any time."""

    def __init__(
        self,
        *,
        wiring: Wiring,
        admitted: Admitted,
        answer: Answer,
        send: Send,
        reject: Reject,
        span: trace.Span | None,
        notices: tuple[str, ...] = (),
    ) -> None:
        self._client = ClientSide(
            wiring=wiring, admitted=admitted, answer=answer, send=send, reject=reject, notices=notices
        )
        self._wiring = wiring
        self._admitted = admitted
        self._intent = admitted.intent
        self._span = span
        self._progress = Progress(usage_id=self._intent.usage_id, at=self._intent.t_admit)
        self._steady_admit = wiring.clock.steady()
        self._connection: Connection | None = None
        self._presence = Presence(wiring=wiring, admitted=admitted)
        self._covering = Covering(wiring=wiring, admitted=admitted)
        self._running = False
        self._settling = False
        self._cut: RequestError | None = None
        self._counting = Counting(
            cap=admitted.output_cap, ours=admitted.prompt_model.count, doubt=self._doubt_the_engine
        )
        self._whole = True
        """False once the answer was ended by us."""
        self._finish_reason: str | None = None
        self._responses = 0
        self._engine_input: int | None = None
        self._texts: list[str] = []
        self._checkpoint_tokens = 0
        self._checkpoint_at = 0.0

    @property
    def admitted(self) -> Admitted:
        """What it runs."""
        return self._admitted

    def client_gone(self) -> None:
        """The client left: stop the engine. The record is still written."""
        self._client.gone = True
        if self._connection is not None:
            self._connection.abort()

    def cut_off(self, task: "asyncio.Task[None]", reason: RequestError) -> None:
        """End the request now, unless it is being settled already. `task` is the one that runs this pump."""
        if self._settling or self._cut is not None:
            return
        self._cut = reason
        if self._running:  # a task that is cancelled before its first step would run none of its code
            task.cancel()

    async def run(self) -> None:
        """Journal, dispatch, pass on, settle, end. Whatever fails, the client is told and the record is written."""
        self._running = True
        try:
            await self._run()
        finally:
            self._presence.end()

    async def _run(self) -> None:
        refusal = await self._begin()
        if refusal is not None:
            self._settling = True
            self._release(input_tokens=0, output_tokens=0)
            if self._span is not None:
                self._span.set_attribute(ERROR_TYPE, refusal.code)
                self._span.end()
            await self._client.reject(refusal)
            return
        status, failure = await self._outcome()
        self._settling = True
        if self._client.gone:
            status, failure = settlement.CLIENT_GONE, None
        self._presence.answered(status=status, failure=failure, cut=self._cut, progress=self._progress)
        try:
            await self._settle(status)
        except Exception:  # noqa: BLE001 - logged; a client must never wait for an end that does not come
            _log.exception("a request could not be settled", extra={"usage_id": self._intent.usage_id})
            self._release(input_tokens=self._intent.input_tokens, output_tokens=self._progress.engine_tokens)
            failure = failure or internal_failure()
        await self._end(status, failure)

    async def _begin(self) -> RequestError | None:
        """Make the intent durable, or say why the request cannot begin; then it is not in the journal."""
        journal = self._wiring.journal
        try:
            if self._cut is None:
                await journal.begin(self._intent)
        except JournalFullError as error:
            return unavailable("JournalFull", str(error), retry_after=5)
        except JournalCrowdedError as error:
            return unavailable("TooManyOpenRequests", str(error))
        except asyncio.CancelledError:
            self._cut = self._cut or cut_off()  # an intent on its way to the disk is settled like any other
        return None if journal.has_begun(self._intent.usage_id) else self._cut

    async def _outcome(self) -> tuple[Status, RequestError | None]:
        if self._cut is not None:
            return settlement.ENGINE_ERROR, self._cut
        try:
            await self._dispatch()
        except EngineRefusedError as error:
            return settlement.REFUSED_BY_ENGINE, _engine_failure(error)
        except EngineUnreachableError as error:
            return settlement.REFUSED_BY_ENGINE, unavailable("EngineUnreachable", f"{error}: try again")
        except EngineError as error:
            return settlement.ENGINE_ERROR, _engine_failure(error)
        except asyncio.CancelledError:
            return settlement.ENGINE_ERROR, self._cut or cut_off()
        except Exception:  # noqa: BLE001 - logged below; the record must be written whatever the bug is
            _log.exception("a request failed in the gateway", extra={"usage_id": self._intent.usage_id})
            return settlement.ENGINE_ERROR, internal_failure()
        finally:
            self._let_go()
        return settlement.OK, None

    # the engine's side

    async def _dispatch(self) -> None:
        chunks = await self._first_chunks()
        connection = self._connection
        while chunks is not None and connection is not None:
            self._counting.read(chunks)
            covered = await self._covering.of(chunks, made=self._progress.engine_tokens)
            self._absorb(covered)
            if self._intent.stream:
                await self._client.pass_on(covered, self._progress)
                self._checkpoint()
            if len(covered) < len(chunks) or self._counting.endless:
                self._whole, self._finish_reason = False, FINISH_LENGTH
                return
            chunks = await connection.read()
        self._connection = None
        if self._responses == 0:
            raise EngineError("Triton ended its answer without a response")
        if self._finish_reason == FINISH_CANCELLED:
            self._finish_reason = None
            raise EngineError("the engine was stopped in the middle of the answer")
        if self._finish_reason is None:
            reached = self._progress.engine_tokens >= self._admitted.output_cap
            self._finish_reason = FINISH_LENGTH if reached else FINISH_STOP

    async def _first_chunks(self) -> list[Chunk] | None:
        """Start; once more, on a new connection to the same Triton, if the kept connection turns out to be dead."""
        try:
            return await self._ask(self._admitted.revision.endpoints, fresh=False)
        except StaleConnectionError as stale:
            self._presence.claim(stale.url)  # before the connection is let go: it never counts as nowhere
            self._let_go()
            if self._client.gone:
                raise
            return await self._ask((stale.url,), fresh=True)

    async def _ask(self, endpoints: tuple[str, ...], *, fresh: bool) -> list[Chunk] | None:
        admitted, span = self._admitted, self._span
        self._connection = await self._wiring.engine.generate(
            endpoints=endpoints,
            secret=admitted.secret,
            body=admitted.engine_body,
            traceparent="" if span is None else traceparent(span),
            fresh=fresh,
        )
        self._presence.sent()
        if self._client.gone:
            raise EngineError("the client left before the engine began")
        return await self._connection.read()

    def _let_go(self) -> None:
        """Give the engine's connection back; unless the answer is complete, that cancels the engine."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _doubt_the_engine(self) -> None:
        self._wiring.engine.doubted += 1
        _log.warning(
            "an engine reports a count that cannot be: this answer's tokens are counted here",
            extra={"usage_id": self._intent.usage_id, "deployment": self._intent.deployment},
        )

    def _now(self) -> float:
        """Unix seconds by the wall clock as it was at admission: who sets it meanwhile lengthens no request."""
        return self._intent.t_admit + self._wiring.clock.steady() - self._steady_admit

    def _absorb(self, chunks: list[Chunk]) -> None:
        progress = self._progress
        progress.at = self._now()
        total, text_too = progress.engine_tokens, not self._intent.stream
        for chunk in chunks:
            total += chunk.num_output_tokens or 0
            if chunk.finish_reason:
                self._finish_reason = chunk.finish_reason
            if chunk.num_input_tokens is not None:
                self._engine_input = chunk.num_input_tokens
            if text_too:
                self._texts.append(chunk.text_output)
        self._responses += len(chunks)
        progress.engine_tokens = total
        if progress.first_token_at is None and total:
            progress.first_token_at = progress.at

    def _checkpoint(self) -> None:
        progress, settings = self._progress, self._wiring.settings
        new_tokens = progress.engine_tokens - self._checkpoint_tokens
        due = (
            new_tokens >= settings.checkpoint_tokens or progress.at - self._checkpoint_at >= settings.checkpoint_seconds
        )
        if new_tokens and due:
            self._checkpoint_tokens, self._checkpoint_at = progress.engine_tokens, progress.at
            self._wiring.journal.checkpoint(progress)

    async def _settle(self, status: Status) -> None:
        wiring, progress = self._wiring, self._progress
        complete, exact = status == settlement.OK, self._whole and self._counting.exact
        if complete:
            progress.sent_tokens = progress.engine_tokens
        record = settlement.settle(
            intent=self._intent,
            progress=progress,
            status=status,
            finish_reason=self._finish_reason,
            final=exact and self._finish_reason is not None,
            ended_at=self._now(),
            seq=self._intent.journal_seq,
            raw_usage=reported(self._engine_input, progress.engine_tokens) if exact and self._responses else None,
        )
        self._release(input_tokens=record.input_tokens, output_tokens=record.output_tokens)
        await wiring.journal.settle(record)
        wiring.telemetry.settle(record, self._span)

    def _release(self, *, input_tokens: int, output_tokens: int) -> None:
        reservation = self._admitted.reservation
        nano = self._admitted.nano(input_tokens=input_tokens, output_tokens=output_tokens)
        self._wiring.leases.settle(reservation, input_tokens=input_tokens, output_tokens=output_tokens, nano=nano)

    async def _end(self, status: Status, failure: RequestError | None) -> None:
        if failure is not None:
            _log.warning(
                "a request failed",
                extra={"usage_id": self._intent.usage_id, "status": status, "error": failure.message},
            )
            await self._client.fail(failure)
            return
        await self._client.end(reason=self._finish_reason or FINISH_STOP, text=self._texts, progress=self._progress)


def _engine_failure(error: EngineError) -> RequestError:
    return RequestError(status=502, code="EngineError", message=f"{error}: try again", type=SERVER)
