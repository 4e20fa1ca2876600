"""The internal token and the webhook's certificate are replaced under running parts."""

import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import httpx
from cryptography import x509
from paddock_local.certificates import Authority, KeyPair

from faults.client import TOKENS
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "internal token and webhook certificate replaced under running parts, {size} times"
SHORT, FULL = 1, 5
RELOADED_SECONDS = 60.0
CHANGE = '{"metadata":{"annotations":{"paddock.dev/seen":"%d"}}}'


def play(scene: Scene, size: int) -> Verdict:
    """Requests and `kubectl` go on; each part uses what is new within a minute."""
    mark, slowest = scene.since(), 0.0
    with scene.load() as load, applying(scene) as failures:
        for _ in range(size):
            scene.until("an answer", lambda: load.log.answers or None)
            slowest = max(slowest, new_token(scene), new_certificate(scene))
            asked = time.monotonic()
            scene.until("an answer", lambda: load.log.served(since=asked) or None)  # noqa: B023
    assert not load.log.refusals, f"refused: {load.log.codes()}"
    assert not failures, failures[:3]
    assert slowest < RELOADED_SECONDS, f"something new was used after {slowest:.0f} s"
    return mark.verdict(load.log, tokens=TOKENS, note=f"in use after {slowest:.1f} s at most, no call failed")


def new_token(scene: Scene) -> float:
    """Replace the token in its file; after how many seconds the control plane takes it."""
    new = secrets.token_hex(32)
    replace(scene.stack.paths.secret("internal-token"), new.encode())
    began = time.monotonic()
    url, headers = f"{scene.world.controlplane_url}/internal/v1/policy", {"authorization": f"Bearer {new}"}
    scene.until("the new token to open", lambda: httpx.get(url, headers=headers, timeout=60).is_success or None)
    return time.monotonic() - began


def new_certificate(scene: Scene) -> float:
    """Replace the webhook's certificate, key after certificate; after how many seconds its port shows it."""
    pki = scene.stack.paths.folder("pki")
    used = KeyPair(pki / "operator-webhook.crt", pki / "operator-webhook.key")
    with TemporaryDirectory() as folder:
        for name in ("ca.crt", "ca.key"):
            (Path(folder) / name).write_bytes((pki / name).read_bytes())
        made = Authority(Path(folder), "ca").issue(
            "new", name="paddock-operator-webhook", hosts=("localhost", "127.0.0.1")
        )
        replace(used.certificate, made.certificate.read_bytes())
        replace(used.key, made.key.read_bytes())
    began = time.monotonic()
    wanted = x509.load_pem_x509_certificate(used.certificate.read_bytes()).serial_number
    port = scene.stack.ports["operator_webhook"]
    scene.until("the new certificate", lambda: shown(port) == wanted or None)
    return time.monotonic() - began


def shown(port: int) -> int:
    """Serial number of the certificate on a port."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


def replace(file: Path, content: bytes) -> None:
    """At once, as a mounted secret changes."""
    beside = file.with_suffix(".new")
    beside.touch(mode=0o600)
    beside.write_bytes(content)
    beside.replace(file)


@contextmanager
def applying(scene: Scene) -> Iterator[list[str]]:
    """acme changes its deployment all the while, which asks the webhook each time; what failed."""
    over, failures = Event(), []

    def change() -> None:
        number = 0
        while not over.wait(0.2):
            number += 1
            words = ("patch", "llamadeployment", "smollm2", "-n", "acme", "--type", "merge", "-p", CHANGE % number)
            done = scene.world.kubectl(*words, expect=None)
            if done.code:
                failures.append(done.err)

    thread = Thread(target=change, daemon=True)
    thread.start()
    try:
        yield failures
    finally:
        over.set()
        thread.join(timeout=90)
