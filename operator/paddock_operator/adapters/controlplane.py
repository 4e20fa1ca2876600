"""The control plane's internal API, beside the policy."""

import httpx
import msgspec
from opentelemetry import propagate

from paddock_operator.errors import ControlPlaneError, DownloadDeniedError

TIMEOUT_SECONDS = 10.0


def connect(*, url: str, token: bytes) -> httpx.AsyncClient:
    """An HTTP client that carries the internal token."""
    headers = {"Authorization": f"Bearer {token.decode()}", "User-Agent": "paddock-operator"}
    hooks = {"request": [_trace]}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False, event_hooks=hooks)


async def _trace(request: httpx.Request) -> None:
    """What the control plane does for a round belongs to the round's trace."""
    propagate.inject(request.headers)


class HttpControlPlane:
    """The port `ControlPlane`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def download_token(self, *, model: str) -> str:
        try:
            response = await self._client.post(
                "/internal/v1/decision-tokens", json={"verb": "download", "model": model}
            )
        except httpx.HTTPError as error:
            raise ControlPlaneError(f"the control plane does not answer: {error!r}; it is asked again") from error
        if response.status_code == httpx.codes.FORBIDDEN:
            raise DownloadDeniedError(_why(response))
        if not response.is_success:
            raise ControlPlaneError(f"the control plane answered {response.status_code}: {response.text[:300]}")
        try:
            return str(msgspec.json.decode(response.content)["token"])
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise ControlPlaneError(f"the control plane answered no token: {response.text[:300]}") from error


def _why(response: httpx.Response) -> str:
    """The reason of a refusal: the answer is a problem document, or a license decision."""
    try:
        document = msgspec.json.decode(response.content)
        reason = document.get("code") or document.get("reason") or "Forbidden"
        return f"{reason}: {document.get('detail') or document.get('message') or 'no message'}"
    except (msgspec.DecodeError, AttributeError):
        return response.text[:300]
