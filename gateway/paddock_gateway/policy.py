"""The policy's follower: snapshot, then changes as they come, and a copy on disk for a start without control plane.

What this follower and the operator's have in common is core's: the view, its age, the wire. What differs is when and
what is kept on disk, who hears of a change, and the HTTP client.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
from paddock_core.policy.freshness import Freshness
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Changes, ReceivedSnapshot

from paddock_gateway.clock import Clock
from paddock_gateway.errors import told
from paddock_gateway.policy_copy import PolicyCopy

_log = logging.getLogger(__name__)


class _GapError(Exception):
    """The log no longer reaches back to our revision."""


class PolicyFollower:
    """Holds the current `view`. `expired` is asked before every request."""

    def __init__(self, *, url: str, token: str, cache_dir: Path, clock: Clock, wait: float) -> None:
        self.view = PolicyView.empty()
        self._freshness: Freshness | None = None
        self._url = url.rstrip("/") + "/internal/v1/policy"
        self._headers = {"authorization": f"Bearer {token}"}
        self._copy = PolicyCopy(cache_dir)
        self._clock = clock
        self._wait = wait
        self._boot = clock.boot_id()

    @property
    def known(self) -> bool:
        """True once any policy was ever received, however old."""
        return self._freshness is not None

    def expired(self) -> bool:
        """True if the copy is too old to decide by, or there is none."""
        fresh = self._freshness
        return fresh is None or fresh.expired(now=self._clock.steady(), boot_id=self._boot)

    def age(self) -> float:
        """Seconds since the copy was last confirmed; -1 if there is none."""
        return -1.0 if self._freshness is None else self._clock.steady() - self._freshness.renewed_at

    def now(self) -> float:
        """Unix seconds by the control plane's clock, by which rights are judged; 0 before it ever answered."""
        fresh = self._freshness
        return 0.0 if fresh is None else fresh.unix(now=self._clock.steady())

    def load(self) -> None:
        """Take the copy on disk, if there is a usable one."""
        try:
            loaded = self._copy.load()
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("the policy's copy on disk cannot be used", extra={"error": str(error)})
            return
        if loaded is not None:
            self.view, self._freshness = loaded.view, loaded.freshness

    async def follow(self, session: aiohttp.ClientSession, *, retry: float = 0.2) -> None:
        """Keep the view true until cancelled."""
        delay = retry
        have_base = cut_off = False
        while True:
            try:
                if not have_base:
                    await self._take_snapshot(session)
                    have_base = True
                await self._take_changes(session, at_once=cut_off)
                delay, cut_off = retry, False
            except _GapError:
                have_base = False
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
                _log.warning("following the policy failed", extra={"error": told(error), "retry_in": delay})
                cut_off = True
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)

    async def _take_snapshot(self, session: aiohttp.ClientSession) -> None:
        asked = self._clock.steady()
        async with session.get(self._url, headers=self._headers, timeout=aiohttp.ClientTimeout(total=30)) as response:
            response.raise_for_status()
            body = bytearray()  # in one piece, which goes back to the machine whole
            async for chunk in response.content.iter_any():
                body += chunk
        snapshot, self.view = await asyncio.to_thread(_read, body)  # that of a large platform takes seconds
        await self._confirm(asked, snapshot, keep=lambda: self._copy.begin(body))
        _log.info("policy received", extra={"revision": snapshot.revision})

    async def _take_changes(self, session: aiohttp.ClientSession, *, at_once: bool) -> None:
        """What changed, waiting for something to change; `at_once` says no more than that nothing did."""
        max_age = self._freshness.max_age_seconds if self._freshness else 0.0
        # After an outage the copy may be expired: nobody is served until it is confirmed, changed or not.
        wait = 0.0 if at_once else min(self._wait, max(1.0, max_age / 4))
        asked = self._clock.steady()
        parameters = {"after": str(self.view.revision), "wait": f"{wait:g}"}
        timeout = aiohttp.ClientTimeout(total=wait + 10)
        async with session.get(
            self._url + "/changes", params=parameters, headers=self._headers, timeout=timeout
        ) as response:
            if response.status == 410:
                raise _GapError
            response.raise_for_status()
            body = await response.read()
        changes = msgspec.json.decode(body, type=Changes)
        if changes.revision < self.view.revision:
            raise _GapError  # the control plane was restored to an earlier state
        moved = changes.revision > self.view.revision
        if moved:
            self.view = self.view.apply(changes.changes, revision=changes.revision)
        await self._confirm(asked, changes, keep=(lambda: self._copy.append(body)) if moved else None)
        if self._copy.crowded:
            raise _GapError  # a new snapshot makes it small again

    async def _confirm(
        self, asked: float, answer: ReceivedSnapshot | Changes, *, keep: Callable[[], None] | None
    ) -> None:
        """Renew the copy, and keep what came."""
        now = self._clock.steady()
        freshness = self._freshness = Freshness.renewed(answer, asked=asked, now=now, boot_id=self._boot)
        revision = self.view.revision

        def write() -> None:
            if keep is not None:
                keep()
            self._copy.confirm(freshness, revision=revision)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            _log.warning("the policy's copy could not be written", extra={"error": str(error)})


def _read(body: bytearray) -> tuple[ReceivedSnapshot, PolicyView]:
    snapshot = msgspec.json.decode(body, type=ReceivedSnapshot)
    return snapshot, PolicyView.from_received(snapshot)
