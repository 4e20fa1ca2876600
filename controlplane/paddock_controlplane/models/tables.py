"""Table of registered models."""

from datetime import datetime
from typing import Any

from sqlalchemy import FetchedValue, ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class RegisteredModelRow(Base):
    """A model that somebody made from another one."""

    __tablename__ = "registered_models"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str | None] = mapped_column(ForeignKey("tenants.id"))
    base: Mapped[str]
    kind: Mapped[str]
    public_name: Mapped[str | None]
    teachers: Mapped[list[str]] = mapped_column(JSONB)
    merged_with: Mapped[list[str]] = mapped_column(JSONB)
    published: Mapped[bool | None]
    precision: Mapped[str]
    weights: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    managed_by: Mapped[str]
    """api: registered over HTTP. cluster: by a LlamaModel object, which alone changes it."""
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("registered_models_owner", "owner"),)


class DeletedModelRow(Base):
    """What binds the bytes of models whose registration was deleted; one row an id and owner."""

    __tablename__ = "deleted_models"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)
    """Empty for the platform's own."""
    licenses: Mapped[list[str]] = mapped_column(JSONB)
    output_licenses: Mapped[list[str]] = mapped_column(JSONB)
    modality: Mapped[list[str]] = mapped_column(JSONB)
    weights: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    deleted_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
