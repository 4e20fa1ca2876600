"""Table of API keys."""

from datetime import datetime
from typing import Any

from sqlalchemy import FetchedValue, ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.credentials import Renewable
from paddock_controlplane.db import Base


class ApiKeyRow(Renewable, Base):
    """A tenant's API key; only the digest of its secret is here. A revoked one stays, for the ledger's sake."""

    __tablename__ = "api_keys"

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str]
    models: Mapped[list[str]] = mapped_column(JSONB)
    limits: Mapped[dict[str, Any]] = mapped_column(JSONB)
    project: Mapped[str | None]
    scopes: Mapped[list[str]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (
        Index("api_keys_tenant", "tenant"),
        ForeignKeyConstraint(("tenant", "project"), ("projects.tenant", "projects.name")),
    )
