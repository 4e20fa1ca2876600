"""Tables of tenants, their admins and their namespaces."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, FetchedValue, ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.credentials import Renewable
from paddock_controlplane.db import Base


class TenantRow(Base):
    """A customer of the platform; several may belong to one entity."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    priced: Mapped[bool]
    limits: Mapped[dict[str, Any]] = mapped_column(JSONB)
    end_user_limits: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=FetchedValue())
    end_user_groups: Mapped[list[str]] = mapped_column(JSONB, server_default=FetchedValue())
    gpus: Mapped[int | None] = mapped_column(BigInteger)
    """NULL: as many as the platform gives everybody."""
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("tenants_entity", "entity"),)


class TenantAdminRow(Renewable, Base):
    """A tenant's admin credential; only the digest of its secret is here."""

    __tablename__ = "tenant_admins"

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(server_default=FetchedValue())
    issued_by: Mapped[str] = mapped_column(server_default=FetchedValue())
    """`platform`, or `admin-token:ID` of the token with which it was issued."""
    signs: Mapped[bool] = mapped_column(server_default=FetchedValue())
    """It may issue links of the entity's signatories: it comes down from the entity's first token alone."""
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("tenant_admins_tenant", "tenant"),)


class NamespaceRow(Base):
    """A Kubernetes namespace that belongs to a tenant."""

    __tablename__ = "namespaces"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("namespaces_tenant", "tenant"),)
