"""Tables of the audit log, of the single row at which both logs end, and of denials that are counted for it."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class AuditRow(Base):
    """One entry. `detail` and `commitments` are kept as the very text over which the digest was computed."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    tenant: Mapped[str | None]
    entity: Mapped[str | None]
    detail: Mapped[str]
    commitments: Mapped[str]
    prev: Mapped[str]
    digest: Mapped[str]


class HeadRow(Base):
    """Where the policy log and the audit chain end. Locking its row is what puts mutations in line."""

    __tablename__ = "head"

    single: Mapped[bool] = mapped_column(primary_key=True)
    revision: Mapped[int]
    policy_floor: Mapped[int]
    audit_seq: Mapped[int]
    audit_digest: Mapped[str]


class DenialRow(Base):
    """Equal decisions that denied in one hour (hours since 1970). `told` is the number in the audit log so far."""

    __tablename__ = "denials"

    hour: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    verb: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    told: Mapped[int]
    first_at: Mapped[float]
    last_at: Mapped[float]


class SealRow(Base):
    """The salt with which a record's digest in the chain was made; the same for every entry about it."""

    __tablename__ = "seals"

    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    salt: Mapped[bytes]
