"""The wall clock of the cluster: the API server says its time in every answer.

What the operator compares with its clock was written by others: `creationTimestamp` by the API server, moments of the
status by whoever led before. Were each instance to go by its own machine, one whose clock is wrong would take a change
that has just begun for overdue. So all of them go by the API server's clock, which wrote or ordered all of it. Between
answers time passes by CLOCK_BOOTTIME: a wall clock that is set does not touch it.
"""

import email.utils
import logging

import httpx2

from paddock_operator.ports import Clock

log = logging.getLogger(__name__)

SENT = "paddock.sent"
RESOLUTION_SECONDS = 1.0
"""A `Date` is cut to whole seconds."""
WORTH_TELLING_SECONDS = 5.0


class ClusterClock:
    """The port `Clock`: `now` by the API server, or by this machine until one has answered."""

    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._ahead = machine.now() - machine.boottime()
        """The cluster's wall clock less our boot time."""

    def now(self) -> float:
        return self._machine.boottime() + self._ahead

    def boottime(self) -> float:
        return self._machine.boottime()

    def listen(self, client: httpx2.AsyncClient) -> None:
        """Learn from every answer that this client gets, after all that delays its requests."""
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], self._sent],
            "response": [*hooks["response"], self._answered],
        }

    def heard(self, date: str, *, sent: float, received: float) -> None:
        """Take in what a server said between two boot times. What is known stays as long as that can be true, and moves
        no further than it must: so a clock that is right is never moved, and answers together tell more than the whole
        seconds that each of them tells. What is no date says nothing."""
        try:
            told = email.utils.parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):
            return
        before = self._ahead
        self._ahead = min(max(before, told - received), told + RESOLUTION_SECONDS - sent)
        if abs(self._ahead - before) > WORTH_TELLING_SECONDS:
            log.warning(
                "the API server's clock is another than ours; its own is gone by. What to do: set the clocks by NTP",
                extra={"moved_seconds": round(self._ahead - before, 1)},
            )

    async def _sent(self, request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, SENT: self._machine.boottime()}

    async def _answered(self, response: httpx2.Response) -> None:
        date, sent = response.headers.get("Date"), response.request.extensions.get(SENT)
        if date is not None and sent is not None:
            self.heard(date, sent=sent, received=self._machine.boottime())
