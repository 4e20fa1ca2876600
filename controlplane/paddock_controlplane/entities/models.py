"""Tables of legal entities, their affiliates, and the people who acted for them."""

from datetime import datetime

from sqlalchemy import FetchedValue, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from paddock_controlplane.db import Base


class AffiliationRow(Base):
    """A legal person that the entity declares as affiliated; it need not be registered here."""

    __tablename__ = "affiliations"

    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"), primary_key=True)
    affiliate: Mapped[str] = mapped_column(primary_key=True)


class EntityRow(Base):
    """A legal person."""

    __tablename__ = "entities"

    id: Mapped[str] = mapped_column(primary_key=True)
    legal_name: Mapped[str]
    principal_place_of_business: Mapped[str]
    receives_integrated_product: Mapped[bool]
    is_operator: Mapped[bool]
    domicile: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    affiliates: Mapped[list[AffiliationRow]] = relationship(lazy="selectin", order_by=AffiliationRow.affiliate)

    __table_args__ = (Index("entities_one_operator", "is_operator", unique=True, postgresql_where=text("is_operator")),)


class PersonRow(Base):
    """A person who signed. The only table with personal data that must outlive an offer; its rows can be erased."""

    __tablename__ = "people"

    id: Mapped[str] = mapped_column(primary_key=True)
    entity: Mapped[str] = mapped_column(ForeignKey("entities.id"))
    name: Mapped[str]
    title: Mapped[str]
    email: Mapped[str]
    authority: Mapped[str]
    salt: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
