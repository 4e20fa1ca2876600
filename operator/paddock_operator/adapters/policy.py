"""Follows the control plane's policy: a snapshot, then its changes, kept on disk for the time when nobody answers."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
from paddock_core.policy.freshness import Freshness
from paddock_core.policy.view import FIELDS, PolicyView
from paddock_core.policy.wire import Change, Changes, Snapshot

from paddock_operator.errors import told
from paddock_operator.ports import Clock, Policy

log = logging.getLogger(__name__)

WAIT_SECONDS = 25.0
RETRY_FIRST_SECONDS = 0.2
RETRY_MAX_SECONDS = 5.0
PERSIST_SECONDS = 30.0
"""A copy whose renewal on disk is this old loses at most this much of its life when the process is killed."""
FILE_NAME = "policy.json"

Heard = Callable[[tuple[Change, ...] | None, PolicyView, PolicyView], None]
"""Told of changes with the view before and after them; None instead of changes means that everything may be new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Persisted:
    """What lies on disk."""

    freshness: Freshness
    snapshot: Snapshot


class PolicyFollower:
    """The port `PolicySource`, and the task that keeps it current."""

    def __init__(self, *, client: httpx.AsyncClient, clock: Clock, boot_id: str, folder: Path, heard: Heard) -> None:
        self._client = client
        self._clock = clock
        self._boot_id = boot_id
        self._file = folder / FILE_NAME
        self._heard = heard
        self._view = PolicyView.empty()
        self._fresh: Freshness | None = None
        self._saved = (-1, 0.0)
        self._was_expired = True

    def current(self) -> Policy:
        at = 0.0 if self._fresh is None else self._fresh.unix(now=self._clock.boottime())
        return Policy(view=self._view, expired=self._expired(), at=at)

    @property
    def known(self) -> bool:
        """Whether there is a copy, however old."""
        return self._fresh is not None

    def age_seconds(self) -> float:
        """Seconds since the control plane last confirmed the copy; infinite if it never did."""
        return float("inf") if self._fresh is None else self._clock.boottime() - self._fresh.renewed_at

    def load(self) -> None:
        """Begin with the copy on disk, if there is one that this version reads."""
        try:
            kept = msgspec.json.decode(self._file.read_bytes(), type=_Persisted)
            self._view = PolicyView.from_snapshot(kept.snapshot)
            self._fresh = kept.freshness
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            log.warning("the kept policy is not readable and is fetched again", extra={"error": str(error)})

    async def run(self) -> None:
        """Never returns."""
        delay = RETRY_FIRST_SECONDS
        snapshot_needed, cut_off = True, False
        while True:
            try:
                if snapshot_needed:
                    await self._take_snapshot()
                    snapshot_needed = False
                snapshot_needed = not await self._take_changes(at_once=cut_off)
                delay, cut_off = RETRY_FIRST_SECONDS, False
            except (httpx.HTTPError, msgspec.DecodeError, OSError) as error:
                log.warning("the control plane does not answer", extra={"error": told(error)})
                self._notice_expiry()
                cut_off = True
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_SECONDS)

    async def _take_snapshot(self) -> None:
        asked = self._clock.boottime()
        response = await self._client.get("/internal/v1/policy")
        response.raise_for_status()
        snapshot = msgspec.json.decode(response.content, type=Snapshot)
        before, self._view = self._view, PolicyView.from_snapshot(snapshot)
        self._renew(snapshot, asked=asked)
        self._save(snapshot)
        self._heard(None, before, self._view)

    async def _take_changes(self, *, at_once: bool) -> bool:
        """Wait for changes; False if the log no longer reaches back to our revision.

        After an outage the copy is to be confirmed `at_once`, changed or not.
        """
        # An answer that comes after the copy's age limit would be too late to renew it.
        age = WAIT_SECONDS if self._fresh is None else self._fresh.max_age_seconds / 3
        wait = 0.0 if at_once else min(WAIT_SECONDS, age)
        parameters = {"after": str(self._view.revision), "wait": str(wait)}
        timeout = httpx.Timeout(10.0, read=WAIT_SECONDS + 10.0)
        asked = self._clock.boottime()
        response = await self._client.get("/internal/v1/policy/changes", params=parameters, timeout=timeout)
        if response.status_code == httpx.codes.GONE:
            return False
        response.raise_for_status()
        answer = msgspec.json.decode(response.content, type=Changes)
        before, self._view = self._view, self._view.apply(answer.changes, revision=answer.revision)
        was_expired = self._was_expired
        self._renew(answer, asked=asked)
        self._save(answer)
        anew = was_expired or self._was_expired
        if answer.changes or anew:
            self._heard(None if anew else answer.changes, before, self._view)
        return True

    def _renew(self, answer: Snapshot | Changes, *, asked: float) -> None:
        now = self._clock.boottime()
        self._fresh = Freshness.renewed(answer, asked=asked, now=now, boot_id=self._boot_id)
        self._was_expired = self._expired()

    def _expired(self) -> bool:
        return self._fresh is None or self._fresh.expired(now=self._clock.boottime(), boot_id=self._boot_id)

    def _notice_expiry(self) -> None:
        """The moment at which the copy expires concerns every deployment."""
        if self._expired() and not self._was_expired:
            self._was_expired = True
            self._heard(None, self._view, self._view)

    def _save(self, answer: Snapshot | Changes) -> None:
        now = self._clock.boottime()
        if self._fresh is None or (self._saved[0] == self._view.revision and now - self._saved[1] < PERSIST_SECONDS):
            return
        kept = _Persisted(freshness=self._fresh, snapshot=_snapshot_of(self._view, answer))
        part = self._file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(kept))
        part.chmod(0o600)
        part.replace(self._file)
        self._saved = (self._view.revision, now)


def _snapshot_of(view: PolicyView, answer: Snapshot | Changes) -> Snapshot:
    """The view as a snapshot again. Keys of tenants are left out: the operator has no use for them."""
    kinds = {kind: getattr(view, name) for kind, name in FIELDS.items() if kind != "api_key"}
    objects = {kind: {id_: msgspec.to_builtins(body) for id_, body in bodies.items()} for kind, bodies in kinds.items()}
    return Snapshot(revision=view.revision, max_age_seconds=answer.max_age_seconds, at=answer.at, objects=objects)
