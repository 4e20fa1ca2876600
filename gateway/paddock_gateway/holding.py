"""The hold queue: admitted requests of a deployment without endpoints wait for one, in the order in which they came.

Nothing is reserved or journalled for a request that waits: its rights and limits are checked before, and all of them
again when its turn comes. When endpoints come, as many go out as these run at once, less what is there already. Until
the line is empty, new requests stand at its end, whether it is held still or not; one for which there is no place is
told to come again.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from paddock_gateway.deployments import Deployment, Routes
from paddock_gateway.errors import RequestError, stopping, unavailable
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
    size: int
    """Bytes of its body, for what it takes in memory."""
    may: Callable[[], object] = lambda: None
    """Raises RequestError once the request may not be made any more."""
    refusal: RequestError | None = None
    """Why it may not, once that is so; then it is in no line."""
    free: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    out: bool = False
    """True from when it is free until its request was admitted or refused."""


@dataclass(eq=False, slots=True)
class _Line:
    waiting: "OrderedDict[Turn, None]" = field(default_factory=OrderedDict)
    tenants: Counter[str] = field(default_factory=Counter)
    """How many of those that wait are whose."""
    out: int = 0
    """Turns that are free and not done: they will be requests in a moment."""


class HoldQueue:
    """One line a deployment. Used by the event loop alone.

    A tenant gets no more than half of the line of a deployment that others may call too, and of the bytes in all no
    larger part than of the places in all.
    """

    def __init__(
        self,
        *,
        routes: Routes,
        signals: Signals,
        of_deployment: int,
        of_tenant: int,
        in_all: int,
        bytes_in_all: int = 1 << 26,
    ) -> None:
        self._routes = routes
        self._signals = signals
        self._of_deployment = of_deployment
        self._of_tenant = of_tenant
        self._in_all = in_all
        self._lines: dict[str, _Line] = {}
        self._bytes_in_all = bytes_in_all
        self._bytes_of_tenant = bytes_in_all * min(of_tenant, in_all) // in_all
        self._tenants: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._stopped = False

    def __len__(self) -> int:
        """Requests that wait."""
        return sum(self._tenants.values())

    def queued(self, deployment: Deployment) -> bool:
        """True if requests that came before wait, so that a new one has to stand behind them."""
        line = self._lines.get(deployment.uid)
        return line is not None and bool(line.waiting)

    async def wait(
        self,
        deployment: Deployment,
        *,
        tenant: str,
        gone: Gone,
        size: int = 0,
        former: Turn | None = None,
        may: Callable[[], object] = lambda: None,
    ) -> Turn:
        """Wait for a turn. `former` is one for which there was no endpoint after all: it is the first in the line.
        `size`: bytes of its body. `may` raises RequestError once the request may not be made any more.

        Raises RequestError: 503 where too many wait, it took too long or the gateway stops, 400 if the client left,
        and what `may` raises.
        """
        turn = self._stand(deployment, tenant, size, former)
        turn.may = may
        meter = self._signals.meter(deployment)
        meter.hold(1)
        leaving = asyncio.ensure_future(gone())
        try:
            timeout = max(0.0, turn.until - asyncio.get_running_loop().time())
            waits: Sequence[asyncio.Future[None]] = (turn.free, leaving)
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            _expect_client(leaving)
            self._expect_to_go_on()
            _expect_right(turn)
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

    def turns(self) -> list[Turn]:
        """Those that wait now."""
        return [turn for line in self._lines.values() for turn in line.waiting]

    def refuse_without_right(self, turn: Turn) -> None:
        """Tell one that waits if its request may not be made any more."""
        line = self._lines.get(turn.deployment.uid)
        if line is None or turn not in line.waiting:
            return  # it went meanwhile
        try:
            turn.may()
        except RequestError as refusal:
            turn.refusal = refusal
            self._out_of_line(line, turn)
            turn.free.set_result(None)

    def _next(self, deployment: Deployment) -> None:
        self.flow(deployment.name)
        self._sweep(deployment.uid)

    def stop(self) -> None:
        """Nobody waits any more: each is told that the gateway stops, and may ask another one at once."""
        self._stopped = True
        for line in self._lines.values():
            while line.waiting:
                self._free(line, _first(line))

    @property
    def waiting(self) -> bool:
        """True if any request waits."""
        return bool(self._lines)

    def _room(self, deployment: Deployment, line: _Line) -> int:
        runs = sum(target.max_concurrency * len(target.endpoints) for target in deployment.usable)
        return max(0, runs - self._signals.in_usable(deployment) - line.out)

    def _stand(self, deployment: Deployment, tenant: str, size: int, former: Turn | None) -> Turn:
        self._expect_to_go_on()
        line = self._lines.get(deployment.uid) or _Line()
        if former is None and self._full(deployment, line, tenant, size):
            message = f"too many requests wait for {deployment.name} to be started: try again soon"
            raise unavailable("TooManyHeld", message, retry_after=_RETRY_FULL_SECONDS)
        turn = Turn(deployment, tenant, self._until(deployment, line) if former is None else former.until, size)
        self._lines[deployment.uid] = line
        line.waiting[turn] = None
        if former is not None:
            line.waiting.move_to_end(turn, last=False)
        line.tenants[tenant] += 1
        self._tenants[tenant] += 1
        self._bytes[tenant] += size
        return turn

    def _expect_to_go_on(self) -> None:
        if self._stopped:
            raise stopping()

    def _full(self, deployment: Deployment, line: _Line, tenant: str, size: int) -> bool:
        share = max(1, self._of_deployment // 2) if deployment.access else self._of_deployment
        return (
            len(line.waiting) >= self._of_deployment
            or line.tenants[tenant] >= share
            or self._tenants[tenant] >= self._of_tenant
            or len(self) >= self._in_all
            or self._bytes[tenant] + size > self._bytes_of_tenant
            or self._bytes.total() + size > self._bytes_in_all
        )

    def _until(self, deployment: Deployment, line: _Line) -> float:
        """Where nobody is held any more, the line lasts no longer than for those that were."""
        if deployment.hold_seconds or not line.waiting:
            return asyncio.get_running_loop().time() + deployment.hold_seconds
        return next(reversed(line.waiting)).until

    def _free(self, line: _Line, turn: Turn) -> None:
        self._out_of_line(line, turn)
        line.out += 1
        turn.out = True
        turn.free.set_result(None)

    def _give_up(self, turn: Turn) -> None:
        if turn.out:
            self.done(turn)
            return
        if turn.refusal is None:
            self._out_of_line(self._lines[turn.deployment.uid], turn)
        self._sweep(turn.deployment.uid)

    def _out_of_line(self, line: _Line, turn: Turn) -> None:
        del line.waiting[turn]
        for counter, amount in ((line.tenants, 1), (self._tenants, 1), (self._bytes, turn.size)):
            counter[turn.tenant] -= amount
            if not counter[turn.tenant]:
                del counter[turn.tenant]

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


def _expect_right(turn: Turn) -> None:
    if turn.refusal is not None:
        raise turn.refusal


def _first(line: _Line) -> Turn:
    return next(iter(line.waiting))
