"""What this gateway tells the operator of each deployment: which routing it follows, what is asked, how it answers.

Counting is on the path of every request, so it is a few integers; all else is done when somebody asks.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
from paddock_core.signals import DeploymentSignal, GatewayReport

from paddock_gateway.clock import Clock
from paddock_gateway.deployments import Deployment
from paddock_gateway.windows import SLOT_SECONDS, Window

TICK_SECONDS = 1.0
"""Requests that come and go are told at most so often."""
SWEEP_TICKS = 30
AT_A_TIME = 50
"""So many deployments are gone through before requests have their turn."""
_SETTLE_SECONDS = 0.02
"""News that come together are told together."""
_encoder = msgspec.json.Encoder()


class Meter:
    """The counters of one deployment."""

    __slots__ = (
        "_book",
        "cursor",
        "dirty",
        "ended_at",
        "held",
        "in_flight",
        "leaving",
        "left",
        "name",
        "routing",
        "uid",
        "urls",
        "windows",
    )

    def __init__(self, book: "Signals", *, name: str, uid: str) -> None:
        self._book = book
        self.name = name
        self.uid = uid
        self.routing = ""
        self.urls: frozenset[str] = frozenset()
        self.left: set[str] = set()
        """URLs that the routing no longer has, with requests at them."""
        self.leaving: frozenset[str] = frozenset()
        """URLs of copies that are being drained, for whoever sent requests there."""
        self.in_flight = 0
        self.held = 0
        self.ended_at: float | None = None
        self.windows: dict[str, Window] = {}
        self.cursor = 0
        self.dirty = False

    def begin(self) -> None:
        """A request goes to an engine."""
        self.in_flight += 1
        if not self.dirty:
            self._book.mark(self)

    def end(self) -> None:
        """It ended, however."""
        self.in_flight -= 1
        self.ended_at = self._book.now()
        if self.left:
            self._book.look_at_left(self)
        if not self.dirty:
            self._book.mark(self)

    def hold(self, change: int) -> None:
        """So many more requests wait (fewer, if negative). That one waits at all is told at once."""
        self.held += change
        if self.held == change > 0:
            self._book.tell(self)
        elif not self.dirty:
            self._book.mark(self)

    def answered(self, revision: str, *, failed: bool, ttft_ms: float | None, tokens: int, output_ms: float) -> None:
        """An answer of a revision ended."""
        window = self.windows.get(revision)
        if window is None:
            window = self.windows[revision] = Window()
        window.add(now=self._book.now(), failed=failed, ttft_ms=ttft_ms, tokens=tokens, output_ms=output_ms)

    @property
    def idle(self) -> bool:
        """True if nothing is left to tell of it."""
        return not (self.urls or self.routing or self.in_flight or self.held or self.left)


class Signals:
    """Every deployment that is routed, or has a request. Used by the event loop alone.

    `requests_at` tells how many requests are at a URL, or may still be sent there.
    """

    def __init__(self, *, clock: Clock, instance: str, requests_at: Callable[[str], int]) -> None:
        self.synced: Callable[[], bool] = lambda: False
        """Whether the deployments were listed."""
        self.now = clock.steady
        self._instance = instance
        self._began = clock.steady()
        self._started_at = clock.wall()
        self._requests_at = requests_at
        self._meters: dict[str, Meter] = {}
        self._uids: dict[str, str] = {}
        self._dirty: set[Meter] = set()
        self._with_left: set[Meter] = set()
        self._cursor = 1
        self._floor = 0
        self._synced_at: int | None = None
        """The cursor of the first report after the deployments were listed."""
        self.heard = False
        """True once somebody who had that report asked for the next: an operator knows this gateway."""
        self._news = asyncio.Event()
        self._ended = False
        self._slot = 0
        self._recovering: Counter[str] = Counter()
        """By deployment's name: requests of a process that died, of which engines are still to be asked."""

    def age(self) -> float:
        """Seconds since the gateway started."""
        return self.now() - self._began

    @property
    def held(self) -> int:
        """Requests that wait for an endpoint."""
        return sum(meter.held for meter in self._meters.values())

    def meter(self, deployment: Deployment) -> Meter:
        """The counters of a deployment."""
        return self._meters.get(deployment.uid) or self._new(deployment)

    def routed(self, name: str, deployment: Deployment | None) -> None:
        """A deployment's route is this from now on; None: it is gone."""
        former = self._uids.get(name)
        if former is not None and (deployment is None or deployment.uid != former):
            del self._uids[name]
            self._follow(self._meters[former], routing="", urls=(), leaving=())
        if deployment is not None:
            self._uids[name] = deployment.uid
            meter, urls = self.meter(deployment), deployment.endpoints
            self._follow(meter, routing=deployment.routing, urls=urls, leaving=deployment.leaving)

    def in_usable(self, deployment: Deployment) -> int:
        """Requests with the engines that new ones may go to: those in copies that left the routing, or get no new ones,
        take no room there."""
        meter = self.meter(deployment)
        usable = {url for revision in deployment.usable for url in revision.endpoints}
        others = {url for url in (*meter.urls, *meter.left) if url not in usable}
        return max(0, meter.in_flight - sum(map(self._requests_at, others)))

    def recover(self, name: str, change: int) -> None:
        """So many more requests of a deployment (fewer, if negative), at nobody knows which of its endpoints, wait for
        their count: until then each copy that may know it counts as having them."""
        self._recovering[name] += change
        if not self._recovering[name]:
            del self._recovering[name]
        if name in self._uids:
            self.tell(self._meters[self._uids[name]])

    def mark(self, meter: Meter) -> None:
        """It is to be told with the next tick."""
        meter.dirty = True
        self._dirty.add(meter)

    def tell(self, meter: Meter) -> None:
        """It is to be told at once."""
        self._cursor += 1
        meter.cursor, meter.dirty = self._cursor, False
        self._dirty.discard(meter)
        self._news.set()

    def look_at_left(self, meter: Meter) -> None:
        """Whether URLs that left the routing have no request any more."""
        over = {url for url in meter.left if not self._requests_at(url)}
        if over:
            meter.left -= over
            self.tell(meter)
        if not meter.left:
            self._with_left.discard(meter)

    async def run(self) -> None:
        """Tell what changes by and by, until cancelled."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            for meter in list(self._with_left):
                self.look_at_left(meter)
            if self._slot != (slot := int(self.now()) // SLOT_SECONDS):
                self._slot = slot
                await self._grow_old()
            for meter in list(self._dirty):
                self.tell(meter)
            if ticks % SWEEP_TICKS == 0:
                self._forget()

    def end(self) -> None:
        """No request is left, and none comes: whoever asks now is told so at once."""
        self._ended = True
        self._cursor += 1
        self._news.set()

    async def report(self, *, after: int, wait: float) -> bytes:
        """The answer to a poll (JSON): what changed after the cursor, waiting so many seconds for something to."""
        self.heard = self.heard or (self._synced_at is not None and self._synced_at <= after <= self._cursor)
        if self._floor <= after == self._cursor:
            try:
                async with asyncio.timeout(wait):
                    while after == self._cursor:
                        self._news.clear()
                        await self._news.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
            except TimeoutError:
                pass
        whole = after < max(1, self._floor) or after > self._cursor
        # What changes while others have their turn is told again: its cursor is above this one.
        cursor, synced, ended = self._cursor, self.synced(), self._ended
        if synced and self._synced_at is None:
            self._synced_at = cursor
        told = []
        for meter in [meter for meter in self._meters.values() if whole or meter.cursor > after]:
            told.append(self._signal(meter))
            if len(told) % AT_A_TIME == 0:
                await asyncio.sleep(0)
        return _encoder.encode(
            GatewayReport(
                instance=self._instance,
                started_at=self._started_at,
                cursor=cursor,
                synced=synced,
                ended=ended,
                whole=whole,
                deployments=tuple(told),
            )
        )

    def _new(self, deployment: Deployment) -> Meter:
        meter = self._meters[deployment.uid] = Meter(self, name=deployment.name, uid=deployment.uid)
        return meter

    def _follow(self, meter: Meter, *, routing: str, urls: Iterable[str], leaving: Iterable[str]) -> None:
        new = frozenset(urls)
        meter.leaving = frozenset(leaving)
        if meter.routing == routing and meter.urls == new:
            return
        meter.left |= {url for url in meter.urls - new if self._requests_at(url)}
        meter.left -= new
        if meter.left:
            self._with_left.add(meter)
        meter.routing, meter.urls = routing, new
        self.tell(meter)

    def _signal(self, meter: Meter) -> DeploymentSignal:
        now, at = self.now(), self._requests_at
        lost = self._recovering.get(meter.name, 0)
        left = meter.left | meter.leaving - meter.urls if lost else meter.left
        requests = {url: count for url in sorted({*meter.urls, *left}) if (count := max(at(url), lost))}
        revisions = (window.told(name, now=now) for name, window in meter.windows.items())
        return DeploymentSignal(
            name=meter.name,
            uid=meter.uid,
            routing=meter.routing,
            in_flight=meter.in_flight,
            held=meter.held,
            idle_seconds=None if meter.ended_at is None else max(0, int(now - meter.ended_at)),
            endpoints=requests,
            left=tuple(url for url in requests if url in left),
            revisions=tuple(revision for revision in revisions if revision is not None),
        )

    async def _grow_old(self) -> None:
        """A slot has passed: the sums of every window in use are others, though nothing happened."""
        now = self.now()
        for number, meter in enumerate(list(self._meters.values()), start=1):
            for name in list(meter.windows):
                if meter.windows[name].told(name, now=now) is None:
                    del meter.windows[name]
                self.mark(meter)
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)

    def _forget(self) -> None:
        """Deployments that are gone. Who does not know that yet gets all that is left."""
        gone = [uid for uid, meter in self._meters.items() if meter.idle and uid != self._uids.get(meter.name)]
        for uid in gone:
            self._dirty.discard(self._meters.pop(uid))
        if gone:
            self._cursor += 1
            self._floor = self._cursor
            self._news.set()
