"""The same gateway with key, license, quota, journal and metering left out: `metering.py` sets the real one beside it.

Server, HTTP parsing, request checks, chat template, tokenizer, Triton client, pump and answers are the product's own.
It lives here because the product has no such switch. `python bench/metering_off.py`, with the gateway's settings.
"""

import asyncio
from pathlib import Path
from typing import Any

from paddock_core.quotas.holdings import Plan, Reservation
from paddock_core.usage.journal_frames import Intent
from paddock_gateway import admit, app, assembly, main, pump
from paddock_gateway.authenticate import Caller
from paddock_gateway.leases import Leases
from paddock_gateway.route import LicenseGate

_NO_LIMITS = Plan((), (), None)


class NoJournal:
    """Keeps nothing."""

    damaged = failures = open_requests = 0

    def __init__(self, *, folder: Path, **_: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settled_event = asyncio.Event()

    def next_sequence(self) -> int:
        return 0

    def has_begun(self, _usage_id: str) -> bool:
        return True

    async def begin(self, _intent: Intent) -> None: ...

    def checkpoint(self, _progress: Any) -> None: ...

    def readable(self) -> tuple[()]:
        return ()

    def release(self, _acknowledged: int) -> None: ...

    async def close(self) -> None: ...


class NoLimits(Leases):
    """Grants at once, and never calls the control plane."""

    async def reserve(self, *, input_tokens: int, output_cap: int, **_: Any) -> tuple[Reservation, bool]:
        return Reservation(_NO_LIMITS, input_tokens, output_cap, output_cap, 0), False

    def settle(self, reservation: Reservation, **_: Any) -> None: ...

    async def run(self, _session: Any) -> None:
        await asyncio.Event().wait()

    async def close(self, _session: Any) -> None: ...


class NoLicenses(LicenseGate):
    """Allows everything."""

    def check(self, **_: Any) -> str:
        return ""

    def notices(self, **_: Any) -> tuple[str, ...]:
        return ()


async def _no_record(_pump: pump.Pump, _status: str) -> None: ...


def without() -> None:
    """Take the parts out of the gateway's modules."""
    known: list[Caller] = []

    def anybody(_callers: Any, *, view: Any, **_: Any) -> Caller:
        if not known:
            key = next(iter(view.api_keys.values()))
            known.append(Caller(key=key, tenant=view.tenants[key.tenant], levels=(), revision=view.revision))
        return known[0]

    parts: list[tuple[Any, str, Any]] = [
        (app.Callers, "prove", anybody),
        (admit, "_end_user", lambda *_: None),
        (pump.Pump, "_settle", _no_record),
        (main, "Journal", NoJournal),
        (assembly, "Leases", NoLimits),
        (assembly, "LicenseGate", NoLicenses),
    ]
    for module, name, part in parts:
        if not hasattr(module, name):
            raise SystemExit(f"{module.__name__}.{name} is not there any more: bench/metering_off.py must follow it")
        setattr(module, name, part)


if __name__ == "__main__":
    without()
    main.main()
