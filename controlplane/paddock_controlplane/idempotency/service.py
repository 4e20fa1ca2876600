"""Same Idempotency-Key and same request: same answer. Claim, work and answer are one transaction."""

import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.idempotency.models import IdempotencyRow
from paddock_controlplane.problems import Invalid

KEPT_HOURS = 24
LONGEST_KEY = 200
_NONCE_BYTES = 12


class KeyReused(Invalid):
    code, title = "IdempotencyKeyReused", "This Idempotency-Key belongs to another request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered."""

    status: int
    content: bytes


class Sealer:
    """Encrypts kept answers under a key derived from the platform's."""

    def __init__(self, platform_key: bytes) -> None:
        self._cipher = AESGCM(hmac.new(platform_key, b"idempotency", hashlib.sha256).digest())

    def seal(self, content: bytes) -> bytes:
        """Nonce and ciphertext."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, None)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed."""
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)


def request_digest(*, method: str, path: str, body: bytes) -> str:
    """What makes two requests the same."""
    return hashlib.sha256(f"{method} {path}\n".encode() + body).hexdigest()


async def claim(session: AsyncSession, *, sealer: Sealer, principal: str, key: str, request: str) -> Answer | None:
    """Take the key, or answer what it was used for. Waits while another transaction holds the same key.

    Raises:
        KeyReused: the key was used for a different request.
    """
    taken = await session.execute(
        insert(IdempotencyRow)
        .values(principal=principal, key=key, request=request)
        .on_conflict_do_nothing()
        .returning(IdempotencyRow.key)
    )
    if taken.scalar_one_or_none() is not None:
        return None
    row = await session.scalar(
        select(IdempotencyRow).where(IdempotencyRow.principal == principal, IdempotencyRow.key == key)
    )
    if row is None or row.request != request or row.status is None or row.answer is None:
        raise KeyReused("this Idempotency-Key was used for another request: choose a new one")
    return Answer(status=row.status, content=sealer.open(row.answer))


async def keep(session: AsyncSession, *, sealer: Sealer, principal: str, key: str, answer: Answer) -> None:
    """Remember the answer under the key that this transaction claimed."""
    await session.execute(
        update(IdempotencyRow)
        .where(IdempotencyRow.principal == principal, IdempotencyRow.key == key)
        .values(status=answer.status, answer=sealer.seal(answer.content))
    )


async def forget_old(session: AsyncSession) -> None:
    """Drop answers older than `KEPT_HOURS`."""
    oldest = datetime.now(UTC) - timedelta(hours=KEPT_HOURS)
    await session.execute(delete(IdempotencyRow).where(IdempotencyRow.at < oldest))
