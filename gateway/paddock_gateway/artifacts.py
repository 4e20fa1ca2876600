"""Tokenizer documents by digest: from memory, else from the disk cache, else from the control plane."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import aiohttp
from paddock_core.serving.tokenizer_document import MAX_BYTES, TokenizerDocumentError, decode_document

from paddock_gateway.deployments import Deployment
from paddock_gateway.errors import ArtifactError, told
from paddock_gateway.prompt import PromptModel, load_prompt_model

_log = logging.getLogger(__name__)
_PREFIX = "sha256:"
_DIGITS = 64


class PromptModels:
    """One `PromptModel` a digest, loaded once however many ask at the same time.

    `family` tells the family of a model, empty where it is not known.
    """

    def __init__(
        self, *, url: str, token: str, cache_dir: Path, family: Callable[[str], str], session: aiohttp.ClientSession
    ) -> None:
        self._url = url.rstrip("/") + "/internal/v1/artifacts/"
        self._headers = {"authorization": f"Bearer {token}"}
        self._cache = cache_dir / "artifacts"
        self._family = family
        self._session = session
        self._ready: dict[str, PromptModel] = {}
        self._loading: dict[str, asyncio.Task[PromptModel]] = {}
        self._unwanted: set[str] = set()

    def prefetch(self, deployment: Deployment) -> None:
        """Begin to load what a deployment's first request will need."""
        for target in deployment.targets:
            if target.tokenizer not in self._ready:
                self._start(target.tokenizer, target.model).add_done_callback(_report)

    def sweep(self, wanted: set[str]) -> None:
        """Forget what no deployment needs, in memory and on disk; what is needed by none now goes with the next sweep.

        A license that ended takes its deployments' routes away, and so these caches.
        """
        kept = {f"{_PREFIX}{path.name}" for path in self._cache.glob("*") if len(path.name) == _DIGITS}
        unwanted = (kept | set(self._ready)) - wanted - set(self._loading)
        for digest in unwanted & self._unwanted:
            self._ready.pop(digest, None)
            (self._cache / digest.removeprefix(_PREFIX)).unlink(missing_ok=True)
        self._unwanted = unwanted

    async def get(self, *, digest: str, model: str) -> PromptModel:
        """The model's tokenizer and template. Raises ArtifactError."""
        ready = self._ready.get(digest)
        if ready is not None:
            return ready
        return await asyncio.shield(self._start(digest, model))

    def _start(self, digest: str, model: str) -> asyncio.Task[PromptModel]:
        task = self._loading.get(digest)
        if task is None:
            task = self._loading[digest] = asyncio.create_task(self._load(digest, model))
            task.add_done_callback(lambda _: self._loading.pop(digest, None))
        return task

    async def _load(self, digest: str, model: str) -> PromptModel:
        name = digest.removeprefix(_PREFIX)
        if not digest.startswith(_PREFIX) or len(name) != 64 or not name.isalnum():
            raise ArtifactError(f"{digest!r} is not a digest of the form sha256:<hex>")
        data = await asyncio.to_thread(_cached, self._cache / name, name)
        if data is None:
            data = await self._fetch(digest, name)
            await asyncio.to_thread(_store, self._cache / name, data)
        try:
            document = decode_document(data)
        except TokenizerDocumentError as error:
            raise ArtifactError(str(error)) from error
        self._ready[digest] = await asyncio.to_thread(load_prompt_model, document, family=self._family(model))
        return self._ready[digest]

    async def _fetch(self, digest: str, name: str) -> bytes:
        try:
            timeout = aiohttp.ClientTimeout(total=60)
            async with self._session.get(self._url + digest, headers=self._headers, timeout=timeout) as response:
                if response.status != 200:
                    raise ArtifactError(f"the control plane answered {response.status} for artifact {digest}")
                if (response.content_length or 0) > MAX_BYTES:
                    raise ArtifactError(f"artifact {digest} is larger than {MAX_BYTES} bytes")
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ArtifactError(f"artifact {digest} could not be fetched: {told(error)}") from error
        if hashlib.sha256(data).hexdigest() != name:
            raise ArtifactError(f"artifact {digest} came with other bytes than its digest says")
        return data


def _cached(path: Path, name: str) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == name else None


def _store(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        _log.warning("an artifact could not be cached", extra={"error": str(error)})


def _report(task: asyncio.Task[PromptModel]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("a tokenizer could not be loaded ahead of its first request", extra={"error": str(error)})
