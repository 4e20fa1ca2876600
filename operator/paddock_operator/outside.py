"""What lies outside the process: clocks, the API server, the control plane, pods, and who asks the webhook.

`real` makes it for a process of its own. Tests of faults put a simulated cluster here, under a clock of their own: what
runs on top of it is wired as ever.
"""

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import httpx
import httpx2

from paddock_operator import events
from paddock_operator.adapters import cluster, controlplane
from paddock_operator.adapters.benchmark import TritonBencher
from paddock_operator.adapters.clock import SystemClock, boot_id
from paddock_operator.adapters.progress import HttpProgressReader
from paddock_operator.adapters.triton import TritonMetrics, TritonProber
from paddock_operator.events import Judge
from paddock_operator.ports import Bencher, CacheReader, Clock, Prober, ProgressReader
from paddock_operator.secrets import SecretFile
from paddock_operator.settings import OperatorSettings


class Follow(Protocol):
    """Asks the webhook's question, until the process is to end."""

    def __call__(self, *, settings: OperatorSettings, judge: Judge) -> Awaitable[None]:
        """Returns when the process is to end in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """One of each."""

    clock: Clock
    chance: random.Random
    """Spreads retries and looks; guards nothing."""
    boot_id: str
    api: httpx2.AsyncClient
    """Authenticated client of the API server."""
    internal: httpx.AsyncClient
    """Client of the control plane's internal API."""
    session: aiohttp.ClientSession
    """For pods and gateways."""
    prober: Prober
    bencher: Bencher
    caches: CacheReader
    progress: ProgressReader
    follow: Follow


Surroundings = Callable[[OperatorSettings], contextlib.AbstractAsyncContextManager[Outside]]


@contextlib.asynccontextmanager
async def real(settings: OperatorSettings) -> AsyncIterator[Outside]:
    """The outside of a process of its own; its connections are closed at the end."""
    token = SecretFile(lambda: settings.read_secret(settings.internal_token_file))
    internal = controlplane.connect(url=settings.controlplane_url, token=token.read)
    api = cluster.connect(settings.kubeconfig)
    # Who asks bounds how much: by default a hundred connections would be shared by gateways and pods that hang.
    connector = aiohttp.TCPConnector(limit=0)
    async with api, internal, aiohttp.ClientSession(connector=connector) as session:
        yield Outside(
            clock=SystemClock(),
            chance=random.Random(),  # noqa: S311 - spreads load
            boot_id=boot_id(),
            api=api,
            internal=internal,
            session=session,
            prober=TritonProber(session),
            bencher=TritonBencher(session),
            caches=TritonMetrics(session),
            progress=HttpProgressReader(session),
            follow=events.follow,
        )
