"""Texts, offers, acceptances and checks over HTTP."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from paddock_core.licensing.decide import decide
from paddock_core.licensing.types import Decision, Request, Role, Verb
from pydantic import Field

from paddock_controlplane.audit import denials
from paddock_controlplane.call import Call, callers
from paddock_controlplane.console.pages import receipt_file, wants_html
from paddock_controlplane.fields import Body, CatalogId, Id, Line
from paddock_controlplane.licensing import acceptances, links, offers, receipts, staleness, texts
from paddock_controlplane.licensing.bodies import AcceptanceBody, LinkBody, OfferBody, TextsBody
from paddock_controlplane.licensing.errors import SignatoryRequired
from paddock_controlplane.models.service import licenses_of
from paddock_controlplane.paging import After, Limit, Page, page

router = APIRouter(prefix="/v1", tags=["licensing"])

Platform = Annotated[Call, Depends(callers("platform"))]
PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]
OfferId = Annotated[str, Path(pattern=r"^off-[a-z2-7]{12}$")]
AcceptanceId = Annotated[str, Path(pattern=r"^acc-[a-z2-7]{12}$")]
Anybody = Annotated[Call, Depends(callers("platform", "tenant", "internal", "signatory", "decision"))]


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
        lambda session: staleness.import_texts(
            session,
            catalog=call.state.catalog,
            license_id=body.license,
            contents=contents,
            actor=call.principal.name,
        )
    )


@router.post("/license-offers", status_code=201, operation_id="makeLicenseOffer", response_model=offers.NewOffer)
async def make_offer(call: PlatformOrTenant, body: OfferBody) -> Response:
    """Make an offer to an entity. The signatory's link is shown in this answer and never again.

    The platform gets no link for another entity: an administrator of one of its tenants issues it.
    """
    wish = offers.Wish(
        entity=call.own_entity(body.entity),
        role=body.role,
        license=body.license,
        model=body.model,
        model_licenses=await licenses_of(call.state, body.model),
        signatory=body.person(),
        issuer=call.principal.issuer(),
    )
    settings = call.state.settings
    return await call.once(
        lambda session: offers.make(
            session,
            catalog=call.state.catalog,
            wish=wish,
            times=offers.Times(link=settings.offer_seconds, wait=settings.offer_wait_seconds),
            public_url=settings.public_url,
        )
    )


@router.post(
    "/license-offers/{offer}/signatory-link",
    status_code=201,
    operation_id="issueSignatoryLink",
    response_model=links.SignatoryLink,
)
async def issue_link(call: PlatformOrTenant, offer: OfferId, body: LinkBody) -> Response:
    """Issue the signatory's link of an offer; one that was issued before opens nothing any more."""
    settings = call.state.settings
    return await call.once(
        lambda session: offers.issue_link(
            session,
            catalog=call.state.catalog,
            offer_id=offer,
            signatory=links.Signatory(name=body.name, email=body.email, delivered_by=body.delivered_by),
            issuer=call.principal.issuer(),
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
    return await call.once(
        lambda session: acceptances.accept(
            session,
            catalog=call.state.catalog,
            credential_id=call.principal.credential,
            offer_id=body.offer_token,
            answers=body.answers(),
        )
    )


@router.get(
    "/license-acceptances/{acceptance}/receipt",
    operation_id="readReceipt",
    response_model=receipts.ReceiptDocument,
    responses={200: {"content": {"text/html": {}}}},
)
async def read_receipt(
    call: PlatformOrTenant, acceptance: AcceptanceId, accept: Annotated[str, Header()] = "*/*"
) -> Response:
    """Everything that was agreed in an acceptance, with its proof: JSON, or a page for `Accept: text/html`."""
    found = await call.run(
        lambda session: receipts.receipt(session, catalog=call.state.catalog, acceptance_id=acceptance)
    )
    if wants_html(accept):
        return receipt_file(found)
    return call.answer(found)


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
    decision = decide(request=question, facts=view.facts(), catalog=call.state.catalog)
    if not decision.allowed and body.at is None:
        await denials.tell(call.state.database, question=question, decision=decision, source=call.principal.kind)
    return call.answer(decision)


def _signatory_only(call: Call) -> None:
    if call.principal.kind != "signatory":
        raise SignatoryRequired(
            "only the entity's signatory accepts: use the token that `paddock license offer` issued to that person"
        )
