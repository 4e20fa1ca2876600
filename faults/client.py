"""Clients that write down what they received. Their log, not the gateway's, is what the ledger is held against."""

import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from paddock_local.demo.cast import SERVED

TOKENS = 24
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
    status: int = 200


@dataclass
class Log:
    """Every answer that began. Safe to use from any thread."""

    answers: list[Received] = field(default_factory=list)
    refused: int = 0
    failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, received: Received) -> None:
        with self._lock:
            if received.status == 200:
                self.answers.append(received)
            else:
                self.refused += 1

    def count_failure(self) -> None:
        with self._lock:
            self.failed += 1


def ask(http: httpx.Client, *, log: Log, prompt: str, stream: bool, tokens: int = TOKENS) -> None:
    """One request to its end, whatever end that is."""
    body: dict[str, Any] = {"model": SERVED, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    received: Received | None = None
    try:
        with http.stream("POST", "/v1/completions", json=body) as response:
            request_id = response.headers.get("x-request-id", "")
            received = Received(id=request_id, stream=stream, status=response.status_code)
            if response.status_code == 200:
                _read(response, received)
            else:
                response.read()
    except httpx.HTTPError:
        log.count_failure()
        time.sleep(AFTER_FAILURE_SECONDS)
    if received is not None:
        log.add(received)
        if received.status != 200:
            time.sleep(AFTER_FAILURE_SECONDS)


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

    def __init__(self, *, url: str, key: str, clients: int = 4, seed: int = 1) -> None:
        self.log = Log()
        self._url = url
        self._key = key
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
        with open_client(url=self._url, key=self._key) as http:
            while not self._stop.is_set():
                ask(http, log=self.log, prompt=chance.choice(PROMPTS), stream=chance.random() < 0.5)


def open_client(*, url: str, key: str) -> httpx.Client:
    """A client with the tenant's key."""
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60)
