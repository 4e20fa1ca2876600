"""What the ledger holds, read as the platform team reads it, and held against what clients received."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from paddock_local.demo import steps
from paddock_local.demo.world import World

from faults.client import Log
from faults.verdict import Verdict, judge

SETTLE_SECONDS = 180.0
PAGE = 500


def rows(world: World, *, tenant: str = "") -> Iterator[dict[str, Any]]:
    """The ledger's rows in the order of their admission, of one tenant or of all, page by page."""
    after: str | None = ""
    while after is not None:
        query = {"limit": str(PAGE)} | ({"tenant": tenant} if tenant else {}) | ({"after": after} if after else {})
        page = call(world, "GET", "/v1/usage/records", params=query)
        yield from page["items"]
        after = page["next"]


def rolled_up(world: World, *, tenant: str) -> int:
    """How many requests of a tenant the roll-ups hold."""
    return int(steps.ledger(world).get(tenant, {"requests": 0})["requests"])


def call(world: World, method: str, path: str, body: Any = None, **more: Any) -> Any:
    """A request to the control plane, as the platform where no `token` is given; its JSON."""
    token = more.pop("token", "") or world.admin_token_file.read_text().strip()
    base = more.pop("base", world.controlplane_url)
    headers = {"authorization": f"Bearer {token}"}
    if idempotent := more.pop("idempotent", ""):
        headers["idempotency-key"] = idempotent
    answer = httpx.request(method, base + path, json=body, headers=headers, timeout=60, **more).raise_for_status()
    return answer.json() if answer.content else None


@dataclass(frozen=True, kw_only=True)
class Since:
    """A mark in the ledger: what a tenant's rows were when the fault began."""

    world: World
    tenant: str
    known: frozenset[str]
    rolled_up: int

    @classmethod
    def now(cls, world: World, *, tenant: str = "acme") -> "Since":
        known = frozenset(row["usage_id"] for row in rows(world, tenant=tenant))
        return cls(world=world, tenant=tenant, known=known, rolled_up=rolled_up(world, tenant=tenant))

    def rows(self) -> list[dict[str, Any]]:
        """The rows that came later."""
        return [row for row in rows(self.world, tenant=self.tenant) if row["usage_id"] not in self.known]

    def verdict(self, log: Log, *, tokens: int, note: str = "") -> Verdict:
        """Judge once every answer has its row, or after long enough without."""
        wanted = {answer.id for answer in log.answers}
        deadline = time.monotonic() + SETTLE_SECONDS
        while not wanted <= {row["usage_id"] for row in self._quietly()} and time.monotonic() < deadline:
            time.sleep(1.0)
        time.sleep(2.0)  # what would come twice comes now
        found = self.rows()
        grown = rolled_up(self.world, tenant=self.tenant) - self.rolled_up
        return judge(answers=log.answers, rows=found, rolled_up=grown, tokens=tokens, note=note)

    def _quietly(self) -> list[dict[str, Any]]:
        """The rows, or none while the control plane is down."""
        try:
            return self.rows()
        except httpx.HTTPError:
            return []
