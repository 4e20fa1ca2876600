"""What API keys and admin tokens have in common: they end, and get a new secret with an overlap."""

from datetime import UTC, datetime

from paddock_core.keys import secret_digest
from sqlalchemy import FetchedValue
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.ids import renewed_credential


class Renewable:
    """Columns of a credential that is stored as a digest. Times with `until` and `expires` are Unix seconds."""

    id: Mapped[str] = mapped_column(primary_key=True)
    secret_sha256: Mapped[str]
    expires_at: Mapped[float | None]
    previous_sha256: Mapped[str] = mapped_column(server_default=FetchedValue())
    previous_until: Mapped[float] = mapped_column(server_default=FetchedValue())
    rotated_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    def lives(self, *, now: float) -> bool:
        """True while it was not revoked and has not expired; `now` is Unix seconds."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def renew(self, prefix: str, *, overlap_seconds: float, now: float) -> str:
        """A new secret, given as its holder keeps it. The one before opens for the overlap, any older one no longer."""
        text, parsed = renewed_credential(prefix, self.id)
        self.previous_sha256, self.previous_until = self.secret_sha256, now + overlap_seconds
        self.secret_sha256, self.rotated_at = secret_digest(parsed.secret), datetime.now(UTC)
        return text
