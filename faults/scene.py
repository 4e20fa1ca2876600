"""A running stack on which acme's deployment serves, and the hands that do harm to its parts."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paddock_local import leftovers
from paddock_local.demo import steps
from paddock_local.demo.world import World
from paddock_local.stack import Stack

from faults.beside import Beside, MovedClock, beside
from faults.books import Since, call
from faults.client import TOKENS, Load
from faults.writer import Writer

T = TypeVar("T")
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The stack and its people."""

    stack: Stack
    world: World

    @contextmanager
    def load(self, *, url: str = "", key: str = "", clients: int = 4, tokens: int = TOKENS) -> Iterator[Load]:
        """Requests of acme for as long as the block lasts, to the stack's gateway if no other is named."""
        where, secret = url or self.world.gateway_url, key or self.world.secret("acme-key")
        with Load(url=where, key=secret, clients=clients, tokens=tokens) as load:
            yield load

    def kill(self, part: str) -> None:
        """SIGKILL a part and return once the supervisor has started it anew."""
        kill_part(self.stack, part)

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
        self.until("an answer", lambda: _quietly(lambda: steps.ask(self.world, "acme", tokens=1)))

    def until(self, what: str, probe: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS) -> T:
        """Wait for an answer that is not None."""
        return until(what, probe, seconds=seconds)

    def since(self) -> Since:
        """A mark in the ledger: what comes later is compared with what acme's clients received."""
        return Since.now(self.world)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """A request to the control plane, as the platform where no `token` is given; its JSON."""
        return call(self.world, method, path, body, **more)

    def beside(self, part: str, name: str, **more: Any) -> AbstractContextManager[Beside]:
        """A second process of a part, until the block ends (see beside.py)."""
        return beside(self.stack, part, name, **more)

    @contextmanager
    def writing(self) -> Iterator[list[str]]:
        """Names of what was written through the control plane's API; a write that fails ends the block with it."""
        with Writer(self.world) as writer:
            yield writer.written
        writer.check()

    @contextmanager
    def clock(self) -> Iterator[MovedClock]:
        """A clock for processes beside the stack's own."""
        with tempfile.TemporaryDirectory() as folder:
            yield MovedClock(Path(folder) / "clock")

    def internal_token(self) -> str:
        """What gateways show the control plane."""
        return self.stack.paths.secret("internal-token").read_text().strip()

    def quietly(self, work: Callable[[], T]) -> T | None:
        """Its answer, or None while any part of the way is down."""
        return _quietly(work)


def kill_part(stack: Stack, part: str) -> None:
    """SIGKILL a part of a stack and return once its supervisor has started it anew."""
    before = stack.supervisor.processes()[part]["pid"]
    os.kill(before, signal.SIGKILL)

    def restarted() -> bool | None:
        now = stack.supervisor.processes().get(part, {})
        return True if now.get("statename") == "RUNNING" and now["pid"] != before else None

    until(f"{part} to be started again", restarted)


def until(what: str, probe: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS) -> T:
    """Wait for an answer that is not None; for long, since machines are slow and what must be quick is asserted."""
    deadline = time.monotonic() + seconds
    while (found := probe()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)
    return found


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
