"""What the Jobs on the weights volume say to the control plane: may I, here is the tokenizer, this is removed."""

import hashlib
import time
from typing import Final

import httpx
from pydantic import SecretStr

from paddock_serving.errors import ControlPlaneUnreachableError, DownloadDeniedError

_ATTEMPTS: Final = 5


class ControlPlane:
    """The calls that a Job's token allows. An unreachable control plane means no."""

    def __init__(self, *, url: str, token: SecretStr, client: httpx.Client) -> None:
        self._base = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._client = client

    def ask_leave(self, *, model: str) -> None:
        """Ask whether the model may be downloaded now. Raises DownloadDeniedError if not."""
        self._send("POST", "/internal/v1/downloads", json={"model": model})

    def publish(self, document: bytes) -> str:
        """Publish a tokenizer document; gives its digest, `sha256:<hex>`."""
        digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
        self._send("PUT", f"/internal/v1/artifacts/{digest}", content=document)
        return digest

    def tell_removed(self, *, purge: str, removed: list[dict[str, object]], kept: list[str]) -> None:
        """Tell what a purge removed, and what stays for another model. Telling it twice does no harm."""
        self._send("POST", f"/internal/v1/purges/{purge}/removed", json={"removed": removed, "kept": kept})

    def _send(self, method: str, path: str, *, json: object = None, content: bytes | None = None) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = self._client.request(
                    method, self._base + path, headers=self._headers, json=json, content=content
                )
                break
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    message = f"the control plane at {self._base} does not answer: {error}; run the Job again"
                    raise ControlPlaneUnreachableError(message) from error
                time.sleep(2.0 ** (attempt - 1) / 2)
        if response.is_success:
            return
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise DownloadDeniedError(f"{method} {path}: {_reason(response)}")
        raise ControlPlaneUnreachableError(f"{method} {path} answered {response.status_code}: {_reason(response)}")


def _reason(response: httpx.Response) -> str:
    """The problem's code and detail, where the answer is a problem document or a decision."""
    try:
        document = response.json()
    except ValueError:
        return response.text[:300]
    if not isinstance(document, dict):
        return response.text[:300]
    code = document.get("code") or document.get("reason") or response.status_code
    return f"{code}: {document.get('detail') or document.get('message') or ''}"
