"""What runs now, and what each request came to: cancellation by id, and final counts for those who lost theirs."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

RETENTION_SECONDS: Final = 900.0
"""How long the final counts of a request can be asked for."""
RETENTION_COUNT: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One response to the client. `reason` is set on the last one; the tokens are those of this part alone."""

    text: str
    input_tokens: int
    output_tokens: int
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a request ended, with the engine's own totals."""

    reason: str
    input_tokens: int
    output_tokens: int


class Responder(Protocol):
    """The client's side of one request."""

    def send(self, part: Part) -> None:
        """Send a response; the one with a reason is the last."""

    def fail(self, message: str, *, client_fault: bool, cancelled: bool = False) -> None:
        """Send an error as the last response."""

    def gone(self) -> bool:
        """True if the client cancelled or went away."""


class Running:
    """The Sink of one request: gathers or forwards the deltas, keeps the totals, ends exactly once."""

    def __init__(self, *, id: str, streaming: bool, responder: Responder, registry: "Registry") -> None:  # noqa: A002
        self.id = id
        self._streaming = streaming
        self._responder = responder
        self._registry = registry
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._actions: list[Callable[[], None]] = []
        self._ended = threading.Event()
        self._pieces: list[str] = []
        self._input = 0
        self._output = 0

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def tokens(self) -> int:
        """Of prompt and answer so far: what it takes of the key-value cache."""
        return self._input + self._output

    def on_cancel(self, action: Callable[[], None]) -> None:
        with self._lock:
            self._actions.append(action)
        if self.cancelled:
            action()

    def cancel(self) -> None:
        """Ask the engine to stop. What was generated until it does still counts."""
        with self._lock:
            self._cancelled.set()
            actions = list(self._actions)
        for action in actions:
            action()

    def poll(self) -> None:
        """Cancel if the client has gone."""
        if not self.cancelled and not self._ended.is_set() and self._responder.gone():
            self.cancel()

    def prompt(self, tokens: int) -> None:
        self._input = tokens

    def delta(self, text: str, tokens: int) -> None:
        self._output += tokens
        if not self._streaming:
            self._pieces.append(text)
            return
        self._responder.send(Part(text=text, input_tokens=self._input, output_tokens=tokens))

    def finish(self, reason: str, *, text: str = "", tokens: int = 0) -> None:
        if not self._end(reason, tokens=tokens):
            return
        if not self._streaming:
            text, tokens = "".join([*self._pieces, text]), self._output
        self._responder.send(Part(text=text, input_tokens=self._input, output_tokens=tokens, reason=reason))

    def fail(self, message: str, *, client_fault: bool) -> None:
        if self._end("error"):
            self._responder.fail(message, client_fault=client_fault)

    def _end(self, reason: str, *, tokens: int = 0) -> bool:
        with self._lock:
            if self._ended.is_set():
                return False
            self._ended.set()
            self._output += tokens
        outcome = Outcome(reason=reason, input_tokens=self._input, output_tokens=self._output)
        self._registry.settle(self, outcome)
        return True


class Registry:
    """Every running request, and the outcome of those that ended lately. Safe to use from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._running: dict[str, list[Running]] = {}
        self._outcomes: OrderedDict[str, tuple[float, Outcome]] = OrderedDict()

    def begin(self, *, id: str, streaming: bool, responder: Responder) -> Running:  # noqa: A002
        """Enter a request."""
        running = Running(id=id, streaming=streaming, responder=responder, registry=self)
        with self._changed:
            self._running.setdefault(id, []).append(running)
        return running

    def running(self) -> list[Running]:
        """Every request that has not ended."""
        with self._changed:
            return [running for same in self._running.values() for running in same]

    def settle(self, running: Running, outcome: Outcome) -> None:
        """Move a request from the running ones to the ended ones."""
        with self._changed:
            same = self._running.get(running.id, [])
            if running in same:
                same.remove(running)
            if not same:
                self._running.pop(running.id, None)
            self._remember(running.id, outcome)
            self._changed.notify_all()

    def stop(self, *, id: str, timeout: float) -> Outcome | None:  # noqa: A002
        """Cancel what runs under this id, wait for its end and give its totals; None if the id is not known.

        An id whose request ended within the last RETENTION_SECONDS gives the totals that it had.
        """
        with self._changed:
            same = list(self._running.get(id, []))
        for running in same:
            running.cancel()
        with self._changed:
            self._changed.wait_for(lambda: id not in self._running, timeout=timeout)
            known = self._outcomes.get(id)
        return None if known is None or known[0] < self._clock() - RETENTION_SECONDS else known[1]

    def _remember(self, id: str, outcome: Outcome) -> None:  # noqa: A002
        if not id:
            return
        now = self._clock()
        self._outcomes[id] = (now, outcome)
        self._outcomes.move_to_end(id)
        while self._outcomes:
            oldest = next(iter(self._outcomes))
            if len(self._outcomes) <= RETENTION_COUNT and self._outcomes[oldest][0] >= now - RETENTION_SECONDS:
                break
            del self._outcomes[oldest]
