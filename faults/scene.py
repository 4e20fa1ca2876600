"""A running stack on which acme's deployment serves, and the hands that do harm to its parts."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from paddock_local import leftovers
from paddock_local.demo import steps
from paddock_local.demo.world import World
from paddock_local.stack import Stack

from faults.client import Load, Log
from faults.verdict import Verdict, judge

T = TypeVar("T")
RESTART_SECONDS = 90.0
SETTLE_SECONDS = 180.0
PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The stack and its people."""

    stack: Stack
    world: World

    @contextmanager
    def load(self, *, clients: int = 4) -> Iterator[Load]:
        """Requests of acme for as long as the block lasts."""
        with Load(url=self.world.gateway_url, key=self.world.secret("acme-key"), clients=clients) as load:
            yield load

    def kill(self, part: str) -> None:
        """SIGKILL a part and return once the supervisor has started it anew."""
        before = self.stack.supervisor.processes()[part]["pid"]
        os.kill(before, signal.SIGKILL)
        self.until(f"{part} to be started again", lambda: self._restarted(part, before), seconds=RESTART_SECONDS)

    def kill_engine(self) -> None:
        """SIGKILL Triton inside its container."""
        found = [pid for pid in leftovers.inside_node(f"paddock-{self.stack.paths.digest}") if _is_triton(pid)]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        if not found:
            raise AssertionError("no Triton is running")

    @contextmanager
    def without(self, part: str) -> Iterator[None]:
        """The part is stopped while the block lasts."""
        # PostgreSQL waits for its clients on SIGTERM, and closes their connections on SIGINT.
        os.kill(self.stack.supervisor.processes()[part]["pid"], signal.SIGINT)
        self.stack.supervisor.stop_part(part)
        try:
            yield
        finally:
            self.stack.supervisor.start_part(part)

    def answered(self) -> None:
        """Return once a request is served again."""
        self.until("an answer", lambda: _quietly(lambda: steps.ask(self.world, "acme", tokens=1)), seconds=120)

    def until(self, what: str, probe: Callable[[], T | None], *, seconds: float) -> T:
        """Wait for an answer that is not None."""
        deadline = time.monotonic() + seconds
        while (found := probe()) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:.0f} s for {what}")
            time.sleep(0.1)
        return found

    def since(self) -> "Since":
        """A mark in the ledger: what comes later is compared with what clients received."""
        return Since(scene=self, rows=frozenset(row["usage_id"] for row in self.rows()), rolled_up=self.rolled_up())

    def rows(self) -> list[dict[str, Any]]:
        """acme's rows of the ledger, all pages of them."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        headers = {"authorization": f"Bearer {self.world.admin_token_file.read_text().strip()}"}
        while True:
            query: dict[str, str] = {"tenant": "acme"} | ({"after": after} if after else {})
            address = f"{self.world.controlplane_url}/v1/usage/records"
            page = httpx.get(address, params=query, headers=headers, timeout=60).raise_for_status().json()
            found += page["items"]
            after = page["next"]
            if not after:
                return found

    def rolled_up(self) -> int:
        """How many requests of acme the roll-ups hold."""
        return steps.ledger(self.world).get("acme", {"requests": 0})["requests"]

    def _restarted(self, part: str, before: int) -> bool | None:
        now = self.stack.supervisor.processes().get(part, {})
        return True if now.get("statename") == "RUNNING" and now["pid"] != before else None


@dataclass(frozen=True, kw_only=True)
class Since:
    """What the ledger held when the fault began."""

    scene: Scene
    rows: frozenset[str]
    rolled_up: int

    def verdict(self, log: Log, *, tokens: int) -> Verdict:
        """Judge once every answer has its row, or after long enough without."""
        wanted = {answer.id for answer in log.answers}
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            rows = [row for row in _quietly(self.scene.rows) or () if row["usage_id"] not in self.rows]
            if wanted <= {row["usage_id"] for row in rows} or time.monotonic() > deadline:
                break
            time.sleep(1.0)
        time.sleep(2.0)  # what would come twice comes now
        rows = [row for row in self.scene.rows() if row["usage_id"] not in self.rows]
        grown = self.scene.rolled_up() - self.rolled_up
        return judge(answers=log.answers, rows=rows, rolled_up=grown, tokens=tokens)


def _is_triton(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "tritonserver"
    except OSError:
        return False


def _quietly(work: Callable[[], T]) -> T | None:
    """Its answer, or None while any part of the way is down."""
    try:
        return work()
    except Exception:  # noqa: BLE001 - refused, reset, 403, 404, 503: all mean not yet
        return None
