"""Every process of the product is killed with SIGKILL in the middle of its work; restarted, it goes on by itself."""

import contextlib
import json
import time

import httpx
import pytest
from paddock_local.demo import steps
from paddock_local.demo.cast import SERVED, TENANTS

from faults import books

pytestmark = pytest.mark.stack

PARTS = ("operator", "controlplane", "gateway", "kubelet", "cri", "etcd", "kube-apiserver", "postgres")


@pytest.mark.parametrize("part", PARTS)
def test_killed_in_the_middle_of_the_story(world, serving, kill, part):
    """The license is taken and given again, and the part dies while the deployment is on its way back."""
    revoke_deployer(world)
    world.wait("the pods to go", lambda: not steps.serving_pods(world) or None, seconds=300)
    steps.accept(world, party=TENANTS["acme"], role="deployer", who="acme")
    kill(part)
    world.wait("a new answer", lambda: answered_through_anything(world), seconds=300)


CHECKPOINT_TOKENS = 32
MAX_TOKENS = 600


def test_gateway_killed_in_mid_stream(world, serving, kill):
    """After its restart the ledger holds the request exactly once, by the count that the engine kept."""
    before = {row["usage_id"] for row in lost_rows(world)}
    request, seen = "", 0
    with contextlib.suppress(httpx.HTTPError), streaming(world) as response:
        request = response.headers["x-request-id"]
        for line in response.iter_lines():
            seen += line.startswith("data: {") and '"text"' in line
            if seen == 60:
                kill("gateway")
    assert seen >= 60
    world.wait("the ledger", lambda: {row["usage_id"] for row in lost_rows(world)} - before or None, seconds=300)
    time.sleep(3)
    mine = [row for row in lost_rows(world) if row["usage_id"] not in before]
    assert [row["usage_id"] for row in mine] == [request]
    row = mine[0]
    assert (row["tenant"], row["billed_from"], row["usage_source"]) == ("acme", "engine", "counted")
    assert row["input_tokens"] > 0
    assert seen - CHECKPOINT_TOKENS <= row["output_tokens_sent"] <= row["output_tokens"] == row["output_tokens_engine"]
    assert seen <= row["output_tokens"] < MAX_TOKENS, "the engine stopped when the gateway died"


def lost_rows(world):
    """acme's rows of requests whose gateway died."""
    return [row for row in books.rows(world, tenant="acme") if row["status"] == "gateway_lost"]


def streaming(world):
    """An answer without chance, and as long as it may become: counting goes on until the tokens are used up."""
    body = {
        "model": SERVED,
        "prompt": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,",
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        "stream": True,
    }
    headers = {"authorization": f"Bearer {world.secret('acme-key')}", "content-type": "application/json"}
    return httpx.stream(
        "POST", f"{world.gateway_url}/v1/completions", content=json.dumps(body), headers=headers, timeout=120
    )


def revoke_deployer(world):
    for item in world.paddock("license", "list", "--entity", TENANTS["acme"].entity, who="acme").json:
        if item["role"] == "deployer" and item["state"] == "active":
            world.paddock("license", "revoke", item["id"], "--reason", "a test", who="acme")


def answered_through_anything(world):
    """An answer, or None while any part of the way is still down."""
    try:
        return steps.ask(world, "acme")
    except Exception:  # noqa: BLE001 - refused, reset, 403, 404, 503: all mean not yet
        return None
