"""Tables of what lies somewhere for a model, who needs it, and the orders to remove it."""

from datetime import datetime
from typing import Any

from sqlalchemy import FetchedValue, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class ReferenceRow(Base):
    """An entity needs a model's files."""

    __tablename__ = "artifact_references"

    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("artifact_references_model", "model"),)


class ArtifactRow(Base):
    """A digest that is known to lie on the volume (weights) or in the store (tokenizer) for a model."""

    __tablename__ = "artifacts"

    model: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=FetchedValue())

    __table_args__ = (Index("artifacts_digest", "digest"),)


class PurgeRow(Base):
    """An order to remove every copy of a model's files. `removed` and `kept` are lists of files, times Unix seconds."""

    __tablename__ = "purges"

    id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    state: Mapped[str]
    why: Mapped[str]
    cause: Mapped[str]
    license: Mapped[str]
    ordered_at: Mapped[float]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    removed: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    kept: Mapped[list[str]] = mapped_column(JSONB)
    bytes: Mapped[int]

    __table_args__ = (
        Index("purges_one_open", "model", unique=True, postgresql_where=text("state IN ('ordered', 'started')")),
    )
