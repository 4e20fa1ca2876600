"""Usage is sent three times over, by several gateways at once and in any order, while the control plane is killed."""

import random
import threading
import time
import uuid
from typing import Any

import httpx
import msgspec

from faults.books import rolled_up
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "{size} rows sent three times in any order, the control plane killed meanwhile"
SHORT, FULL = 6_000, 1_000_000
BATCH = 2_000
KILLS = 3
SENDERS = 3
RECENT_SECONDS = 3600.0


def play(scene: Scene, size: int) -> Verdict:
    """Every batch three times; each of its rows counts once."""
    tenant = f"repeated-{uuid.uuid4().hex[:8]}"
    at = time.time()
    work = [batch * BATCH for batch in range(size // BATCH)] * 3
    random.Random(23).shuffle(work)
    taken, sent = iter(work), [0, 0]
    lock, wrong = threading.Lock(), []

    def send() -> None:
        with httpx.Client(base_url=scene.world.controlplane_url, timeout=120) as http:
            while True:
                with lock:
                    first = next(taken, None)
                if first is None:
                    return
                try:
                    done = deliver(http, scene, [record(number, at=at, tenant=tenant) for number in batch(first)])
                except AssertionError as error:
                    wrong.append(str(error))
                    return
                with lock:
                    sent[0] += done["accepted"]
                    sent[1] += done["duplicates"]

    threads = [threading.Thread(target=send, daemon=True) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for number in range(KILLS):
        scene.until("a part of them", lambda: sum(sent) * KILLS >= number * 3 * size or wrong or None, seconds=900)  # noqa: B023
        scene.kill("controlplane")
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    return judged(scene, tenant, size=size, at=at)


def judged(scene: Scene, tenant: str, *, size: int, at: float) -> Verdict:
    """The roll-ups against what was sent, and the roll-ups against the rows."""
    scene.until("the roll-ups", lambda: scene.quietly(lambda: rolled_up(scene.world, tenant=tenant)))
    usage = scene.call("GET", "/v1/usage", params={"tenant": tenant})["total"]
    expected = sum(tokens(number) for number in range(size))
    drift = scene.call(
        "GET", "/v1/usage/drift", params={"from": str(at - 2 * RECENT_SECONDS), "to": str(at + RECENT_SECONDS)}
    )
    return Verdict(
        answers=size,
        cut=0,
        rows=usage["requests"],
        lost=max(0, size - usage["requests"]) + drift["requests"],
        doubled=max(0, usage["requests"] - size),
        wrong=abs(usage["output_tokens"] - expected),
        inexact=0,
        note=f"{3 * size} records sent; tokens differ by {usage['output_tokens'] - expected}",
    )


def deliver(http: httpx.Client, scene: Scene, records: list[dict[str, Any]]) -> Any:
    """Send a batch until it is acknowledged, as gateways do."""
    headers = {"authorization": f"Bearer {scene.internal_token()}", "content-type": "application/msgpack"}
    body = msgspec.msgpack.encode({"records": records})
    while True:
        try:
            answer = http.post("/internal/v1/usage", content=body, headers=headers)
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        if answer.status_code == 200:
            return answer.json()
        assert answer.status_code == 503, answer.text
        time.sleep(0.2)


def batch(first: int) -> range:
    """The numbers of a batch's records."""
    return range(first, first + BATCH)


def tokens(number: int) -> int:
    """Output tokens of a record."""
    return 1 + number % 13


def record(number: int, *, at: float, tenant: str) -> dict[str, Any]:
    """A record as a gateway writes it; its id is the same each time."""
    admitted = at - RECENT_SECONDS + number * RECENT_SECONDS / FULL
    identifier = uuid.UUID(
        int=(int(admitted * 1000) << 80)
        | (7 << 76)
        | (2 << 62)
        | uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}/{number}").int >> 68
    )
    output = tokens(number)
    return {
        "usage_id": identifier, "tenant": tenant, "key_id": f"key-{number % 5}", "owner_tenant": tenant,
        "deployment": f"{tenant}/demo", "model": "demo", "dialect": "openai", "operation": "chat", "stream": True,
        "status": "ok", "finish_reason": "stop", "t_admit": admitted, "t_first_token": admitted, "t_end": admitted + 1,
        "reserved_tokens": 64, "input_tokens": 20, "output_tokens_engine": output, "output_tokens_sent": output,
        "output_tokens": output, "billed_from": "engine", "usage_source": "exact", "acceptance_id": "acc-faults",
        "end_user_hash": None, "gateway_instance": f"gateway-{number % 3}", "journal_seq": number,
    }  # fmt: skip
