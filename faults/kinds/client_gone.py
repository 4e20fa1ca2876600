"""The client leaves after every so many bytes of the stream."""

import json
import socket
from urllib.parse import urlsplit

from paddock_local.demo.cast import SERVED

from faults.client import Log, Received
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "client gone after every {size}th byte of a stream of 8 tokens"
SHORT, FULL = 211, 7
TOKENS = 8


def play(scene: Scene, size: int) -> Verdict:
    """A request for each cut, until one comes to its end."""
    log, mark, cut = Log(), scene.since(), 1
    while not leave_after(scene, log, cut=cut):
        cut += size
    return mark.verdict(log, tokens=TOKENS)


def leave_after(scene: Scene, log: Log, *, cut: int) -> bool:
    """Read that many bytes of the answer and close. True if the answer was shorter."""
    where = urlsplit(scene.world.gateway_url)
    data = b""
    with socket.create_connection((where.hostname or "", where.port or 80), timeout=60) as connection:
        connection.sendall(_request(scene, where.netloc))
        while len(data) < cut and (piece := connection.recv(cut - len(data))):
            data += piece
            if data.endswith(b"0\r\n\r\n"):
                break
    over = data.endswith(b"0\r\n\r\n")
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "x-request-id" and body:
            pieces = sum(1 for event in body.split(b"\n\n")[:-1] if b'"text":"' in event and b'"text":""' not in event)
            log.add(Received(id=value, stream=True, pieces=pieces))
    return over


def _request(scene: Scene, host: str) -> bytes:
    body = json.dumps(
        {"model": SERVED, "prompt": "1, 2, 3, 4,", "max_tokens": TOKENS, "temperature": 0, "stream": True}
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {scene.world.secret('acme-key')}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
