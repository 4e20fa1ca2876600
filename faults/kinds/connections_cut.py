"""Every connection to PostgreSQL is cut again and again, in the middle of whatever it does."""

import random
import time
import uuid
from typing import Any

import httpx

from faults import database
from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "all connections to PostgreSQL cut in mid-transaction, {size} times"
SHORT, FULL = 8, 100
CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'paddock-controlplane' AND pid <> pg_backend_pid()
"""
RECOVERS_SECONDS = 5.0


def play(scene: Scene, size: int) -> Verdict:
    """Requests never notice; a write of the API is done once or refused with the advice to come again."""
    chance, mark = random.Random(17), scene.since()
    asked: list[str] = []
    slowest = 0.0
    with scene.load() as load:
        for number in range(size):
            time.sleep(chance.uniform(0.0, 0.3))
            database.ask(scene.stack, CUT)
            asked.append(f"cut-{uuid.uuid4()}")
            slowest = max(slowest, write(scene, asked[-1], cut_again=number % 2 == 1))
    assert not load.log.refusals, f"refused: {load.log.codes()}"
    kept = [item["name"] for item in keys(scene) if item["name"].startswith("cut-")]
    assert sorted(kept) == sorted(asked), "a write was lost, or done twice"
    for item in keys(scene):
        if item["name"].startswith("cut-"):
            scene.call("DELETE", f"/v1/tenants/acme/keys/{item['id']}")
    assert slowest < RECOVERS_SECONDS, f"a write took {slowest:.1f} s"
    return mark.verdict(
        load.log, tokens=TOKENS, note=f"{size} writes through the API once each, {slowest:.1f} s at most"
    )


def write(scene: Scene, name: str, *, cut_again: bool) -> float:
    """Issue a key, repeated under one idempotency key as the refusals advise; how long it took."""
    began = time.monotonic()
    while True:
        try:
            scene.call("POST", "/v1/tenants/acme/keys", {"name": name}, idempotent=name)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != 503 or not error.response.headers["retry-after"]:
                raise
            time.sleep(0.1)
        else:
            return time.monotonic() - began
        if cut_again:
            database.ask(scene.stack, CUT)
            cut_again = False


def keys(scene: Scene) -> list[dict[str, Any]]:
    """Keys of acme that are in force."""
    found: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = scene.call("GET", "/v1/tenants/acme/keys", params={"limit": "500", "after": after})
        found += [item for item in page["items"] if item["revoked_at"] is None]
        after = page["next"]
    return found
