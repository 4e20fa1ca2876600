"""Distinct end users, counted in sketches from the same records that go to the ledger, and sent on a period.

The shipper hands over each stretch of the journal that the ledger took. A segment of the journal is kept until the
sketches that hold its users were taken too (`first_needed`), so a process that dies loses nobody: the next one reads
the segments again, and a union counts nobody twice.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import aiohttp
import msgspec
from paddock_core.active_users.documents import MOST_SKETCHES, PATH, DaySketch, SketchBatch, Taken, day_of
from paddock_core.active_users.sketch import Sketch, encode, user_bits
from paddock_core.usage.record import UsageRecord

from paddock_gateway.errors import told

_log = logging.getLogger(__name__)
_INVALID = frozenset({400, 413, 422})
_Key = tuple[str, str, str]
"""Tenant, product, day."""
_taken = msgspec.json.Decoder(Taken)


@dataclass(slots=True)
class _Counted:
    """One sketch and how much of it is known to the control plane."""

    sketch: Sketch = field(default_factory=Sketch)
    since: int | None = None
    """The oldest segment that holds a user who was not sent yet."""
    sending: int | None = None
    """The same of what is under way and not acknowledged."""
    sent: bytes = b""
    """Digest of the registers that the control plane took last."""

    @property
    def known(self) -> bool:
        """True if the control plane has everybody."""
        return self.since is None and self.sending is None


class ActiveUsers:
    """The sketches of this process: at most `most`, each at most 16 KiB. Belongs to the event loop."""

    def __init__(self, *, url: str, token: str, period: float, most: int, sent: Callable[[], None]) -> None:
        self._url = url.rstrip("/") + PATH
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._period = period
        self._most = most
        self._sent = sent
        self._counted: dict[_Key, _Counted] = {}
        self._full = asyncio.Event()
        self._sending = asyncio.Lock()
        self.uncounted = 0
        """Records whose user found no room or was unreadable, sketches that were refused: the ledger has their rows."""

    def __len__(self) -> int:
        return len(self._counted)

    def count(self, records: Iterable[UsageRecord], *, segment: int) -> None:
        """Count the users of records whose outcome lies in this segment of the journal."""
        for record in records:
            if record.end_user_hash is None:
                continue
            try:
                day, bits = day_of(record.t_admit), user_bits(record.end_user_hash)
            except (ValueError, OverflowError, OSError):  # what no gateway writes must not stop the others' records
                self.uncounted += 1
                continue
            counted = self._of((record.tenant, record.deployment, day))
            if counted is None:
                self.uncounted += 1
                continue
            counted.sketch.add(bits)
            if counted.since is None:
                counted.since = segment

    def first_needed(self) -> int | None:
        """The oldest segment of the journal with users whom the control plane does not know yet."""
        needed = [number for item in self._counted.values() for number in (item.since, item.sending)]
        return min((number for number in needed if number is not None), default=None)

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Send what is new on a period, or when there is no room for more, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._period):
                    await self._full.wait()
            except TimeoutError:
                pass
            await self.finish(session)

    async def finish(self, session: aiohttp.ClientSession) -> None:
        """Send until the control plane has everybody who was counted so far."""
        delay = 0.5
        while not await self.send(session):
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)

    async def send(self, session: aiohttp.ClientSession) -> bool:
        """Send every sketch with users who were not sent yet; False if the control plane could not take them now."""
        async with self._sending:
            self._full.clear()
            keys = [key for key, counted in self._counted.items() if counted.since is not None]
            for start in range(0, len(keys), MOST_SKETCHES):
                if not await self._send_some(session, keys[start : start + MOST_SKETCHES]):
                    return False
            self._forget_old()
            return True

    async def _send_some(self, session: aiohttp.ClientSession, keys: list[_Key]) -> bool:
        """Who is counted while this waits is marked anew, and sent the next time."""
        chosen = {key: self._counted[key] for key in keys}
        registers = {key: counted.sketch.registers() for key, counted in chosen.items()}
        digests = {key: hashlib.sha256(held).digest() for key, held in registers.items()}
        for counted in chosen.values():
            counted.since, counted.sending = None, counted.since
        changed = [key for key in keys if digests[key] != chosen[key].sent]
        done = False
        try:
            problems = await self._post(session, changed, registers) if changed else {}
            done = True
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            _log.warning("sketches of active users could not be sent, to be retried", extra={"problem": told(error)})
            return False
        finally:
            for key, counted in chosen.items():
                if done:
                    counted.sent = digests[key]
                else:
                    counted.since = counted.sending  # older than whatever came meanwhile
                counted.sending = None
        self._tell(problems)
        self._sent()
        return True

    def _tell(self, problems: dict[_Key, str]) -> None:
        for (tenant, product, day), problem in problems.items():
            self.uncounted += 1
            _log.critical(
                "the control plane refuses a sketch of active users: upgrade the older of the two, then run "
                "`paddock-controlplane recount-active-users`, which counts that day from the ledger",
                extra={"tenant": tenant, "product": product, "day": day, "problem": problem},
            )

    async def _post(
        self, session: aiohttp.ClientSession, keys: list[_Key], registers: dict[_Key, bytes]
    ) -> dict[_Key, str]:
        """Gives the sketches that it will never take, and why. Raises ClientError and others: not possible now."""
        body = await asyncio.to_thread(_encode, keys, registers)
        timeout = aiohttp.ClientTimeout(total=30)
        async with session.post(self._url, data=body, headers=self._headers, timeout=timeout) as response:
            if response.status in _INVALID:
                detail = (await response.text())[:500]
                return dict.fromkeys(keys, f"{response.status}: {detail}")
            response.raise_for_status()
            taken = _taken.decode(await response.read())
        return {keys[item.index]: item.reason for item in taken.refused if item.index < len(keys)}

    def _of(self, key: _Key) -> _Counted | None:
        """The sketch of a tenant, product and day; None if there is no room for another."""
        counted = self._counted.get(key)
        if counted is None:
            if len(self._counted) >= self._most:
                self._make_room()
            if len(self._counted) >= self._most:
                return None
            counted = self._counted[key] = _Counted()
        return counted

    def _make_room(self) -> None:
        """Sketches that were sent can begin anew: the control plane unites what comes with what it has."""
        if self._full.is_set():
            return  # nothing was sent since the last look
        self._keep(lambda _, counted: not counted.known)
        if len(self._counted) * 2 > self._most:
            self._full.set()

    def _forget_old(self) -> None:
        """Requests of the day before the newest may still end; those of older days have ended, and were sent."""
        days = sorted({day for _, _, day in self._counted})[-2:]
        self._keep(lambda key, counted: not counted.known or key[2] in days)

    def _keep(self, wanted: Callable[[_Key, _Counted], bool]) -> None:
        self._counted = {key: counted for key, counted in self._counted.items() if wanted(key, counted)}


def _encode(keys: list[_Key], registers: dict[_Key, bytes]) -> bytes:
    sketches = [
        DaySketch(tenant=tenant, product=product, day=day, sketch=encode(registers[tenant, product, day]))
        for tenant, product, day in keys
    ]
    return msgspec.json.encode(SketchBatch(sketches=sketches))
