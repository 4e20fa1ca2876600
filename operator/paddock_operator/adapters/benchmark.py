"""A small load on one Triton, and how it bore it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from paddock_core.serving import contract

from paddock_operator.adapters.triton import bounded
from paddock_operator.errors import BenchmarkError, told
from paddock_operator.ports import Load, Measured

PROMPT = "Write a list of a hundred things that one can see from the window of a train, each with a short remark:"


MAX_WORDS = 200
"""Bytes of what a copy says that go into an error."""


class TritonBencher:
    """The port `Bencher`, over Triton's streaming generate endpoint."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def measure(self, *, url: str, secret: str, load: Load) -> Measured:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(load.seconds):
                answers = await self._all(url=url, secret=secret, load=load)
        except TimeoutError as error:
            raise BenchmarkError(f"{load.requests} answers were not complete in {load.seconds:.0f} s") from error
        return Measured(
            ttft_ms=tuple(1000 * first for first, _ in answers),
            output_tokens=sum(tokens for _, tokens in answers),
            seconds=time.monotonic() - begun,
        )

    async def _all(self, *, url: str, secret: str, load: Load) -> list[tuple[float, int]]:
        """All answers; the first that goes wrong ends the others."""
        turns = asyncio.Semaphore(load.concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                ask = [
                    self._one(url=url, secret=secret, most=load.output_tokens, turns=turns)
                    for _ in range(load.requests)
                ]
                tasks = [group.create_task(one) for one in ask]
        except* BenchmarkError as errors:
            problem = errors.exceptions[0]
            raise BenchmarkError(str(problem)) from problem
        return [task.result() for task in tasks]

    async def _one(self, *, url: str, secret: str, most: int, turns: asyncio.Semaphore) -> tuple[float, int]:
        """Seconds to the first token, and how many came."""
        async with turns:
            begun = time.monotonic()
            first, tokens = None, 0
            async for part in self._stream(url=url, secret=secret, most=most):
                tokens += _count(url, part)
                if first is None and tokens:
                    first = time.monotonic() - begun
        if first is None:
            raise BenchmarkError(f"{url} ended an answer without a token")
        return first, tokens

    async def _stream(self, *, url: str, secret: str, most: int) -> AsyncIterator[dict[str, Any]]:
        body = {
            contract.TEXT_INPUT: PROMPT,
            contract.MAX_TOKENS: most,
            contract.TEMPERATURE: 0.0,
            contract.STREAMING: True,
        }
        target = f"{url}/v2/models/{contract.MODEL_NAME}/generate_stream"
        headers = {contract.SECRET_HEADER: secret, "Connection": "close"}
        try:
            # The load's own limit ends it; so does the session's, should it be shorter.
            async with self._session.post(
                target, json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=None)
            ) as response:
                if response.status != 200:
                    words = (await bounded(response, most=MAX_WORDS)).decode(errors="replace")
                    raise BenchmarkError(f"{url} answered HTTP {response.status}: {words}")
                async for line in response.content:
                    if line.startswith(b"data:"):
                        yield _part(url, line[5:])
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise BenchmarkError(f"{url} broke off an answer: {told(error)}") from error


def _part(url: str, data: bytes) -> dict[str, Any]:
    """One event. Triton may answer 200 and tell an error in the stream."""
    document = json.loads(data)
    if not isinstance(document, dict) or "error" in document:
        raise BenchmarkError(f"{url} answered with an error: {data[:200].decode(errors='replace')}")
    return document


def _count(url: str, part: dict[str, Any]) -> int:
    """Tokens of one part; a repository that does not count them sends a token a part."""
    counted = part.get(contract.NUM_OUTPUT_TOKENS)
    if counted is None:
        return int(bool(part.get(contract.TEXT_OUTPUT)))
    if type(counted) is not int or counted < 0:
        raise BenchmarkError(f"{url} counted no tokens: {str(counted)[:MAX_WORDS]}")
    return counted
