"""Published artifacts in a folder, each under its SHA-256: written beside and renamed, so never seen half."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from anyio import to_thread

from paddock_controlplane.artifacts.errors import ArtifactUnknown, DigestMismatch
from paddock_controlplane.problems import TooLarge

MOST_BYTES = 64 * 2**20


class ArtifactStore:
    """The folder of artifacts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def receive(self, *, digest: str, content: AsyncIterator[bytes]) -> bytes:
        """Read a content whose SHA-256 in hex is `digest`.

        Raises:
            DigestMismatch: its digest is another one.
            TooLarge: it has more than `MOST_BYTES` bytes.
        """
        data = bytearray()
        async for piece in content:
            data += piece
            if len(data) > MOST_BYTES:
                raise TooLarge(f"an artifact has at most {MOST_BYTES} bytes")
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise DigestMismatch(f"the content's digest is sha256:{found}: send the bytes again")
        return bytes(data)

    async def put(self, *, digest: str, data: bytes) -> None:
        """Store what was received; nothing happens if it is there."""
        await to_thread.run_sync(self._write, digest, data)

    async def remove(self, digest: str) -> int:
        """Remove a content and answer its size in bytes, 0 where it is gone already."""
        return await to_thread.run_sync(self._unlink, digest)

    async def get(self, digest: str) -> bytes:
        """The content with this digest.

        Raises:
            ArtifactUnknown: it was not published.
        """
        try:
            return await to_thread.run_sync((self._folder / digest).read_bytes)
        except FileNotFoundError as error:
            raise ArtifactUnknown(f"no artifact sha256:{digest}: prepare the model's weights first") from error

    def _unlink(self, digest: str) -> int:
        path = self._folder / digest
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size

    def _write(self, digest: str, data: bytes) -> None:
        target = self._folder / digest
        if target.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".incoming-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
