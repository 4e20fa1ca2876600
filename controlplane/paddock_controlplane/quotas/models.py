"""Tables of projects, of the platform's limits, and of the accounts and leases."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import FetchedValue, ForeignKey, ForeignKeyConstraint, Index, Numeric, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class ProjectRow(Base):
    """A tenant's project."""

    __tablename__ = "projects"

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    limits: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class PlatformLimitsRow(Base):
    """What all tenants together may use: one row, `platform`."""

    __tablename__ = "platform_limits"

    id: Mapped[str] = mapped_column(primary_key=True)
    limits: Mapped[dict[str, Any]] = mapped_column(JSONB)


class AccountRow(Base):
    """One limit of one level, shared by all gateways."""

    __tablename__ = "quota_accounts"

    level: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    period: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    ceiling: Mapped[int]
    """The limit that the last ask named."""
    spent: Mapped[int]
    leased: Mapped[int]
    bucket: Mapped[Decimal] = mapped_column(Numeric)
    at: Mapped[int]
    used_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    summed: Mapped[bool] = mapped_column(server_default=FetchedValue())
    """False while what came before the account is not yet in `spent`."""

    __table_args__ = (Index("quota_accounts_budgets", "period", postgresql_where=text("period <> ''")),)


class LeaseRow(Base):
    """What one gateway instance holds of one account."""

    __tablename__ = "quota_leases"

    instance: Mapped[str] = mapped_column(primary_key=True)
    level: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    period: Mapped[str] = mapped_column(primary_key=True)
    leased: Mapped[int]
    orphaned: Mapped[int]

    __table_args__ = (
        Index("quota_leases_account", "level", "kind", "period"),
        ForeignKeyConstraint(
            ("level", "kind", "period"),
            ("quota_accounts.level", "quota_accounts.kind", "quota_accounts.period"),
            ondelete="CASCADE",
        ),
    )


class SessionRow(Base):
    """The process that a gateway instance runs as."""

    __tablename__ = "quota_sessions"

    instance: Mapped[str] = mapped_column(primary_key=True)
    session: Mapped[str]
    started_at: Mapped[float]
    number: Mapped[int]
    answer: Mapped[bytes]
    seen_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    orphaned_at: Mapped[datetime | None]
