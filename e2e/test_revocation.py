"""A revocation reaches the gateway within two seconds of the moment at which somebody asked for it."""

import threading
import time

import httpx
import openai
import pytest
from paddock_local.demo import steps
from paddock_local.demo.cast import TENANTS

pytestmark = pytest.mark.stack

PROMISED_SECONDS = 2.0


class Asker(threading.Thread):
    """Asks without a pause, and remembers when each request began and whether it was served."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.seen = []
        self._world = world
        self._over = threading.Event()

    def run(self):
        while not self._over.is_set():
            began = time.monotonic()
            try:
                answer = steps.ask(self._world, "acme", tokens=1)
            except openai.APIStatusError as error:
                self.seen.append((began, error.status_code))
            else:
                steps.bill(self._world, "acme", answer.usage)
                self.seen.append((began, 200))

    def stop(self):
        self._over.set()
        self.join(timeout=120)


def test_no_request_is_served_two_seconds_after_a_revocation(world, serving):
    asker = Asker(world)
    asker.start()
    world.wait("an answer", lambda: asker.seen or None, seconds=300)
    asked = time.monotonic()
    revoke(world)
    world.wait("a refusal", lambda: any(status == 403 for _, status in asker.seen) or None, seconds=300)
    time.sleep(1)
    asker.stop()
    served = [began - asked for began, status in asker.seen if status == 200]
    refused = [began - asked for began, status in asker.seen if status == 403]
    assert refused
    assert max(served) < PROMISED_SECONDS
    assert max(served) < min(refused)
    steps.accept(world, party=TENANTS["acme"], role="deployer", who="acme")
    steps.serving(world)
    world.wait("service", lambda: steps.answered(world, "acme"), seconds=300)


def revoke(world):
    """Over HTTP, so that the start of a command is not part of what is measured."""
    headers = {"authorization": f"Bearer {world.secret('acme-admin')}"}
    base = f"{world.controlplane_url}/v1/license-acceptances"
    listed = httpx.get(base, params={"entity": TENANTS["acme"].entity}, headers=headers, timeout=120).json()["items"]
    active = next(item["id"] for item in listed if item["role"] == "deployer" and item["state"] == "active")
    httpx.post(f"{base}/{active}/revoke", json={"reason": "a test"}, headers=headers, timeout=120).raise_for_status()
