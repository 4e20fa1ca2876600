"""Texts, offers, acceptances and checks over HTTP."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from paddock_core.licensing.decide import decide
from paddock_core.licensing.types import Decision, Request, Role, Verb
from pydantic import Field, model_validator

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, CatalogId, Count, Country, Email, Id, Line, Text
from paddock_controlplane.licensing import acceptances, offers, texts
from paddock_controlplane.licensing.errors import SignatoryRequired
from paddock_controlplane.paging import After, Limit, Page, page

router = APIRouter(prefix="/v1", tags=["licensing"])

Platform = Annotated[Call, Depends(callers("platform"))]
PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]
Anybody = Annotated[Call, Depends(callers("platform", "tenant", "internal", "signatory", "decision"))]
AcceptableRole = Literal[Role.OPERATOR, Role.DEPLOYER, Role.CONSUMER]


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
    signatory: SignatoryBody
    delivered_by: Line = "not recorded"
    """How the signatory's token reaches that person: e-mail, in person, ..."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "OfferBody":
        if (self.license is None) == (self.model is None):
            raise ValueError("name either a license or a model")
        return self


class PersonBody(Body):
    name: Line
    title: Line
    email: Email
    authority: Line
    """By what authority the person binds the entity."""


class UsersBody(Body):
    """Monthly active users of all products of the entity and its affiliates."""

    band: Literal["le_700m", "gt_700m"]
    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
    """The month that the license names, YYYY-MM."""
    method: Line
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


class CheckBody(Body):
    """A question to the license decision. `at` is Unix time in seconds; now, where absent."""

    entity: Id
    role: Role
    verb: Verb
    model: CatalogId
    purpose: Line = "commercial"
    public_name: Line | None = None
    student: CatalogId | None = None
    """For `distill`: the model that the outputs are to improve."""
    at: Annotated[float, Field(ge=0, lt=1e11)] | None = None


@router.post("/license-texts", status_code=201, operation_id="importLicenseTexts", response_model=texts.Imported)
async def import_texts(call: Platform, body: TextsBody) -> Response:
    """Import the texts of a license. Only the words that the catalogue pins are taken."""
    contents = {role: text for role, text in (("agreement", body.agreement), ("aup", body.aup)) if text is not None}
    return await call.once(
        lambda session: texts.import_texts(
            session,
            catalog=call.state.catalog,
            license_id=body.license,
            contents=contents,
            actor=call.principal.name,
        )
    )


@router.post("/license-offers", status_code=201, operation_id="makeLicenseOffer", response_model=offers.NewOffer)
async def make_offer(call: PlatformOrTenant, body: OfferBody) -> Response:
    """Make an offer to an entity. The signatory's token is shown in this answer and never again."""
    wish = offers.Wish(
        entity=call.own_entity(body.entity),
        role=body.role,
        license=body.license,
        model=body.model,
        signatory_name=body.signatory.name,
        signatory_email=body.signatory.email,
        delivered_by=body.delivered_by,
        by_platform=call.principal.kind == "platform",
    )
    settings = call.state.settings
    return await call.once(
        lambda session: offers.make(
            session,
            catalog=call.state.catalog,
            wish=wish,
            actor=call.principal.name,
            seconds=settings.offer_seconds,
            public_url=settings.public_url,
        )
    )


@router.get("/license-offers/current", operation_id="readLicenseOffer", response_model=offers.OfferView)
async def read_offer(call: Anybody) -> Response:
    """What the signatory will agree to, texts included. Nobody else's token opens it."""
    _signatory_only(call)
    found = await call.run(
        lambda session: offers.current(session, catalog=call.state.catalog, credential_id=call.principal.credential)
    )
    return call.answer(found)


@router.post("/license-acceptances", status_code=201, operation_id="acceptLicense", response_model=acceptances.Receipt)
async def accept(call: Anybody, body: AcceptanceBody) -> Response:
    """Accept an offer, with the signatory's own token. Nobody else's token can."""
    _signatory_only(call)
    answers = acceptances.Answers(
        person=acceptances.Person(**body.person.model_dump()),
        jurisdiction=body.jurisdiction,
        users=acceptances.Users(**body.monthly_active_users.model_dump()) if body.monthly_active_users else None,
        flow_down=body.flow_down,
        agree=body.agree,
    )
    return await call.once(
        lambda session: acceptances.accept(
            session,
            catalog=call.state.catalog,
            credential_id=call.principal.credential,
            offer_id=body.offer_token,
            answers=answers,
        )
    )


@router.get("/license-acceptances", operation_id="listAcceptances", response_model=Page[acceptances.AcceptanceView])
async def list_acceptances(
    call: PlatformOrTenant,
    entity: Annotated[Id | None, Query()] = None,
    license_id: Annotated[CatalogId | None, Query(alias="license")] = None,
    after: After = "",
    limit: Limit = 100,
) -> Response:
    """Acceptances that the caller may see, ended ones too."""
    if entity is not None:
        call.own_entity(entity)
    found = await call.run(
        lambda session: acceptances.list_page(session, entity=entity, license_id=license_id, after=after, limit=limit)
    )
    return call.answer(page(found, limit=limit))


@router.post("/license-checks", operation_id="checkLicense", response_model=Decision)
async def check(call: PlatformOrTenant, body: CheckBody) -> Response:
    """The license decision on a question, as gateways and the operator make it."""
    question = Request(
        entity=call.own_entity(body.entity),
        role=body.role,
        verb=body.verb,
        model=body.model,
        at=time.time() if body.at is None else body.at,
        purpose=body.purpose,
        public_name=body.public_name,
        student=body.student,
    )
    view = await call.state.view.get()
    return call.answer(decide(request=question, facts=view.facts(), catalog=call.state.catalog))


def _signatory_only(call: Call) -> None:
    if call.principal.kind != "signatory":
        raise SignatoryRequired(
            "only the entity's signatory accepts: use the token that `paddock license offer` issued to that person"
        )
