"""Tables of active users: sketches by day and month, and the thresholds that entities came near to."""

from datetime import date, datetime

from sqlalchemy import FetchedValue, ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class UsersRow(Base):
    """Who of a tenant's end users used a product in a time, as an encoded sketch."""

    __abstract__ = True

    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    product: Mapped[str] = mapped_column(primary_key=True)
    sketch: Mapped[bytes]


class UsersDayRow(UsersRow):
    """A day in UTC."""

    __tablename__ = "active_users_day"

    day: Mapped[date] = mapped_column(primary_key=True)

    __table_args__ = (Index("active_users_day_day", "day"),)


class UsersMonthRow(UsersRow):
    """The union of the days of a month (`YYYY-MM`)."""

    __tablename__ = "active_users_month"

    month: Mapped[str] = mapped_column(primary_key=True)


class MarkRow(Base):
    """An entity may have reached this share of a license's threshold in a month; the figures of that moment."""

    __tablename__ = "active_users_marks"

    month: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"), primary_key=True)
    license: Mapped[str] = mapped_column(primary_key=True)
    percent: Mapped[int] = mapped_column(Integer, primary_key=True)
    low: Mapped[int]
    high: Mapped[int]
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
