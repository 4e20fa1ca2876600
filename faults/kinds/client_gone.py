"""The client leaves after every so many bytes of the stream."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from paddock_local.demo.cast import SERVED

from faults.client import Log, Received
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "client gone after every byte of a stream, in steps of {size}"
SHORT, FULL = 97, 1
TOKENS = 2
AT_ONCE = 6
MOST_BYTES = 1 << 20


def play(scene: Scene, size: int) -> Verdict:
    """A request for each cut, as far as the answer goes."""
    log, mark = Log(), scene.since()
    whole = leave_after(scene, log, cut=MOST_BYTES)
    head = whole.index(b"\r\n\r\n") + 4
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda cut: leave_after(scene, log, cut=cut), range(head, len(whole), size)))
    return mark.verdict(log, tokens=TOKENS, note=f"{len(whole) - head} bytes behind the head, {TOKENS} tokens")


def leave_after(scene: Scene, log: Log, *, cut: int) -> bytes:
    """Read that many bytes of an answer and close; what came. A refusal is asked again."""
    where = urlsplit(scene.world.gateway_url)
    while True:
        data = b""
        with socket.create_connection((where.hostname or "", where.port or 80), timeout=120) as connection:
            connection.sendall(_request(scene, where.netloc))
            while len(data) < cut and (piece := connection.recv(cut - len(data))):
                data += piece
                if data.endswith(b"0\r\n\r\n"):
                    break
        if not data[len(b"HTTP/1.1 ") :].startswith((b"4", b"5")):
            break
        time.sleep(0.5)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "x-request-id" and body:
            pieces = sum(1 for event in body.split(b"\n\n")[:-1] if b'"text":"' in event and b'"text":""' not in event)
            log.add(Received(id=value, stream=True, pieces=pieces))
    return data


def _request(scene: Scene, host: str) -> bytes:
    body = json.dumps(
        {"model": SERVED, "prompt": "1, 2, 3, 4,", "max_tokens": TOKENS, "temperature": 0, "stream": True}
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {scene.world.secret('acme-key')}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
