"""An API server that is overloaded says for how long it wants to be left alone; then nobody here asks it."""

import asyncio

import httpx2

MOST_SECONDS = 120.0
"""Longer than this no answer makes the operator wait."""
LATER_SECONDS = 0.01
"""A little later than told is never too early, however clocks round."""
_BUSY = (httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE)


def paced(client: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """The same client, whose requests wait after an answer with Retry-After for as long as it says."""
    pace, hooks = _Pace(), client.event_hooks
    client.event_hooks = {"request": [*hooks["request"], pace.wait], "response": [*hooks["response"], pace.note]}
    return client


class _Pace:
    """One client's: the API server shares itself out among users, not among requests."""

    def __init__(self) -> None:
        self._until = 0.0

    async def wait(self, _request: httpx2.Request) -> None:
        # Again where another answer has asked for more meanwhile.
        while (left := self._until - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 - it is a time, no event
            await asyncio.sleep(left + LATER_SECONDS)

    async def note(self, response: httpx2.Response) -> None:
        told = response.headers.get("Retry-After", "")
        if response.status_code in _BUSY and told.isdigit():
            seconds = min(float(told), MOST_SECONDS)
            self._until = max(self._until, asyncio.get_running_loop().time() + seconds)
