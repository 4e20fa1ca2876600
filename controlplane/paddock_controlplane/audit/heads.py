"""Exporting signed heads of the audit chain to a file, outside the database: one JSON line each."""

import asyncio
import logging
from pathlib import Path

import msgspec
from paddock_core.audit.chain import Head, head_of

from paddock_controlplane.audit import service
from paddock_controlplane.db import EVERYTHING, Database

log = logging.getLogger(__name__)


async def export(*, database: Database, key: bytes, path: Path) -> Head:
    """Append the present head to the file.

    Raises:
        OSError: the file cannot be written.
    """
    seq, digest = await database.run(EVERYTHING, service.head)
    found = head_of(key=key, seq=seq, digest=digest)
    await asyncio.to_thread(_append, path, found)
    log.info("audit head exported", extra={"seq": seq, "digest": digest})
    return found


def _append(path: Path, head: Head) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(head) + b"\n")
