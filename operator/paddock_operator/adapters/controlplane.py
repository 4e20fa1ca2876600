"""The control plane's internal API, beside the policy."""

from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec
from opentelemetry import propagate
from paddock_core.audit.denials import Denial
from paddock_core.policy.documents import RegisteredModel
from paddock_core.usage.pod_time import Sighting

from paddock_operator.errors import ControlPlaneError, DownloadDeniedError, RegistrationRefusedError, told

TIMEOUT_SECONDS = 10.0


def connect(*, url: str, token: Callable[[], bytes]) -> httpx.AsyncClient:
    """An HTTP client that carries the internal token, as `token` gives it for each request."""

    async def show(request: httpx.Request) -> None:
        request.headers["Authorization"] = f"Bearer {token().decode()}"

    headers = {"User-Agent": "paddock-operator"}
    hooks = {"request": [_trace, show]}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False, event_hooks=hooks)


async def _trace(request: httpx.Request) -> None:
    """What the control plane does for a round belongs to the round's trace."""
    propagate.inject(request.headers)


class HttpControlPlane:
    """The ports `ControlPlane` and `ModelRegistry`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def download_token(self, *, model: str, entity: str) -> str:
        body = {"verb": "download", "model": model, "entity": entity}
        response = await self._ask("POST", "/internal/v1/decision-tokens", body)
        if response.status_code == httpx.codes.FORBIDDEN:
            raise DownloadDeniedError(_why(response))
        _need_success(response)
        return _token(response)

    async def refer(self, *, entity: str, model: str, weights: str, tokenizer: str) -> None:
        body = {"entity": entity, "model": model, "weights": f"sha256:{weights}", "tokenizer": tokenizer}
        _need_success(await self._ask("POST", "/internal/v1/artifact-references", body))

    async def start_purge(self, *, purge: str) -> str | None:
        response = await self._ask("POST", f"/internal/v1/purges/{purge}/start", None)
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
            return None
        _need_success(response)
        return _token(response)

    async def tell_denials(self, denials: Sequence[Denial]) -> None:
        body = {"source": "operator", "denials": msgspec.to_builtins(list(denials))}
        _need_success(await self._ask("POST", "/internal/v1/denials", body))

    async def tell_pod_times(self, sightings: Sequence[Sighting]) -> None:
        body = {"pods": msgspec.to_builtins(list(sightings))}
        _need_success(await self._ask("POST", "/internal/v1/pod-time", body))

    async def put_model(self, model: RegisteredModel) -> None:
        body = msgspec.to_builtins(model)
        weights, precision = body.pop("weights"), body.pop("precision")
        named = {name: value for name, value in body.items() if name != "id"}
        if weights is not None:
            told = {name: value for name, value in weights.items() if name not in _NOT_TOLD}
            named["weights"] = {"precision": precision, **told}
        _need_registered(await self._ask("PUT", f"/internal/v1/models/{model.id}", named))

    async def drop_model(self, model: str) -> None:
        _need_registered(await self._ask("DELETE", f"/internal/v1/models/{model}", None))

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            return await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ControlPlaneError(f"the control plane does not answer: {told(error)}; it is asked again") from error


_NOT_TOLD = ("basis", "compute_capability")
"""What a checkpoint of the catalogue says of itself, and a registration cannot."""
_REFUSALS = (httpx.codes.FORBIDDEN, httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY)


def _need_registered(response: httpx.Response) -> None:
    if response.status_code not in _REFUSALS:
        _need_success(response)
        return
    try:
        document = msgspec.json.decode(response.content)
        reason, message = document.get("reason") or document["code"], document["detail"]
    except (msgspec.DecodeError, AttributeError, KeyError):
        reason, message = "Refused", response.text[:300]
    raise RegistrationRefusedError(str(message), reason=str(reason))


def _token(response: httpx.Response) -> str:
    try:
        return str(msgspec.json.decode(response.content)["token"])
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ControlPlaneError(f"the control plane answered no token: {response.text[:300]}") from error


def _need_success(response: httpx.Response) -> None:
    if not response.is_success:
        raise ControlPlaneError(f"the control plane answered {response.status_code}: {response.text[:300]}")


def _why(response: httpx.Response) -> str:
    """The reason of a refusal: the answer is a problem document, or a license decision."""
    try:
        document = msgspec.json.decode(response.content)
        reason = document.get("code") or document.get("reason") or "Forbidden"
        return f"{reason}: {document.get('detail') or document.get('message') or 'no message'}"
    except (msgspec.DecodeError, AttributeError):
        return response.text[:300]
