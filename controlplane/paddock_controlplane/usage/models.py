"""Tables of the usage ledger and its roll-up."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import FetchedValue, Index, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class UsageRow(Base):
    """One `paddock_core.usage.record.UsageRecord`, column for field. Partitioned by the day in the id."""

    __tablename__ = "usage"

    usage_id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    key_id: Mapped[str]
    owner_tenant: Mapped[str]
    deployment: Mapped[str]
    model: Mapped[str]
    dialect: Mapped[str]
    operation: Mapped[str]
    stream: Mapped[bool]
    status: Mapped[str]
    finish_reason: Mapped[str | None]
    t_admit: Mapped[float]
    t_first_token: Mapped[float | None]
    t_end: Mapped[float]
    reserved_tokens: Mapped[int]
    input_tokens: Mapped[int]
    output_tokens_engine: Mapped[int | None]
    output_tokens_sent: Mapped[int]
    output_tokens: Mapped[int]
    billed_from: Mapped[str]
    usage_source: Mapped[str]
    acceptance_id: Mapped[str]
    end_user_hash: Mapped[str | None]
    gateway_instance: Mapped[str]
    journal_seq: Mapped[int]
    project: Mapped[str | None]
    end_user_group: Mapped[str | None]
    raw_usage: Mapped[str | None]
    cache_read_tokens: Mapped[int]
    cache_write_tokens: Mapped[int]
    reasoning_tokens: Mapped[int]
    price_id: Mapped[str | None]
    currency: Mapped[str | None]
    cost_nano: Mapped[int | None]
    corrects: Mapped[UUID | None]
    reason: Mapped[str | None]
    arrival: Mapped[int]
    ingested_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (
        Index("usage_tenant", "tenant", "usage_id"),
        Index("usage_arrival", "arrival"),
        Index("usage_corrects", "corrects", postgresql_where=text("corrects IS NOT NULL")),
        Index("usage_t_admit", "t_admit", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
        {"postgresql_partition_by": "RANGE (usage_id)"},
    )


class UsageHourRow(Base):
    """Sums over the rows of the ledger by the hour in which the request was admitted."""

    __tablename__ = "usage_hour"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    deployment: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    end_user_group: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    """Empty for rows without a price."""
    requests: Mapped[int]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    inexact_requests: Mapped[int]
    cache_read_tokens: Mapped[int]
    cache_write_tokens: Mapped[int]
    reasoning_tokens: Mapped[int]
    cost_nano: Mapped[Decimal]
    corrections: Mapped[int]
    """Rows that correct others; they are no requests."""


class EndUserDayRow(Base):
    """Sums over the rows of one end user by the day in which the request was admitted. The database adds to them
    itself, with the rows."""

    __tablename__ = "usage_end_user_day"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    end_user_hash: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    tokens: Mapped[int]
    cost_nano: Mapped[Decimal] = mapped_column(Numeric)

    __table_args__ = (
        Index("usage_end_user_day_day", "day", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
    )
