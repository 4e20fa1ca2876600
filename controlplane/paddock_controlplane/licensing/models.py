"""Tables of license texts, offers, signatories' credentials, acceptances, statements, grants and the policy."""

from datetime import datetime
from typing import Any

from sqlalchemy import FetchedValue, ForeignKey, Index, text
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
    offered_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    expires_at: Mapped[datetime]


class CredentialRow(Base):
    """The single-use credential of an offer's signatory. Personal data: the audit chain holds a commitment to it."""

    __tablename__ = "signatory_credentials"

    id: Mapped[str] = mapped_column(primary_key=True)
    offer: Mapped[str] = mapped_column(ForeignKey("offers.id"))
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    secret_sha256: Mapped[str]
    name: Mapped[str]
    email: Mapped[str]
    delivered_by: Mapped[str]
    issued_by: Mapped[str]
    issued_token: Mapped[str] = mapped_column(server_default=FetchedValue())
    """Id of the admin token with which it was issued; empty for the platform's own token."""
    token_issued_by: Mapped[str] = mapped_column(server_default=FetchedValue())
    salt: Mapped[bytes] = mapped_column(server_default=FetchedValue())
    issued_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    revoked_at: Mapped[datetime | None]
    """Since when another link stands in its place."""
    opened_at: Mapped[datetime | None]
    """Since when a browser holds the session below and the token of the link opens nothing more."""
    session_sha256: Mapped[str | None]
    used_at: Mapped[datetime | None]

    __table_args__ = (
        Index("signatory_credentials_live", "offer", unique=True, postgresql_where=text("revoked_at IS NULL")),
    )


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
    credential: Mapped[str | None] = mapped_column(ForeignKey("signatory_credentials.id"))
    audit_seq: Mapped[int | None]
    audit_digest: Mapped[str | None]
    grace_until: Mapped[float | None]

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
    current: Mapped[int | None]
    affiliates: Mapped[list[str]] = mapped_column(JSONB)
    corrects: Mapped[str | None] = mapped_column(ForeignKey("statements.id"))
    reason: Mapped[str | None]
    stated_at: Mapped[float | None]

    __table_args__ = (Index("statements_entity", "entity", "license"),)


class GrantRow(Base):
    """A vendor's grant to an entity above a license's threshold."""

    __tablename__ = "grants"

    id: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    affiliates: Mapped[list[str]] = mapped_column(JSONB)
    licenses: Mapped[list[str]] = mapped_column(JSONB)
    models: Mapped[list[str]] = mapped_column(JSONB)
    valid_from: Mapped[float]
    valid_to: Mapped[float]
    grantor: Mapped[str]
    reference: Mapped[str]
    document_sha256: Mapped[str]
    assurance: Mapped[str]
    state: Mapped[str]
    recorded_by: Mapped[str]
    at: Mapped[float]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[str | None]
    reviews: Mapped[int]

    __table_args__ = (Index("grants_entity", "entity"),)


class ReviewRow(Base):
    """A person who compared a grant with its document. Personal data: the audit chain holds a commitment to it."""

    __tablename__ = "grant_reviews"

    grant: Mapped[str] = mapped_column(ForeignKey("grants.id"), primary_key=True)
    reviewer: Mapped[str] = mapped_column(primary_key=True)
    """Id of the reviewer's credential; of reviews from before there were any, a salted digest."""
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    name: Mapped[str]
    email: Mapped[str]
    salt: Mapped[bytes]
    at: Mapped[float]


class LicensePolicyRow(Base):
    """What the platform decides where the licenses leave room; no row means the words of the licenses."""

    __tablename__ = "license_policy"

    id: Mapped[str] = mapped_column(primary_key=True)
    threshold: Mapped[str]
    consumers: Mapped[str]
    grace_days: Mapped[float]
    admission: Mapped[str] = mapped_column(server_default=FetchedValue())
