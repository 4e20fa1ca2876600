"""The hold queue: admitted requests of a deployment without endpoints wait for one, in the order in which they came.

Nothing is reserved or journalled for a request that waits: its rights and limits are checked before, and all of them
again when its turn comes. When endpoints come, as many go out as these run at once, less what is there already.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from paddock_gateway.deployments import Deployment, Routes
from paddock_gateway.errors import RequestError, unavailable
from paddock_gateway.signals import Signals

Gone = Callable[[], Awaitable[None]]
"""Comes back when the client has left."""
_RETRY_FULL_SECONDS, _RETRY_LATE_SECONDS = 5, 10


@dataclass(eq=False, slots=True)
class Turn:
    """A request's place in the line. Once it is `free` it may go out, and counts until it is `done`."""

    deployment: Deployment
    tenant: str
    until: float
    """When it waits no longer, by the event loop's clock."""
    free: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    out: bool = False
    """True from when it is free until its request was admitted or refused."""


@dataclass(eq=False, slots=True)
class _Line:
    waiting: "OrderedDict[Turn, None]" = field(default_factory=OrderedDict)
    out: int = 0
    """Turns that are free and not done: they will be requests in a moment."""


class HoldQueue:
    """One line a deployment. Used by the event loop alone."""

    def __init__(self, *, routes: Routes, signals: Signals, of_deployment: int, of_tenant: int, in_all: int) -> None:
        self._routes = routes
        self._signals = signals
        self._of_deployment = of_deployment
        self._of_tenant = of_tenant
        self._in_all = in_all
        self._lines: dict[str, _Line] = {}
        self._tenants: Counter[str] = Counter()

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(self._tenants.values())

    def queued(self, deployment: Deployment) -> bool:
        """True if requests that came before wait, so that a new one has to stand behind them."""
        line = self._lines.get(deployment.uid)
        return line is not None and bool(line.waiting) and deployment.hold_seconds > 0

    async def wait(self, deployment: Deployment, *, tenant: str, gone: Gone, former: Turn | None = None) -> Turn:
        """Wait for a turn. `former` is one for which there was no endpoint after all: it is the first in the line.

        Raises RequestError: 503 where too many wait or it took too long, 400 if the client left.
        """
        turn = self._stand(deployment, tenant, former)
        if turn is None:  # too many wait, but there are endpoints: it is served as if nothing had been held
            return Turn(deployment, tenant, 0.0)
        meter = self._signals.meter(deployment)
        meter.hold(1)
        leaving = asyncio.ensure_future(gone())
        try:
            timeout = max(0.0, turn.until - asyncio.get_running_loop().time())
            waits: Sequence[asyncio.Future[None]] = (turn.free, leaving)
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            _expect_client(leaving)
            if not turn.out:
                self._let_late_ones_go(turn)
        except BaseException:
            self._give_up(turn)
            raise
        finally:
            leaving.cancel()
            meter.hold(-1)
        return turn

    def done(self, turn: Turn) -> None:
        """Its request was admitted or refused. Called before an admitted one is counted: the line moves after that."""
        if turn.out:
            turn.out = False
            self._lines[turn.deployment.uid].out -= 1
            asyncio.get_running_loop().call_soon(self._next, turn.deployment)

    def flow(self, name: str) -> None:
        """Free as many turns of a deployment as there is room for now."""
        deployment = self._routes.by_name.get(name)
        for uid in [uid for uid, line in self._lines.items() if line.waiting and _first(line).deployment.name == name]:
            line = self._lines[uid]
            if deployment is None or deployment.uid != uid or not (deployment.usable or deployment.hold_seconds):
                room = len(line.waiting)  # each is told why it cannot be served
            else:
                room = self._room(deployment, line)
            for _ in range(min(room, len(line.waiting))):
                self._free(line, _first(line))
            self._sweep(uid)

    def _next(self, deployment: Deployment) -> None:
        self.flow(deployment.name)
        self._sweep(deployment.uid)

    def release_all(self) -> None:
        """Let every request go on, as when the gateway stops: each is told so."""
        for line in self._lines.values():
            while line.waiting:
                self._free(line, _first(line))

    @property
    def waiting(self) -> bool:
        """True if any request waits."""
        return bool(self._lines)

    def _room(self, deployment: Deployment, line: _Line) -> int:
        runs = sum(target.max_concurrency * len(target.endpoints) for target in deployment.usable)
        return max(0, runs - self._signals.meter(deployment).in_flight - line.out)

    def _stand(self, deployment: Deployment, tenant: str, former: Turn | None) -> Turn | None:
        line = self._lines.get(deployment.uid)
        full = line is not None and len(line.waiting) >= self._of_deployment
        if former is None and (full or self._tenants[tenant] >= self._of_tenant or len(self) >= self._in_all):
            if deployment.usable:
                return None
            message = f"{deployment.name} is being started, and no more requests can wait for it: try again soon"
            raise unavailable("TooManyHeld", message, retry_after=_RETRY_FULL_SECONDS)
        until = asyncio.get_running_loop().time() + deployment.hold_seconds if former is None else former.until
        turn = Turn(deployment, tenant, until)
        line = self._lines.setdefault(deployment.uid, _Line())
        line.waiting[turn] = None
        if former is not None:
            line.waiting.move_to_end(turn, last=False)
        self._tenants[tenant] += 1
        return turn

    def _free(self, line: _Line, turn: Turn) -> None:
        self._out_of_line(line, turn)
        line.out += 1
        turn.out = True
        turn.free.set_result(None)

    def _give_up(self, turn: Turn) -> None:
        if turn.out:
            self.done(turn)
        else:
            self._out_of_line(self._lines[turn.deployment.uid], turn)
            self._sweep(turn.deployment.uid)

    def _out_of_line(self, line: _Line, turn: Turn) -> None:
        del line.waiting[turn]
        self._tenants[turn.tenant] -= 1
        if not self._tenants[turn.tenant]:
            del self._tenants[turn.tenant]

    def _let_late_ones_go(self, turn: Turn) -> None:
        """It has waited long enough. Where there are endpoints it goes out, whatever is there already."""
        deployment = self._routes.by_name.get(turn.deployment.name)
        if deployment is not None and deployment.uid == turn.deployment.uid and not deployment.usable:
            message = (
                f"{deployment.name} could not be started within {deployment.hold_seconds} s: try again; "
                f"`kubectl -n {deployment.namespace} describe llamadeployment` says how it stands"
            )
            raise unavailable("DeploymentNotReady", message, retry_after=_RETRY_LATE_SECONDS)
        self._free(self._lines[turn.deployment.uid], turn)

    def _sweep(self, uid: str) -> None:
        line = self._lines.get(uid)
        if line is not None and not line.waiting and not line.out:
            del self._lines[uid]


def _expect_client(leaving: "asyncio.Future[None]") -> None:
    if leaving.done():
        raise RequestError(status=400, code="client_gone", message="the client left")


def _first(line: _Line) -> Turn:
    return next(iter(line.waiting))
