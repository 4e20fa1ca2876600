"""What is asked of a Triton: a token, since a pod is ready when it has generated one and not when a port answers; and
the use of its key-value cache.
"""

import json
import re

import aiohttp
from paddock_core.serving import contract

from paddock_operator.errors import told

TIMEOUT_SECONDS = 20.0
PROMPT = "Hello"


HEADERS = {"Connection": "close"}
"""An idle connection would hold up a Triton that stops."""
METRICS_TIMEOUT_SECONDS = 5.0
MAX_METRICS = 1 << 20
MAX_ANSWER = 1 << 16
"""Bytes of an answer of one token; of one that is longer, the beginning is read."""
_CACHE_USED = re.compile(
    rf'^{contract.CACHE_METRIC}\{{[^}}]*{contract.CACHE_METRIC_LABEL}="{contract.CACHE_USED_PART}"[^}}]*\}}\s+(\S+)',
    re.MULTILINE,
)


async def bounded(response: aiohttp.ClientResponse, *, most: int) -> bytes:
    """The body, or its first bytes. Raises aiohttp.ClientError."""
    body = await response.content.read(most)
    while body and not response.content.at_eof() and len(body) < most:
        body += await response.content.read(most - len(body))
    return body


class TritonMetrics:
    """The port `CacheReader`, over Triton's metrics page."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def used(self, *, url: str) -> float | None:
        timeout = aiohttp.ClientTimeout(total=METRICS_TIMEOUT_SECONDS)
        try:
            async with self._session.get(
                f"{url}/metrics", headers={"Connection": "close"}, timeout=timeout
            ) as response:
                if response.status != 200:
                    return None
                page = await bounded(response, most=MAX_METRICS)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return cache_used(page.decode(errors="replace"))


def cache_used(page: str) -> float | None:
    """The used part of the cache as a metrics page tells it; None if it does not, or tells nonsense."""
    found = _CACHE_USED.search(page)
    try:
        value = float(found.group(1)) if found else -1.0
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


class TritonProber:
    """The port `Prober`, over Triton's HTTP generate endpoint."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def generates(self, *, url: str, secret: str) -> str | None:
        question = {contract.TEXT_INPUT: PROMPT, contract.MAX_TOKENS: 1, contract.STREAMING: False}
        target = f"{url}/v2/models/{contract.MODEL_NAME}/generate"
        try:
            async with self._session.post(
                target,
                json=question,
                headers={contract.SECRET_HEADER: secret, **HEADERS},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            ) as response:
                body = await bounded(response, most=MAX_ANSWER)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"no answer from {url}: {told(error)}"
        return _verdict(response.status, body.decode(errors="replace"))


def _verdict(status: int, text: str) -> str | None:
    """Triton may answer 200 with an error in the body, so the count of generated tokens is what convinces."""
    try:
        document = json.loads(text)
    except ValueError:
        return f"HTTP {status}: {text[:200]}"
    if not isinstance(document, dict) or "error" in document or status != 200:
        return f"HTTP {status}: {text[:200]}"
    tokens = document.get(contract.NUM_OUTPUT_TOKENS)
    if tokens is None and document.get(contract.TEXT_OUTPUT):
        return None
    # What a pod answers may be anything: a count is a whole number, and true is none.
    generated = type(tokens) is int and tokens >= 1
    return None if generated else f"no token was generated: {text[:200]}"
