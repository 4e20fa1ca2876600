"""Trying the first copy of a revision, and reading how full caches are: beside the rounds, once, and bounded."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from paddock_core.resources.llamadeployment import BenchmarkStatus
from paddock_core.serving import contract
from paddock_operator.adapters.benchmark import MAX_WORDS, TritonBencher
from paddock_operator.adapters.triton import (
    MAX_ANSWER,
    MAX_METRICS,
    TritonMetrics,
    TritonProber,
    bounded,
    cache_used,
)
from paddock_operator.benchmarking import (
    AT_ONCE,
    BEHIND_SECONDS,
    CALM_SECONDS,
    LOOK_SECONDS,
    MOST_BEHIND_SECONDS,
    MOST_WORDS,
    RETRY_SECONDS,
    TRIES,
    BenchmarkBook,
    Candidate,
    summary,
)
from paddock_operator.errors import BenchmarkError
from paddock_operator.ports import Key, Load, Measured

from tests.operator.clocks import Clock

KEY = Key("acme", "chat")
SMALL = Load(requests=6, concurrency=2, output_tokens=3, seconds=30)
MEASURED = Measured(ttft_ms=(10.0, 30.0, 20.0, 40.0), output_tokens=120, seconds=2.0)
Handler = Callable[[web.Request], object]


class Bencher:
    """Answers when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.problem: BenchmarkError | None = None

    async def measure(self, *, url: str, secret: str, load: Load) -> Measured:
        self.asked.append(url)
        await self.go.wait()
        if self.problem is not None:
            raise self.problem
        return MEASURED


class Tried:
    """A book, and who was told that there is news."""

    def __init__(self) -> None:
        self.clock, self.bencher, self.news = Clock(), Bencher(), asyncio.Queue[Key]()
        self.late = 0.0
        self.book = BenchmarkBook(
            bencher=self.bencher,
            clock=self.clock,
            load=SMALL,
            changed=self.news.put_nowait,
            late_seconds=lambda: self.late,
        )

    def ask(self, *revisions: str, known: tuple[str, ...] = (), uid: str = "u") -> list[str]:
        return sorted(self.results(*revisions, known=known, uid=uid))

    def results(self, *revisions: str, known: tuple[str, ...] = (), uid: str = "u") -> dict[str, BenchmarkStatus]:
        return self.book.ask(
            KEY,
            uid=uid,
            candidates=[Candidate(revision=name, url=f"http://{name}") for name in revisions],
            known=known,
            secret="s3cret",
        )


@pytest.fixture
async def tried() -> AsyncIterator[Tried]:
    found = Tried()
    task = asyncio.create_task(found.book.run())
    yield found
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def heard(tried: Tried) -> None:
    assert await asyncio.wait_for(tried.news.get(), 20) == KEY


async def test_nobody_is_tried_by_an_operator_that_is_behind(tried: Tried) -> None:
    tried.late = BEHIND_SECONDS + 1
    tried.bencher.go.set()
    tried.ask("new")
    for late in (BEHIND_SECONDS + 1, 0.0):
        tried.late = late
        for _ in range(3):
            await asyncio.sleep(LOOK_SECONDS)
        assert tried.bencher.asked == [], "late, and for a while after that: the last of many still come up"
    tried.clock.boot += CALM_SECONDS
    await heard(tried)
    assert tried.bencher.asked == ["http://new"]


async def test_nobody_waits_for_ever_to_be_tried(tried: Tried) -> None:
    tried.late = BEHIND_SECONDS + 1
    tried.bencher.go.set()
    tried.ask("new")
    await asyncio.sleep(LOOK_SECONDS)
    tried.clock.boot += MOST_BEHIND_SECONDS
    await heard(tried)


async def test_a_revision_is_tried_once_and_never_holds_up_a_round(tried: Tried) -> None:
    assert tried.ask("new") == []
    assert tried.ask("new") == []
    tried.bencher.go.set()
    await heard(tried)
    assert tried.ask("new", "new") == ["new"]
    assert tried.ask("new", known=("new",)) == []
    assert tried.bencher.asked == ["http://new"]


async def test_one_whose_result_the_status_forgets_is_tried_anew(tried: Tried) -> None:
    tried.bencher.go.set()
    tried.ask("new")
    await heard(tried)
    assert tried.ask("new") == ["new"]
    assert tried.ask("new", known=("new",)) == []
    assert tried.ask("new") == [], "as when a person asks for a new try"
    await heard(tried)
    assert tried.ask("new") == ["new"]
    assert tried.bencher.asked == ["http://new"] * 2


async def test_each_revision_and_each_deployment_is_tried_by_itself(tried: Tried) -> None:
    tried.bencher.go.set()
    tried.ask("old", "new")
    tried.ask("new", uid="another of the same name")
    for _ in range(3):
        await heard(tried)
    assert tried.ask("old", "new") == ["new", "old"]
    assert sorted(tried.bencher.asked) == ["http://new", "http://new", "http://old"]


async def test_one_that_cannot_be_measured_is_tried_a_few_times_and_then_has_failed(tried: Tried) -> None:
    tried.bencher.go.set()
    tried.bencher.problem = BenchmarkError("no token for\nthe key s3cret" + "." * 1000)
    for number in range(TRIES):
        assert tried.ask("new") == []
        await heard(tried)
        assert tried.ask("new") == (["new"] if number + 1 == TRIES else [])
        assert len(tried.bencher.asked) == number + 1, "not again at once"
        tried.clock.boot += RETRY_SECONDS
    found = tried.results("new")["new"]
    assert len(tried.bencher.asked) == TRIES
    assert found.failed
    assert (found.requests, found.concurrency) == (0, SMALL.concurrency)
    words = "no token for the key (secret)"
    assert found.error == words + "." * (MOST_WORDS - len(words)), "bounded, on one line, and without the secret"


async def test_one_that_failed_is_tried_anew_once_the_status_forgets_it(tried: Tried) -> None:
    tried.bencher.go.set()
    tried.bencher.problem = BenchmarkError("no token")
    for _ in range(TRIES):
        tried.ask("new")
        await heard(tried)
        tried.clock.boot += RETRY_SECONDS
    assert tried.ask("new", known=("new",)) == []
    tried.bencher.problem = None
    assert tried.ask("new") == [], "as when a person asks for a new try"
    await heard(tried)
    assert not tried.results("new")["new"].failed


async def test_it_can_be_switched_off() -> None:
    book = BenchmarkBook(bencher=Bencher(), clock=Clock(), load=None, changed=lambda _: None)
    candidates = [Candidate(revision="new", url="http://new")]
    assert book.ask(KEY, uid="u", candidates=candidates, known=(), secret="s") == {}
    assert not book.tries
    await asyncio.wait_for(book.run(), 20)


async def test_a_few_are_tried_at_once(tried: Tried) -> None:
    names = [f"r{number}" for number in range(AT_ONCE + 3)]
    tried.ask(*names)
    for _ in range(10 * len(names)):
        await asyncio.sleep(0)
    assert len(tried.bencher.asked) == AT_ONCE
    tried.bencher.go.set()
    for _ in names:
        await heard(tried)
    assert tried.ask(*names) == names


def test_the_summary_is_by_the_nearest_rank() -> None:
    status = summary(MEASURED, load=SMALL, at=1_800_000_000.0)
    assert (status.ttft_p50_ms, status.ttft_p95_ms, status.tokens_per_second) == (20, 40, 60)
    assert (status.concurrency, status.requests, status.output_tokens) == (2, 4, 120)
    assert status.at == "2027-01-15T08:00:00Z"


@contextlib.asynccontextmanager
async def triton(handler: Handler, path: str) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", path, handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


GENERATE = f"/v2/models/{contract.MODEL_NAME}/generate_stream"


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


async def stream(request: web.Request, *events: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for item in events:
        await response.write(item)
    return response


async def measured(handler: Handler, load: Load = SMALL) -> Measured:
    async with triton(handler, GENERATE) as url, aiohttp.ClientSession() as session:
        return await TritonBencher(session).measure(url=url, secret="the secret", load=load)


async def test_the_load_is_sent_as_it_was_asked_for() -> None:
    running, most, bodies = 0, 0, []

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        assert request.headers[contract.SECRET_HEADER] == "the secret"
        bodies.append(await request.json())
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return await stream(request, event(num_output_tokens=1), event(num_output_tokens=2))

    found = await measured(answer)
    assert (len(found.ttft_ms), found.output_tokens) == (6, 18)
    assert most == SMALL.concurrency
    assert all(body[contract.MAX_TOKENS] == 3 and body[contract.STREAMING] for body in bodies)
    assert found.seconds * 1000 >= max(found.ttft_ms)


async def test_parts_without_counts_are_a_token_each() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await stream(request, event(text_output="a"), event(text_output=""), event(text_output="b"))

    assert (await measured(answer)).output_tokens == 12


@pytest.mark.parametrize(
    ("status", "events", "words"),
    [
        (503, [], "HTTP 503"),
        (200, [event(error="Stub process is unhealthy")], "with an error"),
        (200, [b"data: nonsense\n\n"], "broke off"),
        (200, [event(num_output_tokens=0)], "without a token"),
        (200, [event(num_output_tokens="many")], "counted no tokens"),
        (200, [event(num_output_tokens=[3])], "counted no tokens"),
        (200, [event(num_output_tokens=-3)], "counted no tokens"),
        (200, [], "without a token"),
    ],
)
async def test_what_is_no_answer_is_an_error(status: int, events: list[bytes], words: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status) if status != 200 else await stream(request, *events)

    with pytest.raises(BenchmarkError, match=words):
        await measured(answer)


async def test_it_never_takes_longer_than_allowed() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(600)
        return web.Response()

    with pytest.raises(BenchmarkError, match="not complete"):
        await measured(answer, Load(seconds=0.2))


PAGE = """# HELP nv_trt_llm_kv_cache_block_metrics Key-value cache
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 3
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"} 512
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} %s
"""


@pytest.mark.parametrize(
    ("told", "used"), [("0.25", 0.25), ("0", 0.0), ("1.000000", 1.0), ("NaN", None), ("7", None), ("x", None)]
)
def test_the_used_part_of_the_cache_is_found_among_the_metrics(told: str, used: float | None) -> None:
    assert cache_used(PAGE % told) == used
    assert cache_used("") is None


async def test_a_metrics_page_is_read_within_bounds_or_not_at_all() -> None:
    async def page(request: web.Request) -> web.Response:
        if "full" in request.headers.get("host", ""):
            return web.Response(status=500)
        return web.Response(text=PAGE % "0.5" + "#" * 2 * MAX_METRICS)

    async with triton(page, "/metrics") as url, aiohttp.ClientSession() as session:
        assert await TritonMetrics(session).used(url=url) == 0.5
        assert await TritonMetrics(session).used(url=f"{url}/elsewhere") is None
    async with aiohttp.ClientSession() as session:
        assert await TritonMetrics(session).used(url="http://127.0.0.1:9") is None


async def test_an_answer_without_end_is_told_by_its_beginning() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=500, text="x" * 4 * MAX_ANSWER)

    path = f"/v2/models/{contract.MODEL_NAME}/generate"
    async with triton(answer, path) as url, aiohttp.ClientSession() as session:
        async with session.post(f"{url}{path}") as response:
            assert await bounded(response, most=MAX_ANSWER) == b"x" * MAX_ANSWER
        assert await TritonProber(session).generates(url=url, secret="s") == "HTTP 500: " + "x" * 200
    with pytest.raises(BenchmarkError, match=f"HTTP 500: {'x' * MAX_WORDS}$"):
        await measured(answer)
