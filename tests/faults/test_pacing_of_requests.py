"""What the operator asks of an API server that is overloaded: not before it is told to, and no more than it bears."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
from paddock_operator.adapters.pacing import LEAST_RATE, paced

from faults.cluster.simulated.virtual_time import run

PER_SECOND = 10
AFTER_SECONDS = 3
REQUESTS = 400
LEASE = "/apis/coordination.k8s.io/v1/namespaces/x/leases/y"


class Server:
    """Takes so many requests in each second. `answered` and `refused` say when."""

    def __init__(self, per_second: int = PER_SECOND) -> None:
        self.per_second = per_second
        self.answered: list[tuple[str, float]] = []
        self.refused: list[float] = []
        self.early = 0
        self._until = 0.0

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        now = asyncio.get_running_loop().time()
        self.early += now < self._until and now > self.refused[-1] + 0.001
        if sum(1 for _, at in self.answered if at > now - 1.0) < self.per_second:
            self.answered.append((request.url.path, now))
            return httpx2.Response(200)
        self.refused.append(now)
        self._until = now + AFTER_SECONDS
        return httpx2.Response(429, headers={"Retry-After": str(AFTER_SECONDS)})


def played(server: Server, scenario: Callable[[httpx2.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    """A scenario with a client of this server, under virtual time."""

    async def main() -> None:
        transport = httpx2.MockTransport(server.answer)
        async with paced(httpx2.AsyncClient(transport=transport, base_url="http://kubernetes.test")) as client:
            await scenario(client)

    run(main())


async def insist(client: httpx2.AsyncClient, path: str = "/") -> None:
    """Ask until it is answered."""
    while (await client.get(path)).status_code != 200:
        pass


def test_a_crowd_comes_one_by_one_after_a_refusal() -> None:
    server = Server()

    async def crowd(client: httpx2.AsyncClient) -> None:
        await asyncio.gather(*(insist(client) for _ in range(REQUESTS)))

    played(server, crowd)
    assert len(server.answered) == REQUESTS
    # The first burst is refused whole, but for what is taken; after that hardly any.
    later = [at for at in server.refused if at > server.refused[0]]
    assert len(later) <= REQUESTS / 20
    assert server.early == 0
    assert server.answered[-1][1] <= 4 * REQUESTS / PER_SECOND, "nor is it asked much less than it bears"


def test_whoever_is_not_refused_waits_for_nobody() -> None:
    server = Server(per_second=REQUESTS)

    async def crowd(client: httpx2.AsyncClient) -> None:
        await asyncio.gather(*(insist(client) for _ in range(REQUESTS)))

    played(server, crowd)
    assert {at for _, at in server.answered} == {0.0}


def test_the_lease_passes_those_that_wait() -> None:
    server = Server(per_second=2)

    async def crowd(client: httpx2.AsyncClient) -> None:
        others = [asyncio.create_task(insist(client)) for _ in range(50)]
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await insist(client, LEASE)
        assert asyncio.get_running_loop().time() - began <= AFTER_SECONDS * 2 + 1 / LEAST_RATE
        await asyncio.gather(*others)

    played(server, crowd)
    paths = [path for path, _ in server.answered]
    assert paths.index(LEASE) < 10
