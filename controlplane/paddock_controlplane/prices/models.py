"""Table of the price book."""

from datetime import datetime
from typing import Any

from sqlalchemy import FetchedValue
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class PriceRow(Base):
    """One `paddock_core.usage.prices.Price`. Never changed: what replaces it is a later row."""

    __tablename__ = "prices"

    id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(server_default=FetchedValue(), unique=True)
    tenant: Mapped[str]
    deployment: Mapped[str]
    model: Mapped[str]
    currency: Mapped[str]
    effective_from: Mapped[float]
    prices: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    set_by: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
