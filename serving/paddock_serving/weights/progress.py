"""How far a Job is: bytes that are there, bytes in all, how long the rest will take. Told over HTTP to whoever asks.

The operator asks now and then and puts it in the deployment's status. Nothing rests on it: a Job whose progress cannot
be told goes on.
"""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from paddock_core.serving.contract import PROGRESS_PATH

from paddock_serving.weights.sources.base import Expected

log = logging.getLogger(__name__)

_WINDOW_SECONDS: Final = 30.0
_LOG_SECONDS: Final = 10.0


class Progress:
    """Counted by several threads at once. What is read from an earlier try's part counts as there, but not as speed."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._sizes: dict[str, int | None] = {}
        self._done: dict[str, int] = {}
        self._fetched = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._told = now()

    def expect(self, files: Iterable[Expected]) -> None:
        """These are all files, of which nothing is there yet."""
        with self._lock:
            self._sizes = {file.name: file.bytes for file in files}
            self._done = dict.fromkeys(self._sizes, 0)

    def at(self, file: Expected, *, done: int, fetched: int = 0) -> None:
        """So many bytes of a file are there, of which so many have just come over the line."""
        with self._lock:
            self._done[file.name] = done
            self._fetched += fetched
            now = self._now()
            if not self._seen or now - self._seen[-1][0] >= 1.0:
                self._seen.append((now, self._fetched))
                while now - self._seen[0][0] > _WINDOW_SECONDS:
                    self._seen.popleft()
            due = now - self._told >= _LOG_SECONDS
            if due:
                self._told = now
        if due:
            log.info("fetching", extra=self.document())

    def complete(self) -> None:
        """Everything is there."""
        with self._lock:
            self._done = {name: size or self._done.get(name, 0) for name, size in self._sizes.items()}

    def document(self) -> dict[str, int | None]:
        """`bytesDone`, `bytesTotal` and `etaSeconds`; the last is None where the speed, or a size, is not known."""
        with self._lock:
            done = sum(self._done.values())
            known = sum(size or self._done[name] for name, size in self._sizes.items())
            return {"bytesDone": done, "bytesTotal": max(known, done), "etaSeconds": self._eta(max(known - done, 0))}

    def _eta(self, left: int) -> int | None:
        if None in self._sizes.values() or len(self._seen) < 2:
            return None
        (begin, before), (end, after) = self._seen[0], self._seen[-1]
        speed = (after - before) / (end - begin) if end > begin else 0.0
        return round(left / speed) if speed > 0 else None


@contextmanager
def telling(progress: Progress, *, address: str, port: int) -> Iterator[None]:
    """Answer `GET /progress` while the block runs, if there is an address."""
    server = _server(progress, address, port) if address else None
    if server is None:
        yield
        return
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _server(progress: Progress, address: str, port: int) -> ThreadingHTTPServer | None:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path != PROGRESS_PATH:
                self.send_error(404)
                return
            body = json.dumps(progress.document()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
            """Nobody reads who asked."""

    try:
        server = ThreadingHTTPServer((address, port), Handler)
    except OSError as error:
        log.warning("progress is not told", extra={"address": address, "port": port, "error": str(error)})
        return None
    server.daemon_threads = True
    return server
