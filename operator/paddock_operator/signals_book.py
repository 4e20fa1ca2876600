"""What gateways told, by deployment. It may be thrown away at any time: gateways tell it again."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from msgspec.structs import replace
from paddock_core.signals import DeploymentSignal, GatewayReport

from paddock_operator.decide.scaling_advice import TOLERANCE
from paddock_operator.gateways import FRESH_SECONDS, Gateways, GatewayView
from paddock_operator.ports import Clock, Key

FORGET_SECONDS = 1200.0
"""A gateway that is silent for so long is forgotten, and for a minute longer than any drain lasts: no request of it
runs any more, or nobody waits for it."""


@dataclass(slots=True)
class _Gateway:
    """One address."""

    instance: str
    started_at: float
    answered_at: float
    """When it last answered, by the clock that nobody sets."""
    synced: bool = False
    told: dict[str, tuple[float, DeploymentSignal]] = field(default_factory=dict)
    """By uid: when it was told, and what."""


class SignalBook:
    """The newest report of each gateway. `wake` queues a deployment that should be looked at now, `loaded` one of which
    more or less is asked than before, `confirmed` one whose routing a gateway follows: as `wake` where not given."""

    def __init__(
        self,
        *,
        clock: Clock,
        wake: Callable[[Key], None],
        configured: bool,
        loaded: Callable[[Key], None] = lambda _: None,
        confirmed: Callable[[Key], None] | None = None,
        drain_limit_seconds: float = 0.0,
    ) -> None:
        self._clock = clock
        self._wake = wake
        self._loaded = loaded
        self._confirmed = confirmed or wake
        self._loads: dict[str, int] = {}
        """By uid: the requests of which `loaded` was last told."""
        self._configured = configured
        self._gateways: dict[str, _Gateway] = {}
        self._expected: frozenset[str] = frozenset()
        """Addresses at which a gateway should answer."""
        self._gone: set[str] = set()
        """Of these, the ones of which it is known that nothing runs there until something answers again."""
        self._forget_seconds = max(FORGET_SECONDS, drain_limit_seconds + 60.0)
        self._begun_at = clock.boottime()
        """When the first of them answered."""

    def expect(self, addresses: Collection[str]) -> None:
        """A gateway should answer at each of these: until it has, nobody knows what it does."""
        self._expected = frozenset(addresses)
        self._gone &= self._expected

    def take(self, address: str, report: GatewayReport) -> None:
        """A report that came from an address."""
        now = self._clock.boottime()
        self._begun_at = self._begun_at if self._gateways else now
        known = self._gateways.get(address)
        if report.ended:
            self._gone.add(address)
            for _, signal in self._gateways.pop(address, _Gateway("", 0.0, now)).told.values():
                self._tell(signal.name)
            return
        self._gone.discard(address)
        if known is None or known.started_at != report.started_at:
            self._drop_former(report)
            known = self._gateways[address] = _Gateway(
                instance=report.instance, started_at=report.started_at, answered_at=now
            )
        elif report.whole:
            named = {signal.uid for signal in report.deployments}
            for uid in [uid for uid in known.told if uid not in named]:
                self._loads.pop(uid, None)
                self._tell(known.told.pop(uid)[1].name)
        known.answered_at, known.synced = now, report.synced
        for signal in report.deployments:
            before = known.told.get(signal.uid)
            known.told[signal.uid] = (now, signal)
            former = None if before is None else before[1]
            if _is_pressing(former, signal):
                self._tell(signal.name)
            elif signal.routing != ("" if former is None else former.routing):
                self._confirmed(_key(signal.name))
            self._tell_load(signal)

    def about(self, uid: str) -> Gateways:
        """What is known of one deployment."""
        now, wall = self._clock.boottime(), self._clock.now()
        self._forget(now)
        heard = tuple(
            GatewayView(
                instance=gateway.instance,
                heard_at=wall - (now - gateway.answered_at),
                age_seconds=now - gateway.answered_at,
                synced=gateway.synced,
                signal=_grown_old(gateway.told.get(uid), now),
            )
            for gateway in sorted(self._gateways.values(), key=lambda item: item.instance)
        )
        unheard = tuple(
            GatewayView(instance=address, heard_at=-math.inf, age_seconds=math.inf, synced=False)
            for address in sorted(self._expected - self._gone - self._gateways.keys())
        )
        settled = now - self._begun_at >= FRESH_SECONDS
        return Gateways(configured=self._configured, views=heard + unheard, settled=settled)

    def clear(self) -> None:
        """Forget everything, as when another instance leads: what is not followed grows old unseen."""
        self._gateways.clear()
        self._loads.clear()
        self._gone.clear()
        self._expected = frozenset()
        self._begun_at = self._clock.boottime()

    def answering(self) -> int:
        """Gateways that answer."""
        now = self._clock.boottime()
        return sum(now - gateway.answered_at <= FRESH_SECONDS for gateway in self._gateways.values())

    def _drop_former(self, report: GatewayReport) -> None:
        """The process before this one of the same gateway is gone, and its requests with it."""
        for address, gateway in list(self._gateways.items()):
            if gateway.instance == report.instance and gateway.started_at < report.started_at:
                del self._gateways[address]
                self._gone.add(address)

    def _forget(self, now: float) -> None:
        for address in [at for at, item in self._gateways.items() if now - item.answered_at > self._forget_seconds]:
            del self._gateways[address]

    def _tell_load(self, signal: DeploymentSignal) -> None:
        """Only of what may change the number of copies: less than scaling's tolerance changes nothing."""
        load = sum(
            told[1].in_flight + told[1].held
            for gateway in self._gateways.values()
            if (told := gateway.told.get(signal.uid)) is not None
        )
        before = self._loads.get(signal.uid, 0)
        if abs(load - before) <= TOLERANCE * before:
            return
        if load:
            self._loads[signal.uid] = load
        else:
            self._loads.pop(signal.uid, None)
        self._loaded(_key(signal.name))

    def _tell(self, name: str) -> None:
        self._wake(_key(name))


def _key(name: str) -> Key:
    namespace, _, short = name.partition("/")
    return Key(namespace, short)


def _is_pressing(before: DeploymentSignal | None, after: DeploymentSignal) -> bool:
    """True if it should be looked at now: a request that begins to wait, a drain's end.

    That requests come and go concerns rounds that come anyway.
    """
    if before is None:
        return bool(after.held or after.left)
    waits = after.held > 0 and before.held == 0
    return waits or bool(set(before.left) - set(after.left))


def _grown_old(told: tuple[float, DeploymentSignal] | None, now: float) -> DeploymentSignal | None:
    if told is None:
        return None
    at, signal = told
    if signal.idle_seconds is None or signal.in_flight or signal.held:
        return signal
    return replace(signal, idle_seconds=signal.idle_seconds + int(now - at))
