"""Table of the policy log."""

from datetime import datetime
from typing import Any

from sqlalchemy import FetchedValue, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class PolicyRow(Base):
    """One change of one policy object. A missing body (SQL NULL) says that the object is gone."""

    __tablename__ = "policy_log"

    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str]
    id: Mapped[str]
    body: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("policy_log_object", "kind", "id", revision.desc()),)
