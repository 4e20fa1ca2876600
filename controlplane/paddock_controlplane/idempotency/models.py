"""Table of the answers kept for repeated requests."""

from datetime import datetime

from sqlalchemy import FetchedValue, Index
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class IdempotencyRow(Base):
    """The answer to a POST that carried an Idempotency-Key. Sealed: it may hold a credential that is shown once."""

    __tablename__ = "idempotency_keys"

    principal: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    status: Mapped[int | None]
    answer: Mapped[bytes | None]
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("idempotency_keys_at", "at"),)
