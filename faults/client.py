"""Clients that write down what they received. Their log, not the gateway's, is what the ledger is held against."""

import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from paddock_local.demo.cast import SERVED

TOKENS = 8
PROMPTS = ("1, 2, 3, 4, 5, 6, 7, 8, 9,", "The capital of Peru is", "a b c d e f g", "Once upon a time")
AFTER_FAILURE_SECONDS = 0.1


@dataclass
class Received:
    """What one request came to, as its client saw it."""

    id: str
    """`x-request-id` of the answer, which is the ledger's usage_id."""
    stream: bool
    pieces: int = 0
    """Pieces of text that arrived: each is one token or more."""
    usage: tuple[int, int] | None = None
    """Input and output tokens that the answer said it cost; None where it never came."""
    complete: bool = False
    began: float = field(default_factory=time.monotonic)
    """When it was sent, by the monotonic clock."""


@dataclass(frozen=True)
class Refused:
    """A request that got an error for an answer."""

    status: int
    code: str
    began: float
    """When it was sent, by the monotonic clock."""


@dataclass
class Log:
    """Every answer that began. Safe to use from any thread."""

    answers: list[Received] = field(default_factory=list)
    refusals: list[Refused] = field(default_factory=list)
    failed: int = 0
    """Requests that got no answer at all."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, received: Received | Refused) -> None:
        with self._lock:
            if isinstance(received, Received):
                self.answers.append(received)
            else:
                self.refusals.append(received)

    def codes(self, *, since: float = 0.0) -> set[str]:
        """Why requests that were sent since then were refused."""
        return {refused.code for refused in list(self.refusals) if refused.began >= since}

    def served(self, *, since: float) -> int:
        """How many requests that were sent since then were answered."""
        return sum(answer.began >= since for answer in list(self.answers))

    def count_failure(self) -> None:
        with self._lock:
            self.failed += 1


def ask(
    http: httpx.Client, *, log: Log, prompt: str, stream: bool, key: str, tokens: int = TOKENS, user: str | None = None
) -> None:
    """One request to its end, whatever end that is."""
    body: dict[str, Any] = {"model": SERVED, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": stream}
    body |= ({"stream_options": {"include_usage": True}} if stream else {}) | ({"user": user} if user else {})
    began, received = time.monotonic(), None
    try:
        with http.stream("POST", "/v1/completions", json=body, headers={"authorization": f"Bearer {key}"}) as response:
            if response.status_code != 200:
                log.add(Refused(response.status_code, _code(response), began))
                time.sleep(AFTER_FAILURE_SECONDS)
                return
            received = Received(id=response.headers["x-request-id"], stream=stream, began=began)
            _read(response, received)
    except httpx.HTTPError:
        log.count_failure()
        time.sleep(AFTER_FAILURE_SECONDS)
    finally:
        if received is not None:
            log.add(received)


def _code(response: httpx.Response) -> str:
    try:
        return str(json.loads(response.read())["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _read(response: httpx.Response, received: Received) -> None:
    if not received.stream:
        document = json.loads(response.read())
        received.usage = _usage(document)
        received.complete = True
        return
    for line in response.iter_lines():
        if line == "data: [DONE]":
            received.complete = received.usage is not None
        elif line.startswith("data: {"):
            event = json.loads(line[6:])
            received.pieces += any(choice.get("text") for choice in event.get("choices", ()))
            received.usage = _usage(event) or received.usage


def _usage(document: dict[str, Any]) -> tuple[int, int] | None:
    usage = document.get("usage")
    return None if usage is None else (usage["prompt_tokens"], usage["completion_tokens"])


class Load:
    """Clients that ask without a pause, half of them streaming, until the block ends."""

    def __init__(self, *, url: str, key: str, clients: int, tokens: int = TOKENS, seed: int = 1) -> None:
        self.log = Log()
        self.key = key
        """What they show from now on."""
        self._url = url
        self._tokens = tokens
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_again_and_again, args=(random.Random(seed + number),), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=90)

    def _ask_again_and_again(self, chance: random.Random) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self._stop.is_set():
                prompt, stream = chance.choice(PROMPTS), chance.random() < 0.5
                ask(http, log=self.log, prompt=prompt, stream=stream, key=self.key, tokens=self._tokens)
