"""After a crash: every request that a journal began and never settled gets its one record.

The engine ends a request when its gateway's connection closes, and keeps the count for a while. So each request is
settled from that count where the engine can be asked in time, else from its last checkpoint.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
from paddock_core.serving import contract
from paddock_core.usage.journal_frames import Intent
from paddock_core.usage.record import UsageRecord
from paddock_core.usage.recovery import LeftOpen, OpenRequests
from paddock_core.usage.settlement import credible

from paddock_gateway.deployments import Routes
from paddock_gateway.engine import Engine
from paddock_gateway.errors import EngineError, EngineUnreachableError
from paddock_gateway.journal import Journal
from paddock_gateway.segments import payloads_in_order, segment_numbers

_log = logging.getLogger(__name__)
_ANSWER_SECONDS = 10.0
"""How long one endpoint may take: it waits for the end of a request that still runs."""
_RETRY_SECONDS = 0.5
_AT_ONCE = 16


def left_open(folder: Path) -> tuple[LeftOpen, ...]:
    """What the segments of a folder began and did not settle, oldest first."""
    requests = OpenRequests()
    requests.add(payloads_in_order(folder, segment_numbers(folder)))
    return requests.left_open()


class Reaper:
    """Asks engines for the counts of requests whose gateway died.

    `waiting` hears of each deployment how many more requests wait for that, or fewer: what knows a count must stay.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        routes: Routes,
        platform_key: bytes,
        patience: float,
        waiting: Callable[[str, int], None],
    ) -> None:
        self._waiting = waiting
        self._engine = engine
        self._routes = routes
        self._key = platform_key
        self._patience = patience
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def settle(self, request: LeftOpen) -> UsageRecord:
        """The record of one request, within `patience` seconds once it has its turn."""
        tokens: int | None = None
        self._waiting(request.intent.deployment, 1)
        try:
            async with self._at_once, asyncio.timeout(self._patience):
                tokens = await self._final_tokens(request.intent)
        except TimeoutError:
            _log.warning("no engine could be asked for a count", extra={"usage_id": request.intent.usage_id})
        finally:
            self._waiting(request.intent.deployment, -1)
        return request.settle(final_tokens=tokens)

    async def _final_tokens(self, intent: Intent) -> int | None:
        """The engine's count; None once every copy has said that it does not know the request, also those that are
        being drained."""
        while True:
            deployment = self._routes.by_name.get(intent.deployment)
            urls = () if deployment is None else (*deployment.endpoints, *deployment.leaving)
            if deployment is not None and urls:
                secret = contract.deployment_secret(
                    platform_key=self._key, deployment_uid=deployment.uid, rotation=deployment.secret_rotation
                )
                asked = [self._ask(url, secret, intent.usage_id) for url in urls]
                answers = await asyncio.gather(*asked)
                known = [tokens for tokens, _ in answers if tokens is not None and self._believed(intent, tokens)]
                if known or all(reached for _, reached in answers):
                    return max(known, default=None)
            elif deployment is None and self._routes.synced:
                return None
            await asyncio.sleep(_RETRY_SECONDS)

    def _believed(self, intent: Intent, tokens: int) -> bool:
        if credible(intent, tokens):
            return True
        self._engine.doubted += 1
        details = {"usage_id": intent.usage_id, "deployment": intent.deployment}
        _log.warning("an engine reports a count that cannot be: the last checkpoint counts", extra=details)
        return False

    async def _ask(self, url: str, secret: str, usage_id: str) -> tuple[int | None, bool]:
        """(tokens, or None where it does not know the request; whether it could be asked and has answered)."""
        body = msgspec.json.encode({"id": usage_id, contract.STOP: True})
        try:
            connection = await self._engine.generate(endpoints=(url,), secret=secret, body=body, fresh=True)
        except EngineUnreachableError:
            return None, False
        tokens: int | None = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                while (chunks := await connection.read()) is not None:
                    counts = (chunk.num_output_tokens for chunk in chunks)
                    tokens = max((count for count in (*counts, tokens) if count is not None), default=None)
        except EngineError:
            connection.abort()
            return None, True
        except TimeoutError:
            connection.abort()
            return None, False
        return tokens, True


async def recover(*, requests: tuple[LeftOpen, ...], journal: Journal, reaper: Reaper) -> None:
    """Settle what earlier processes left open in this gateway's own folder.

    The settlements go into the new journal and are shipped like any other; what they rest on is kept until then. A
    crash in between changes nothing: the next start finds what is still open.
    """

    async def one(request: LeftOpen) -> None:
        await journal.settle(await reaper.settle(request))

    await asyncio.gather(*map(one, requests))
    if requests:
        _log.warning("requests of a process that died were settled", extra={"requests": len(requests)})
