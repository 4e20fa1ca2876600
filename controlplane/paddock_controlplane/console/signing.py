"""The page on which a signatory reads what will be agreed, answers, signs and gets a receipt."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from paddock_core.keys import SIGNATORY, ParsedKey, parse_key
from starlette.responses import RedirectResponse

from paddock_controlplane.call import State
from paddock_controlplane.console import form as forms
from paddock_controlplane.console.pages import page
from paddock_controlplane.console.public import PageRoute, problem_page
from paddock_controlplane.console.session import (
    Guesses,
    NoSession,
    Session,
    check_form,
    drop_cookie,
    own_form,
    session_of,
    set_cookie,
)
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.licensing import acceptances, links, offers, receipts
from paddock_controlplane.licensing.errors import AnswerMissing, LinkOpened, LinkUnknown, OfferUsed
from paddock_controlplane.problems import Problem

router = APIRouter(prefix="/console/sign", include_in_schema=False, route_class=PageRoute)
_HERE = "/console/sign"
_RECEIPT = f"{_HERE}/receipt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request of somebody who opened a link."""

    request: Request
    session: Session

    @property
    def state(self) -> State:
        state: State = self.request.app.state.parts
        return state

    async def offer(self) -> offers.OfferView:
        """What is to be signed."""
        return await self.state.database.run(
            self.session.principal.scope(),
            lambda database: offers.current(
                database, catalog=self.state.catalog, credential_id=self.session.principal.credential
            ),
        )


async def _visit(request: Request) -> Visit:
    return Visit(request=request, session=await session_of(request))


Visitor = Annotated[Visit, Depends(_visit)]


@router.get("")
async def read(visit: Visitor) -> Response:
    """The texts, the duties and the questions."""
    try:
        offer = await visit.offer()
    except OfferUsed:
        return RedirectResponse(_RECEIPT, status_code=303)
    values = {"name": visit.session.name, "email": visit.session.email}
    return _sign_page(visit, offer, values=values, wrong={})


@router.post("")
async def sign(request: Request) -> Response:
    """Sign. Whatever is wrong, nothing that was typed is lost."""
    own_form(request)
    form = forms.read_form(await request.body())
    try:
        visit = await _visit(request)
        check_form(visit.session, form.get("form_token"))
        return await _signed(visit, form)
    except OfferUsed:
        return RedirectResponse(_RECEIPT, status_code=303)
    except Problem as problem:
        typed = {name: form.get(name) for name in forms.FIELDS if form.get(name)}
        return problem_page(problem, typed=typed)


async def _signed(visit: Visit, form: forms.Form) -> Response:
    offer = await visit.offer()
    body, wrong = forms.read_answers(form, offer)
    if body is not None:
        answers = body.answers()
        try:
            await visit.state.database.run(
                visit.session.principal.scope(),
                lambda database: acceptances.accept(
                    database,
                    catalog=visit.state.catalog,
                    credential_id=visit.session.principal.credential,
                    offer_id=offer.offer,
                    answers=answers,
                ),
            )
        except AnswerMissing as missing:
            wrong = forms.by_field(
                (str(item["at"]), str(item["message"])) for item in missing.members.get("errors", ())
            )
        else:
            return RedirectResponse(_RECEIPT, status_code=303)
    return _sign_page(visit, offer, values=form.values, wrong=wrong, status=422)


@router.get("/receipt")
async def receipt(visit: Visitor) -> Response:
    """What was signed with this link."""
    found = await visit.state.database.run(
        visit.session.principal.scope(),
        lambda database: receipts.receipt_of_link(
            database, catalog=visit.state.catalog, credential_id=visit.session.principal.credential
        ),
    )
    return page("receipt.html", receipt=found, just_signed=True, form_token=visit.session.form_token)


@router.post("/open")
async def open_link(request: Request) -> Response:
    """Trade the token of a link for a session."""
    own_form(request)
    form = forms.read_form(await request.body())
    state: State = request.app.state.parts
    guesses: Guesses = request.app.state.guesses
    key = _key(form.get("token"))
    # By link as well: behind a proxy everybody has one address, and a guesser must not keep others out.
    guesser = (request.client.host if request.client else "", key.id)
    guesses.check(guesser)
    try:
        text = await state.database.run(EVERYTHING, lambda database: links.open_session(database, key=key))
    except LinkUnknown:
        guesses.failed(guesser)
        raise
    except LinkOpened as opened:
        return await _go_on(request, opened, credential=key.id)
    response = RedirectResponse(_HERE, status_code=303)
    set_cookie(response, request=request, text=text)
    return response


async def _go_on(request: Request, opened: LinkOpened, *, credential: str) -> Response:
    """The link was opened before: in this browser one goes on, in another one learns so."""
    try:
        session = await session_of(request)
    except NoSession:
        raise opened from None
    if session.principal.credential != credential:
        raise opened
    return RedirectResponse(_HERE, status_code=303)


@router.post("/close")
async def close(request: Request) -> Response:
    """End the session, for a browser that others use too."""
    own_form(request)
    visit = await _visit(request)
    check_form(visit.session, forms.read_form(await request.body()).get("form_token"))
    credential = visit.session.principal.credential
    await visit.state.database.run(
        visit.session.principal.scope(),
        lambda database: links.close_session(database, credential_id=credential),
    )
    response = page("closed.html")
    drop_cookie(response, request=request)
    return response


@router.get("/{token}")
async def begin(token: Annotated[str, Path(max_length=200)]) -> Response:
    """Where a link leads. Looking at it changes nothing: programs that check links in mail do so too."""
    _key(token)
    return page("begin.html", token=token)


def _key(token: str) -> ParsedKey:
    key = parse_key(token)
    if key is None or key.prefix != SIGNATORY:
        raise LinkUnknown("check the link for a missing or changed character, or ask for a new one")
    return key


def _sign_page(
    visit: Visit, offer: offers.OfferView, *, values: object, wrong: dict[str, str], status: int = 200
) -> Response:
    return page(
        "sign.html",
        status=status,
        offer=offer,
        values=values,
        wrong=wrong,
        users=forms.question_of(offer, "monthly_active_users"),
        promise=forms.question_of(offer, "flow_down"),
        issued_to=visit.session.name,
        form_token=visit.session.form_token,
    )
