"""What the operator measures, on the real server and model: the benchmark of a copy, and the use of its cache."""

import asyncio
import threading
import time
from typing import Any

import aiohttp
from paddock_core.serving import contract
from paddock_operator.adapters.benchmark import TritonBencher
from paddock_operator.adapters.triton import TritonMetrics
from paddock_operator.benchmarking import summary
from paddock_operator.ports import Load

PATIENCE_SECONDS = 240.0
SECRET = "a secret of thirty-two characters"


def test_a_copy_is_measured_by_real_answers(triton: Any) -> None:
    load = Load(requests=5, concurrency=2, output_tokens=8, seconds=PATIENCE_SECONDS)

    async def measure() -> Any:
        async with aiohttp.ClientSession() as session:
            return await TritonBencher(session).measure(url=triton.base, secret=SECRET, load=load)

    measured = asyncio.run(measure())
    assert len(measured.ttft_ms) == 5
    assert measured.output_tokens == 5 * 8
    status = summary(measured, load=load, at=0)
    assert 0 < status.ttft_p50_ms <= status.ttft_p95_ms <= 1000 * measured.seconds
    assert status.tokens_per_second > 0


def cache_used(triton: Any) -> float:
    async def ask() -> float | None:
        async with aiohttp.ClientSession() as session:
            return await TritonMetrics(session).used(url=f"http://{triton.address}:{contract.METRICS_PORT}")

    used = asyncio.run(ask())
    assert used is not None
    return used


def until(triton: Any, *, above: bool) -> float:
    """The use once it is, or no longer is, above nothing."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while ((used := cache_used(triton)) > 0) is not above:
        assert time.monotonic() < deadline, f"the used part stayed at {used}"
        time.sleep(0.05)
    return used


def test_the_used_part_of_the_cache_follows_what_runs(triton: Any) -> None:
    prompt = "one two three four five six seven eight nine ten " * 40
    stop = threading.Event()
    # What an earlier test asked may still be counted for a moment.
    until(triton, above=False)

    def ask() -> None:
        with triton.streaming(id="long", text_input=prompt, **{contract.MAX_TOKENS: 500}) as events:
            for _ in events:
                if stop.is_set():
                    break

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        # 400 tokens of prompt in a cache for 4 sequences of 1,024.
        assert 0.09 < until(triton, above=True) < 0.3
    finally:
        stop.set()
        thread.join()
    assert until(triton, above=False) == 0
