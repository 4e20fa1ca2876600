"""What stands around the gateway in the benchmark: a Triton with a pace of its own, a tiny control plane.

Run as `python bench/gateway_mock.py triton PORT`, `... openai PORT`, `... aiohttp PORT` or `... world PORT FILE`, the
file being a JSON of answers by path. `aiohttp` is the same Triton as an ordinary Python server, which writes one token
at a time; `openai` gives the same answer whole, as OpenAI's API does, for a proxy that speaks nothing else.
"""

import asyncio
import json
import sys
from functools import cache
from pathlib import Path

import httptools
import msgspec
import uvloop
from aiohttp import web
from paddock_core.quotas.wire import Grant, LeaseAnswer, LeaseCall

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
FILL_NS = 20_000_000_000
"""How full the world tells a rate's account to be: a third, so that gateways reckon with it as they would anywhere."""


class Ask(msgspec.Struct):
    sampling_param_max_tokens: int = 16
    sampling_param_seed: int = 0
    """Milliseconds between two tokens."""


def event(text: str, finish: str | None) -> bytes:
    """One server-sent event."""
    body = {
        "finish_reason": finish or "",
        "model_name": "tensorrt_llm",
        "model_version": "1",
        "num_input_tokens": 20,
        "num_output_tokens": 1,
        "text_output": text,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _chunk(text: str, finish: str | None) -> bytes:
    data = event(text, finish)
    return b"%x\r\n" % len(data) + data + b"\r\n"


TOKEN = _chunk(" token", None)
LAST = _chunk(" token", "length")


class Triton(asyncio.Protocol):
    """One connection."""

    decoder = msgspec.json.Decoder(Ask)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.left = 0
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        ask = self.decoder.decode(self.body)
        self.body = b""
        self.left = ask.sampling_param_max_tokens
        if ask.sampling_param_seed:
            self.interval = ask.sampling_param_seed / 1000
            self.transport.write(HEAD)
            self.loop.call_later(self.interval, self.tick)
        else:
            self.transport.write(HEAD + TOKEN * (self.left - 1) + LAST + END)

    def tick(self) -> None:
        if self.transport.is_closing():
            return
        self.left -= 1
        if self.left > 0:
            self.transport.write(TOKEN)
            self.loop.call_later(self.interval, self.tick)
        else:
            self.transport.write(LAST + END)


@cache
def _completion(tokens: int) -> bytes:
    message = {"role": "assistant", "content": " token" * tokens, "refusal": None}
    body = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "demo",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 45, "completion_tokens": tokens, "total_tokens": 45 + tokens},
    }
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data


class OpenAI(Triton):
    """One connection of the same upstream, asked for the whole answer."""

    asked = msgspec.json.Decoder(type=dict[str, object])

    def on_message_complete(self) -> None:
        tokens = self.asked.decode(self.body).get("max_tokens")
        self.body = b""
        self.transport.write(_completion(tokens if isinstance(tokens, int) else 16))


class World(asyncio.Protocol):
    """Policy, artifacts, usage and the list of deployments, as prepared answers; leases as asked for.

    A watch stays silent.
    """

    answers: dict[str, bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.url = self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_message_complete(self) -> None:
        path, _, query = self.url.decode().partition("?")
        if "watch" in query:
            self.transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            return
        if path.endswith("/changes"):
            asyncio.get_running_loop().call_later(5, self.answer, self.answers["changes"])
            return
        if path.endswith("/leases"):
            self.answer(lend(self.body))
            return
        self.answer(self.answers["usage" if path.endswith("/usage") else path])

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(head + body)


def lend(body: bytes) -> bytes:
    """Whatever a gateway asks for, at once."""
    call = msgspec.json.decode(body, type=LeaseCall)
    grants = tuple(Grant(granted=max(ask.need, ask.want), room=ask.limit, fill_ns=FILL_NS) for ask in call.asks)
    return msgspec.json.encode(LeaseAnswer(grants=grants, gateways=1, seconds=300))


async def serve_aiohttp(port: int) -> None:
    """The ordinary Python server."""

    async def generate(request: web.Request) -> web.StreamResponse:
        ask = Triton.decoder.decode(await request.read())
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for left in range(ask.sampling_param_max_tokens, 0, -1):
            await response.write(event(" token", "length" if left == 1 else None))
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/{tail:.*}", generate)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


async def serve(kind: type[asyncio.Protocol], port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(kind, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Entry."""
    kind: type[asyncio.Protocol] = OpenAI if sys.argv[1] == "openai" else Triton
    if sys.argv[1] == "world":
        World.answers = {path: answer.encode() for path, answer in json.loads(Path(sys.argv[3]).read_text()).items()}
        kind = World
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        port = int(sys.argv[2])
        runner.run(serve_aiohttp(port) if sys.argv[1] == "aiohttp" else serve(kind, port))


if __name__ == "__main__":
    main()
