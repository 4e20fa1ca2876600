"""Tables of license texts, offers, signatories' credentials, acceptances and statements."""

from datetime import datetime
from typing import Any

from sqlalchemy import FetchedValue, ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class TextRow(Base):
    """An imported license text, as its bytes read."""

    __tablename__ = "license_texts"

    license: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    raw: Mapped[str]
    canonical: Mapped[str]
    content: Mapped[str]
    imported_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class OfferRow(Base):
    """What was put before an entity, with the digests of the very texts."""

    __tablename__ = "offers"

    id: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    license: Mapped[str]
    role: Mapped[str]
    digests: Mapped[dict[str, Any]] = mapped_column(JSONB)
    signatory_name: Mapped[str]
    signatory_email: Mapped[str]
    delivered_by: Mapped[str]
    offered_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    expires_at: Mapped[datetime]


class CredentialRow(Base):
    """The single-use credential of an offer's signatory."""

    __tablename__ = "signatory_credentials"

    id: Mapped[str] = mapped_column(primary_key=True)
    offer: Mapped[str] = mapped_column(ForeignKey("offers.id"), unique=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    secret_sha256: Mapped[str]
    used_at: Mapped[datetime | None]


class AcceptanceRow(Base):
    """One entity's acceptance of one license in one role."""

    __tablename__ = "acceptances"

    id: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    license: Mapped[str]
    role: Mapped[str]
    offer: Mapped[str] = mapped_column(ForeignKey("offers.id"), unique=True)
    person: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    jurisdiction: Mapped[str]
    digests: Mapped[dict[str, Any]] = mapped_column(JSONB)
    canonical: Mapped[str]
    flow_down: Mapped[bool]
    state: Mapped[str]
    at: Mapped[float]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[str | None]

    __table_args__ = (Index("acceptances_entity", "entity", "license", "role"),)


class StatementRow(Base):
    """A signed statement of monthly active users."""

    __tablename__ = "statements"

    id: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    license: Mapped[str]
    acceptance: Mapped[str] = mapped_column(ForeignKey("acceptances.id"))
    band: Mapped[str]
    month: Mapped[str]
    method: Mapped[str]
    affiliates_included: Mapped[bool]
    value: Mapped[int | None]
    at: Mapped[float]

    __table_args__ = (Index("statements_entity", "entity", "license"),)
