"""An API server that is overloaded says for how long it wants to be left alone; then nobody here asks it.

After that requests go one by one, at a rate that grows while they are answered and halves when they are refused again:
all that had to wait would otherwise come at once, and be refused at once.
"""

import asyncio
import math

import httpx2

MOST_SECONDS = 120.0
"""Longer than this no answer makes the operator wait."""
LATER_SECONDS = 0.01
"""A little later than told is never too early, however clocks round."""
FIRST_RATE = 20.0
"""Requests a second that are taken for the rate at which the first refusal came."""
LEAST_RATE = 1.0
GROWTH = 1.0
"""By how many requests a second the rate grows within a second."""
FREE_RATE = 200.0
"""From here on nobody waits for another."""
_BUSY = (httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE)
_LEASES = "/apis/coordination.k8s.io/"


def paced(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """The same client, whose requests wait after an answer with Retry-After for as long as it says."""
    pace, hooks = _Pace(), client.event_hooks
    client.event_hooks = {"request": [*hooks["request"], pace.wait], "response": [*hooks["response"], pace.note]}
    return client


class _Pace:
    """One client's: the API server shares itself out among users, not among requests."""

    def __init__(self) -> None:
        self._until = 0.0
        self._next = 0.0
        """When the next one may go."""
        self._rate = math.inf
        self._turns = asyncio.Lock()

    async def wait(self, request: httpx2.Request) -> None:
        """Until this request may be sent. Those of the Lease pass the others: without it nobody sends any."""
        if request.url.path.startswith(_LEASES):
            await self._left_alone()
            return
        async with self._turns:
            await self._left_alone()
            left = self._next - _now()
            if left > 0:
                await asyncio.sleep(left)
                await self._left_alone()
            self._next = _now() + 1 / self._rate

    async def note(self, response: httpx2.Response) -> None:
        """Learn from an answer."""
        told = response.headers.get("Retry-After", "")
        if response.status_code in _BUSY and told.isdigit():
            if _now() >= self._until:
                # Those that were sent beside the first that was refused say nothing new.
                self._rate = max(LEAST_RATE, min(self._rate, FIRST_RATE) / 2)
            self._until = max(self._until, _now() + min(float(told), MOST_SECONDS))
        elif self._rate < math.inf:
            grown = self._rate + GROWTH / self._rate
            self._rate = grown if grown < FREE_RATE else math.inf

    async def _left_alone(self) -> None:
        # Again where another answer has asked for more meanwhile.
        while (left := self._until - _now()) > 0:  # noqa: ASYNC110 - it is a time, no event
            await asyncio.sleep(left + LATER_SECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
