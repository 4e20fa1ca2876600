"""Table of pods and how long they lived."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from paddock_controlplane.db import Base


class PodTimeRow(Base):
    """A pod of a deployment: what it asked for, when it began, until when it was seen. Times are Unix milliseconds."""

    __tablename__ = "pod_time"

    uid: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str | None]
    deployment: Mapped[str]
    gpus: Mapped[int]
    cpu_millis: Mapped[int]
    started_ms: Mapped[int]
    seen_ms: Mapped[int]

    __table_args__ = (Index("pod_time_seen", "seen_ms"),)
