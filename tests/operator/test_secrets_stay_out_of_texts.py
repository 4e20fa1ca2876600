"""No secret in a log line or a status, whatever a server answers: an error's `repr` may hold a request's headers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from paddock_operator.adapters import gateways as adapter
from paddock_operator.adapters.benchmark import TritonBencher
from paddock_operator.adapters.triton import TritonProber
from paddock_operator.errors import BenchmarkError, told
from paddock_operator.ports import Load
from paddock_operator.signals_book import SignalBook

from tests.waiting import until

SECRET = "the-secret-of-these-tests"
ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[str]:
    """Answers everything with these bytes."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


ANSWERS = [
    b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx",
    b"",
]


class Leader:
    """Leads."""

    def __init__(self) -> None:
        self.leading, self.following = asyncio.Event(), asyncio.Event()
        self.leading.set()


class Clock:
    """Stands still."""

    now = boottime = staticmethod(lambda: 1.0)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_the_internal_token_is_in_no_log_line_of_the_follower(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    book = SignalBook(clock=Clock(), wake=lambda _: None, configured=True)
    async with server(answer) as url, aiohttp.ClientSession() as session:
        follower = adapter.GatewayFollower(session=session, urls=(url,), token=SECRET.encode, book=book)
        task = asyncio.create_task(follower.run(Leader()))  # type: ignore[arg-type]
        await until(lambda: [item for item in caplog.records if item.name == adapter.__name__])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert all(SECRET not in str(record.__dict__) for record in caplog.records)
    assert all(record.__dict__["error"].split(":")[0].endswith("Error") for record in caplog.records)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_the_secret_of_a_copy_is_in_no_verdict_of_a_probe_or_benchmark(answer: bytes) -> None:
    load = Load(requests=1, concurrency=1, output_tokens=4)
    async with server(answer) as url, aiohttp.ClientSession() as session:
        verdict = await TritonProber(session).generates(url=url, secret=SECRET)
        with pytest.raises(BenchmarkError) as caught:
            await TritonBencher(session).measure(url=url, secret=SECRET, load=load)
    assert verdict
    assert SECRET not in verdict
    assert SECRET not in str(caught.value)


def test_an_error_is_told_by_its_kind_and_a_bounded_text() -> None:
    assert told(TimeoutError()) == "TimeoutError"
    assert told(OSError("x" * 9000)) == "OSError: " + "x" * 300


@pytest.mark.parametrize("package", ["operator", "gateway", "controlplane"])
def test_no_error_is_told_by_its_repr(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text()
        assert "repr(error)" not in text, path
        assert "{error!r}" not in text, path
