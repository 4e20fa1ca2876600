"""Bytes from clients that are broken, slow or hostile, over plain sockets."""

import asyncio
import json
from typing import Any

import pytest
from paddock_core.signals import PATH
from paddock_gateway import internal


async def exchange(
    world: Any, data: bytes, *, wait: float = 10.0, port: int | None = None
) -> tuple[int, dict[str, Any]]:
    """Send bytes, read one whole response. `port`: another one than that of clients."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port or world.settings.port)
    try:
        writer.write(data)
        async with asyncio.timeout(wait):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            return int(head.split()[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()


def post(world: Any, body: bytes, *, length: int | None = None, path: str = "/v1/chat/completions") -> bytes:
    key = world.client().api_key
    size = len(body) if length is None else length
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {size}\r\n\r\n".encode()
        + body
    )


async def test_an_announced_body_of_20_megabytes_is_413_before_it_comes(world: Any) -> None:
    async with world.gateway():
        status, answer = await exchange(world, post(world, b"{", length=20 * 1024 * 1024))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")


async def test_a_chunked_body_is_bounded_too(world: Any) -> None:
    key = world.client().api_key
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with world.gateway():
        status, _ = await exchange(world, head.encode() + b"transfer-encoding: chunked\r\n\r\n" + block * 20)
    assert status == 413


async def test_a_stalled_body_is_408(world: Any) -> None:
    async with world.gateway(body_timeout_seconds=0.3):
        status, answer = await exchange(world, post(world, b'{"model":', length=100))
    assert (status, answer["error"]["code"]) == (408, "request_timeout")


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"])
async def test_stalled_headers_are_408(world: Any, sent: bytes) -> None:
    async with world.gateway(body_timeout_seconds=0.3):
        status, answer = await exchange(world, sent)
    assert (status, answer["error"]["code"]) == (408, "request_timeout")


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_headers_are_bounded(world: Any, end: bytes) -> None:
    async with world.gateway():
        status, answer = await exchange(world, b"GET /healthz HTTP/1.1\r\nx-long: " + b"a" * 60000 + end)
    assert (status, answer["error"]["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[]", "invalid_value"),
        (b'{"model":"demo"}', "missing_required_parameter"),
        (b'{"model":"demo","messages":' + b"[" * 5000, "invalid_value"),
        (b'{"model":"demo","messages":[{"role":"user","content":"\\ud800"}]}', "invalid_json"),
        (b'{"model":"demo","messages":[{"role":"user"}]}', "invalid_value"),
        (b'{"model":"demo","messages":[{"role":"user","content":"x"}],"temperature":1e999}', "invalid_value"),
        (b'{"model":"demo","messages":[{"role":"user","content":"x"}],"stream_options":{}}', "invalid_value"),
        (b'{"model":"demo","messages":[{"role":"user","content":[{"type":"image_url"}]}]}', "invalid_value"),
    ],
)
async def test_broken_bodies_are_400_in_openais_shape(world: Any, body: bytes, code: str) -> None:
    async with world.gateway():
        status, answer = await exchange(world, post(world, body))
    assert (status, answer["error"]["code"]) == (400, code)
    assert set(answer["error"]) == {"message", "type", "param", "code"}


async def test_no_key_is_401_and_nothing_of_the_body_is_read(world: Any) -> None:
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    async with world.gateway():
        status, answer = await exchange(world, request)
    assert (status, answer["error"]["type"]) == (401, "authentication_error")


async def test_unknown_addresses_and_methods(world: Any) -> None:
    async with world.gateway():
        unknown = await exchange(world, b"GET /v2/models HTTP/1.1\r\nhost: x\r\n\r\n")
        method = await exchange(world, b"GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (unknown[0], method[0]) == (404, 405)


async def test_a_connection_serves_the_next_request_after_an_error(world: Any) -> None:
    async with world.gateway():
        reader, writer = await asyncio.open_connection("127.0.0.1", world.settings.port)
        for _ in range(2):
            writer.write(post(world, b"{"))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            assert b" 400 " in head
        writer.close()


def poll(world: Any, *, token: str = "internal-token-of-the-tests", more: str = "") -> bytes:
    return f"GET {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{more}\r\n".encode()


@pytest.mark.parametrize("sent", [b"", b"GET " + PATH.encode() + b" HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_stalls_on_the_internal_port_is_408(
    world: Any, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(internal, "HEAD_SECONDS", 0.3)
    async with world.gateway():
        status, _ = await exchange(world, sent, port=world.settings.internal_port, wait=60)
    assert status == 408


async def test_a_head_on_the_internal_port_is_bounded(world: Any) -> None:
    async with world.gateway():
        long = poll(world, more=f"x-long: {'a' * (internal.MOST_HEAD_BYTES + 1)}\r\n")
        status, _ = await exchange(world, long, port=world.settings.internal_port, wait=60)
    assert status == 431


async def test_connections_to_the_internal_port_are_bounded_and_come_free_again(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(internal, "MOST_CONNECTIONS", 3)
    address = ("127.0.0.1", world.settings.internal_port)
    async with world.gateway():
        opened = [await asyncio.open_connection(*address) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(300):
            assert await reader.read() == b""
        writer.close()
        for _, writer in opened:
            writer.close()
        async with asyncio.timeout(300):
            while True:
                try:
                    status, _ = await exchange(world, poll(world), port=address[1], wait=60)
                except (asyncio.IncompleteReadError, ConnectionError):
                    continue  # those that were closed are still being let go
                break
    assert status == 200


@pytest.mark.parametrize(("token", "status"), [("another", 401), ("internal-token-of-the-tests", 200)])
async def test_only_who_has_the_token_keeps_a_connection_to_the_internal_port(
    world: Any, token: str, status: int
) -> None:
    async with world.gateway():
        reader, writer = await asyncio.open_connection("127.0.0.1", world.settings.internal_port)
        async with asyncio.timeout(300):
            writer.write(poll(world, token=token))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            assert f" {status} ".encode() in head
            writer.write(poll(world, token=token))
            again = await reader.read(1)
        writer.close()
    assert bool(again) == (status == 200)
