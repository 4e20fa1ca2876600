"""Somebody who writes through the control plane's API all the while."""

import threading
import uuid

import httpx
from paddock_local.demo.world import World

from faults.books import call

PAUSE_SECONDS = 0.05


class Writer:
    """Issues a key of acme's and revokes it, again and again, until the block ends."""

    def __init__(self, world: World) -> None:
        self.written: list[str] = []
        self._failure: httpx.HTTPError | None = None
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=90)

    def check(self) -> None:
        """Raise what a write failed with."""
        if self._failure is not None:
            raise AssertionError("a write failed") from self._failure

    def _write(self) -> None:
        path = "/v1/tenants/acme/keys"
        while not self._stop.wait(PAUSE_SECONDS) and self._failure is None:
            try:
                made = call(self._world, "POST", path, {"name": f"written-{uuid.uuid4()}"})
                call(self._world, "DELETE", f"{path}/{made['id']}")
            except httpx.HTTPError as error:
                self._failure = error
            else:
                self.written.append(made["id"])
