"""A file server with ranges, which breaks off, is busy, is slow or lies, as a test wants it."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from paddock_core.catalog.types import WeightFile, WeightSet
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.sources.base import Checkpoint

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """What is served, how, and what was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path. Their entity tags are made of their content."""
    guard: Callable[[str, str, dict[str, str]], Answer | None] | None = None
    """Answers instead of the files: told method and target, query and all, and headers in lower case."""
    cuts: list[int] = field(default_factory=list)
    """After so many bytes of its body, the next answers break off."""
    busy: list[str] = field(default_factory=list)
    """Retry-After of the next answers, which are 429."""
    bytes_a_second: float = 0.0
    ranges: bool = True
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of bodies by path."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, path: str) -> int:
        return sum(target.partition("?")[0] == path for target, _ in self.seen)


class Handler(BaseHTTPRequestHandler):
    """Answers from `server_state`, which the fixture binds."""

    server_state: ClassVar[Server]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        pass

    def do_GET(self) -> None:
        state = self.server_state
        headers = {name.lower(): value for name, value in self.headers.items()}
        with state.lock:
            state.seen.append((self.path, headers))
            waiting = state.busy.pop(0) if state.busy else None
        if waiting is not None:
            self._answer(429, {"Retry-After": waiting}, b"")
            return
        answer = state.guard(self.command, self.path, headers) if state.guard is not None else None
        if answer is not None:
            self._answer(*answer)
        else:
            self._file(unquote(self.path.partition("?")[0]), headers)

    def _file(self, path: str, headers: dict[str, str]) -> None:
        state = self.server_state
        data = state.files.get(path)
        if data is None:
            self._answer(404, {}, b"")
            return
        tag = etag(data)
        if headers.get("if-match", tag) != tag:
            self._answer(412, {}, b"")
            return
        begin = int(headers["range"][6:-1]) if "range" in headers and state.ranges else 0
        if begin >= len(data) > 0:
            self._answer(416, {}, b"")
            return
        told = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
        self._answer(206 if begin else 200, {**told, "ETag": tag}, data[begin:], path=path)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, *, path: str = "") -> None:
        state = self.server_state
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with state.lock:
            cut = state.cuts.pop(0) if path and state.cuts else None
        if cut is not None and cut < len(body):
            body, self.close_connection = body[:cut], True
        step = 65536
        for begin in range(0, len(body), step):
            part = body[begin : begin + step]
            try:
                self.wfile.write(part)
            except OSError:
                self.close_connection = True
                return
            with state.lock:
                state.sent[path] = state.sent.get(path, 0) + len(part)
            if state.bytes_a_second:
                time.sleep(len(part) / state.bytes_a_second)


def etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:16]}"'


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"server_state": state}))
    listening.daemon_threads = True
    state.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield state
    listening.shutdown()
    thread.join(300)
    listening.server_close()


Settings = Callable[..., PrepareSettings]
Making = Callable[..., Checkpoint]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a Job, but for what a test says."""

    def make(**changes: Any) -> PrepareSettings:
        values = {"model": "m", "controlplane_url": "http://unused", "decision_token": "dt", "weights_dir": tmp_path}
        return PrepareSettings(**{**values, **changes})

    return make


@pytest.fixture
def checkpoint() -> Making:
    """A checkpoint from a source; `files` are listed with their digests."""

    def make(
        source: dict[str, str], *, files: dict[str, bytes] | None = None, revision: str | None = None, model: str = "m"
    ) -> Checkpoint:
        listed = tuple(
            WeightFile(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in (files or {}).items()
        )
        weights = WeightSet(format="safetensors", bytes=1, source=source, revision=revision, files=listed)
        return Checkpoint(model=model, precision="bf16", weights=weights)

    return make
