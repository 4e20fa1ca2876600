"""The deep probe: a pod is ready when it has generated a token, not when a port answers."""

import json

import aiohttp
from paddock_core.serving import contract

TIMEOUT_SECONDS = 20.0
PROMPT = "Hello"


class TritonProber:
    """The port `Prober`, over Triton's HTTP generate endpoint."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def generates(self, *, url: str, secret: str) -> str | None:
        body = {contract.TEXT_INPUT: PROMPT, contract.MAX_TOKENS: 1, contract.STREAMING: False}
        target = f"{url}/v2/models/{contract.MODEL_NAME}/generate"
        try:
            async with self._session.post(
                target,
                json=body,
                # An idle connection would hold up a Triton that stops.
                headers={contract.SECRET_HEADER: secret, "Connection": "close"},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            ) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"no answer from {url}: {error!r}"
        return _verdict(response.status, text)


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
    return None if tokens and int(tokens) >= 1 else f"no token was generated: {text[:200]}"
