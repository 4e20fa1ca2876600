"""One life of the operator's process: wired as main.py wires it, on the simulated outside."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
from paddock_core.resources.llamadeployment import WeightsStatus
from paddock_operator.adapters.pacing import paced
from paddock_operator.adapters.triton import TIMEOUT_SECONDS
from paddock_operator.assembly import wired
from paddock_operator.events import Judge
from paddock_operator.outside import Outside
from paddock_operator.ports import Clock, Key, Load, Measured
from paddock_operator.process import Operator
from paddock_operator.settings import OperatorSettings
from paddock_operator.telemetry import Telemetry

from faults.cluster.simulated.api import Api, Client, Weather
from faults.cluster.simulated.controlplane import ControlPlane

RETRY_SECONDS = 1.0
MOST_WAITS = 20_000


@cache
def telemetry() -> Telemetry:
    """One for all lives: its registry is the process's."""
    return Telemetry()


class Noted(Telemetry):
    """What one life would tell its metrics: noted, where the real instruments would take a third of all the time."""

    def __init__(self) -> None:
        self.rounds = 0
        self.waits: deque[float] = deque(maxlen=MOST_WAITS)
        """For how long the last keys were due before their rounds began."""

    @contextlib.contextmanager
    def round(self, key: Key) -> Iterator[None]:
        del key
        self.rounds += 1
        yield

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def lagged(self, seconds: float) -> None:
        """Under virtual time the event loop is never late."""


class Prober:
    """The port `Prober`: a pod generates where `alive` says so."""

    def __init__(self, alive: Callable[[str], bool], *, client: str = "", weather: Weather | None = None) -> None:
        self._alive = alive
        self._client = client
        self._weather = weather or Weather()

    async def generates(self, *, url: str, secret: str) -> str | None:
        del secret
        host = httpx2.URL(url).host
        if self._weather.engine_hangs(host) or self._weather.no_way(self._client, host):
            await asyncio.sleep(TIMEOUT_SECONDS)
            return f"no answer from {url}: TimeoutError"
        await asyncio.sleep(0.05)
        return None if self._alive(host) else f"no answer from {url}"


class Bencher:
    """The port `Bencher`: every copy bears its load alike."""

    async def measure(self, *, url: str, secret: str, load: Load) -> Measured:
        del url, secret
        await asyncio.sleep(1.0)
        return Measured(ttft_ms=(20.0,) * load.requests, output_tokens=load.requests * load.output_tokens, seconds=1.0)


class Caches:
    """The port `CacheReader`: nobody tells."""

    async def used(self, *, url: str) -> float | None:
        del url
        return None


class Progress:
    """The port `ProgressReader`: nobody tells."""

    async def read(self, *, url: str) -> WeightsStatus | None:
        del url
        return None


class Life:
    """A process. `kill` is SIGKILL, `stop` SIGTERM."""

    def __init__(
        self,
        *,
        identity: str,
        api: Api,
        control_plane: ControlPlane,
        clock: Clock,
        settings: OperatorSettings,
        alive: Any,
        chance: random.Random,
    ) -> None:
        self.client = Client(identity)
        self.telemetry = Noted()
        self.operator: Operator | None = None
        self._api = api
        self._control_plane = control_plane
        self._clock = clock
        self._settings = settings
        self._alive = alive
        self._chance = chance
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def ended(self) -> bool:
        return self._task.done()

    async def kill(self) -> None:
        """Nothing that it still tries arrives anywhere."""
        self.client.dead = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self) -> None:
        """Let it end in order. Raises what it ended of."""
        self._ending.set()
        await self._task

    async def over(self) -> BaseException | None:
        """Wait for its end; what it ended of."""
        await asyncio.wait([self._task])
        return None if self._task.cancelled() else self._task.exception()

    async def _run(self) -> None:
        async with wired(self._settings, self.telemetry, self._surroundings) as operator:
            self.operator = operator
            await operator.run()

    @contextlib.asynccontextmanager
    async def _surroundings(self, settings: OperatorSettings) -> AsyncIterator[Outside]:
        del settings
        async with (
            paced(self._api.client(self.client)) as api,
            self._control_plane.client() as internal,
            aiohttp.ClientSession() as session,
        ):
            yield Outside(
                clock=self._clock,
                chance=self._chance,
                boot_id="simulated",
                api=api,
                internal=internal,
                session=session,
                prober=Prober(self._alive, client=self.client.name, weather=self._api.weather),
                bencher=Bencher(),
                caches=Caches(),
                progress=Progress(),
                follow=self._follow,
            )

    async def _follow(self, *, settings: OperatorSettings, judge: Judge) -> None:
        """Nobody asks the webhook here."""
        del settings, judge
        await self._ending.wait()


def settings_in(folder: Path, **changes: Any) -> OperatorSettings:
    """Settings of an operator in a simulated world."""
    for name in ("internal-token", "platform-key", "tls.crt", "tls.key"):
        (folder / name).write_text("made for a simulated world")
    values: dict[str, Any] = {
        "controlplane_url": "http://controlplane.test",
        "gateway_url": "http://gateway.test",
        "internal_token_file": folder / "internal-token",
        "platform_key_file": folder / "platform-key",
        "webhook_cert_file": folder / "tls.crt",
        "webhook_key_file": folder / "tls.key",
        "serving_image": "registry.test/serving:1",
        "allow_unpinned_images": True,
        "weights_volume": {"emptyDir": {}},
        "cache_dir": folder / "cache",
        "drain_seconds": 3.0,
    }
    return OperatorSettings(**{**values, **changes})
