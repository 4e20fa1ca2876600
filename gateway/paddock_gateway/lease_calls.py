"""Calls to the control plane, which keeps the accounts of limits."""

import logging

import aiohttp
import msgspec
from paddock_core.quotas.wire import LeaseAnswer, LeaseCall

_log = logging.getLogger(__name__)
CALL_SECONDS = 5.0
"""How long a call may take before this gateway counts as cut off; only then do requests stop waiting for it."""
_UNHEARD = frozenset({400, 409, 413, 422})
"""Answers after which the same call would only fail again."""


class AccountKeeper:
    """Where units are borrowed."""

    def __init__(self, *, url: str, token: str) -> None:
        self._url = url.rstrip("/") + "/internal/v1/leases"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    async def answer(self, session: aiohttp.ClientSession, call: LeaseCall) -> LeaseAnswer | None:
        """None says that our session is not known any more, or that the call itself was refused: both begin anew.

        Raises aiohttp.ClientError, TimeoutError, OSError or msgspec.DecodeError where no answer can be had.
        """
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        body = msgspec.json.encode(call)
        async with session.post(self._url, data=body, headers=self._headers, timeout=timeout) as response:
            content = await response.read()
        if response.status in _UNHEARD:
            _log.warning("a call for leases was refused", extra={"answer": f"{response.status}: {content[:300]!r}"})
            return None
        if response.status != 200:
            raise aiohttp.ClientError(f"{response.status}: {content[:300]!r}")
        answer = msgspec.json.decode(content, type=LeaseAnswer)
        if len(answer.grants) != len(call.asks):
            raise aiohttp.ClientError("the answer does not fit the call")
        return answer
