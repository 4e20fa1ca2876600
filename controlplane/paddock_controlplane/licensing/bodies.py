"""What the routes of offers and acceptances take, over the API and from the page."""

from typing import Annotated, Literal

from paddock_core.licensing.types import Role
from pydantic import Field, model_validator

from paddock_controlplane.fields import Body, CatalogId, Count, Country, Email, Id, Line, Text
from paddock_controlplane.licensing.answers import Answers, Person, Users
from paddock_controlplane.licensing.links import Signatory

AcceptableRole = Literal[Role.OPERATOR, Role.DEPLOYER, Role.CONSUMER]
NOT_RECORDED = "not recorded"


class TextsBody(Body):
    """The texts of a license, as the licensor publishes them."""

    license: CatalogId
    agreement: Text
    aup: Text | None = None


class SignatoryBody(Body):
    name: Line
    email: Email


class OfferBody(Body):
    """An offer to make. Name the license, or a model."""

    entity: Id
    license: CatalogId | None = None
    model: CatalogId | None = None
    role: AcceptableRole
    signatory: SignatoryBody | None = None
    """Whom the link is issued to. The platform's offer to another entity has none: that entity names the person."""
    delivered_by: Line = NOT_RECORDED
    """How the signatory's link reaches that person: e-mail, in person, ... It is kept, until the person is erased."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "OfferBody":
        if (self.license is None) == (self.model is None):
            raise ValueError("name either a license or a model")
        return self

    def person(self) -> Signatory | None:
        """Whom the link is issued to."""
        if self.signatory is None:
            return None
        return Signatory(name=self.signatory.name, email=self.signatory.email, delivered_by=self.delivered_by)


class LinkBody(Body):
    """Whom a link is issued to, and how it reaches that person."""

    name: Line
    email: Email
    delivered_by: Line = NOT_RECORDED


class PersonBody(Body):
    name: Line
    title: Line
    email: Email
    """The address that the link was issued to."""
    authority: Line
    """By what authority the person binds the entity."""


class UsersBody(Body):
    """Monthly active users of all products of the entity and its affiliates."""

    band: Literal["le_700m", "gt_700m"]
    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
    """The month that the license names, YYYY-MM."""
    method: Line
    """How they were counted. It is kept for good: name no private person in it."""
    affiliates_included: bool
    value: Count | None = None
    current: Count | None = None
    """Users of the last full month; asked for where the platform is more careful than the licenses."""
    affiliates: Annotated[tuple[Line, ...], Field(max_length=1000)] = ()
    """Affiliates in the month that the license names, where they were others than now."""


class AcceptanceBody(Body):
    """The signatory's answers to the questions of the offer."""

    offer_token: Line | None = None
    """Id of the offer; checked where given."""
    person: PersonBody
    jurisdiction: Country
    monthly_active_users: UsersBody | None = None
    flow_down: bool | None = None
    agree: bool

    def answers(self) -> Answers:
        """The answers as they are judged and recorded."""
        return Answers(
            person=Person(**self.person.model_dump()),
            jurisdiction=self.jurisdiction,
            users=Users(**self.monthly_active_users.model_dump()) if self.monthly_active_users else None,
            flow_down=self.flow_down,
            agree=self.agree,
        )
