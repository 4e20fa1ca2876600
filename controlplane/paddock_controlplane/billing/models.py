"""Table of the statements that were issued."""

from datetime import datetime

from sqlalchemy import FetchedValue, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class StatementRow(Base):
    """One signed statement. `document` is the very text that was signed."""

    __tablename__ = "usage_statements"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    month: Mapped[str]
    until_arrival: Mapped[int]
    document: Mapped[str]
    digest: Mapped[str]
    signature: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (UniqueConstraint("tenant", "month"),)
