"""API keys get new secrets, and are revoked, while requests are made with them."""

import time

import httpx

from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "an API key rotated with an overlap, then revoked, under load, {size} times"
SHORT, FULL = 1, 10
OVERLAP_SECONDS = 3600
REVOKED_SECONDS = 2.0


def play(scene: Scene, size: int) -> Verdict:
    """No request fails while both secrets count; none is served two seconds after the revocation."""
    mark, latest = scene.since(), 0.0
    made = scene.call("POST", "/v1/tenants/acme/keys", {"name": "to be rotated"})
    scene.until("the gateway to know the key", lambda: usable(scene, made["key"]))
    with scene.load(key=made["key"]) as load:
        for _ in range(size):
            time.sleep(1)
            path = f"/v1/tenants/acme/keys/{made['id']}"
            new = scene.call("POST", f"{path}/rotation", {"overlap_seconds": OVERLAP_SECONDS})["key"]
            scene.until("the new secret to open", lambda: usable(scene, new))  # noqa: B023
            load.key = new
            time.sleep(1)
            assert not load.log.refusals, f"refused: {load.log.codes()}"
            made = scene.call("POST", "/v1/tenants/acme/keys", {"name": "to be rotated"})
            scene.until("the next key to open", lambda: usable(scene, made["key"]))  # noqa: B023
            asked = time.monotonic()
            scene.call("DELETE", path)
            scene.until("a refusal", lambda: load.log.codes(since=asked) or None)  # noqa: B023
            time.sleep(REVOKED_SECONDS)
            assert load.log.codes() == {"invalid_api_key"}, load.log.codes()
            served = [answer.began - asked for answer in load.log.answers if answer.began >= asked]
            latest = max([latest, *served])
            load.key = made["key"]
            time.sleep(0.5)
            load.log.refusals.clear()
    scene.call("DELETE", f"/v1/tenants/acme/keys/{made['id']}")
    assert latest < REVOKED_SECONDS, f"served {latest:.2f} s after the revocation"
    return mark.verdict(
        load.log, tokens=TOKENS, note=f"last one served {latest * 1000:.0f} ms after a revocation began"
    )


def usable(scene: Scene, key: str) -> bool | None:
    """Whether the gateway takes the key. Listing models costs nothing."""
    answer = httpx.get(f"{scene.world.gateway_url}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=30)
    return True if answer.is_success else None
