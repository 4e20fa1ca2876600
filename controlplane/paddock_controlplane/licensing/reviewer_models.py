"""Table of the people who review grants."""

from datetime import datetime

from sqlalchemy import FetchedValue, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class ReviewerRow(Base):
    """A person who may review grants, and the digest of that person's own token. The row can be erased."""

    __tablename__ = "reviewers"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    delivered_by: Mapped[str]
    secret_sha256: Mapped[str]
    salt: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        Index("reviewers_one_address", text("lower(email)"), unique=True, postgresql_where=text("ended_at IS NULL")),
    )
