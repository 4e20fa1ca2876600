"""The records beside acceptances over HTTP: their ends, statements, vendor grants, the platform's own policy."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from paddock_core.policy.documents import LicensePolicy
from pydantic import Field

from paddock_controlplane.artifacts.routes import known_models
from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, CatalogId, Count, Email, Id, Line
from paddock_controlplane.licensing import (
    acceptances,
    erasure,
    grants,
    platform,
    report,
    reviewers,
    staleness,
    statements,
    states,
)
from paddock_controlplane.paging import After, Limit, Page, page

router = APIRouter(prefix="/v1", tags=["licensing"])

Platform = Annotated[Call, Depends(callers("platform"))]
PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]
Reference = Annotated[str, Field(pattern=r"^[a-z]{3}-[a-z2-7]{12}$")]
Moment = Annotated[float, Field(ge=0, lt=1e11)]
EntityQuery = Annotated[Id | None, Query()]
LicenseQuery = Annotated[CatalogId | None, Query(alias="license")]


class ReasonBody(Body):
    reason: Line
    """It stands in the audit log for good: name no private person in it."""


class StatementBody(Body):
    """A correction of an entity's newest statement for a license, towards more users."""

    entity: Id
    license: CatalogId
    band: Literal["le_700m", "gt_700m"]
    method: Line
    reason: Line
    value: Count | None = None


class GrantBody(Body):
    """A vendor's grant. Times are Unix seconds, the end exclusive."""

    entity: Id
    affiliates: Annotated[tuple[Line, ...], Field(max_length=1000)] = ()
    licenses: Annotated[tuple[CatalogId, ...], Field(min_length=1, max_length=100)]
    """Each version is named: a grant never extends to a later one."""
    models: Annotated[tuple[CatalogId, ...], Field(max_length=1000)] = ()
    """Empty: every model of these licenses."""
    valid_from: Moment
    valid_to: Moment
    grantor: Line
    reference: Line
    document_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    assurance: Literal["document", "officer_attestation"]


class ReviewerBody(Body):
    """A person who is to compare grants with their documents."""

    name: Line
    email: Email
    delivered_by: Line = "not recorded"
    """How the token reaches that person: e-mail, in person, ..."""


class PersonErasureBody(Body):
    """Whose personal data goes."""

    email: Email
    entity: Id | None = None
    """Only what is kept for this entity; everything, where absent."""


class PolicyBody(Body):
    threshold: Literal["literal", "conservative"] = "literal"
    consumers: Literal["full", "terms_of_use"] = "full"
    grace_days: Annotated[float, Field(ge=0, le=365)] = 30.0
    admission: Literal["warn", "deny"] = "warn"
    """What the webhook does with what may still come true: store it with a warning, or not at all."""


async def _step(call: Call, acceptance: str, step: str, reason: str) -> Response:
    models = await known_models(call)
    return await call.once(
        lambda session: states.change(
            session, models=models, acceptance_id=acceptance, step=step, reason=reason, actor=call.principal.name
        ),
        status=200,
    )


@router.post(
    "/license-acceptances/{acceptance}/revoke",
    operation_id="revokeAcceptance",
    response_model=acceptances.AcceptanceView,
)
async def revoke(call: PlatformOrTenant, acceptance: Reference, body: ReasonBody) -> Response:
    """Revoke an acceptance: from then on everything that rests on it is denied."""
    return await _step(call, acceptance, "revoke", body.reason)


@router.post(
    "/license-acceptances/{acceptance}/suspend",
    operation_id="suspendAcceptance",
    response_model=acceptances.AcceptanceView,
)
async def suspend(call: Platform, acceptance: Reference, body: ReasonBody) -> Response:
    """Suspend an acceptance, until it is reinstated."""
    return await _step(call, acceptance, "suspend", body.reason)


@router.post(
    "/license-acceptances/{acceptance}/terminate",
    operation_id="terminateAcceptance",
    response_model=acceptances.AcceptanceView,
)
async def terminate(call: Platform, acceptance: Reference, body: ReasonBody) -> Response:
    """Record that the license of the entity ended: no role of it and no new acceptance is permitted any more."""
    return await _step(call, acceptance, "terminate", body.reason)


@router.post(
    "/license-acceptances/{acceptance}/reinstate",
    operation_id="reinstateAcceptance",
    response_model=acceptances.AcceptanceView,
)
async def reinstate(call: Platform, acceptance: Reference, body: ReasonBody) -> Response:
    """Lift a suspension; after a lifted termination the entity accepts again."""
    return await _step(call, acceptance, "reinstate", body.reason)


@router.post(
    "/license-statements", status_code=201, operation_id="correctStatement", response_model=statements.StatementView
)
async def correct(call: PlatformOrTenant, body: StatementBody) -> Response:
    """Correct a statement towards more users. Towards fewer, the signatory accepts again."""
    call.own_entity(body.entity)
    correction = statements.Correction(**body.model_dump())
    return await call.once(
        lambda session: statements.correct(
            session, catalog=call.state.catalog, correction=correction, actor=call.principal.name
        )
    )


@router.get("/license-statements", operation_id="listStatements", response_model=Page[statements.StatementView])
async def list_statements(
    call: PlatformOrTenant,
    entity: EntityQuery = None,
    license_id: LicenseQuery = None,
    after: After = "",
    limit: Limit = 100,
) -> Response:
    """Statements that the caller may see, corrected ones too."""
    if entity is not None:
        call.own_entity(entity)
    found = await call.run(
        lambda session: statements.list_page(session, entity=entity, license_id=license_id, after=after, limit=limit)
    )
    return call.answer(page(found, limit=limit))


@router.post("/license-grants", status_code=201, operation_id="addGrant", response_model=grants.GrantView)
async def add_grant(call: Platform, body: GrantBody) -> Response:
    """Record a vendor's grant; it permits nothing before two different people reviewed it."""
    terms = grants.Terms(**body.model_dump())
    return await call.once(
        lambda session: grants.add(session, catalog=call.state.catalog, terms=terms, actor=call.principal.name)
    )


@router.get("/license-grants", operation_id="listGrants", response_model=Page[grants.GrantView])
async def list_grants(
    call: Annotated[Call, Depends(callers("platform", "tenant", "reviewer"))],
    entity: EntityQuery = None,
    license_id: LicenseQuery = None,
    after: After = "",
    limit: Limit = 100,
) -> Response:
    """Grants that the caller may see, ended ones too. An affiliate that a grant names sees that it is covered."""
    if entity is not None:
        call.own_entity(entity)
    viewer = call.principal.entity or None
    found = await call.run(
        lambda session: grants.list_page(
            session, entity=entity, license_id=license_id, after=after, limit=limit, viewer=viewer
        )
    )
    return call.answer(page(found, limit=limit))


@router.post(
    "/license-grants/{grant}/reviews", status_code=201, operation_id="reviewGrant", response_model=grants.GrantView
)
async def review_grant(call: Annotated[Call, Depends(callers("reviewer"))], grant: Reference) -> Response:
    """Record a review by the person whose token this is; the second one, by somebody else, puts the grant in force."""
    return await call.once(lambda session: grants.review(session, grant_id=grant, reviewer=call.principal.credential))


@router.post("/license-reviewers", status_code=201, operation_id="addReviewer", response_model=reviewers.NewReviewer)
async def add_reviewer(call: Platform, body: ReviewerBody) -> Response:
    """Issue a token to a person who reviews grants. It is shown in this answer and never again."""
    return await call.once(lambda session: reviewers.add(session, **body.model_dump(), actor=call.principal.name))


@router.get("/license-reviewers", operation_id="listReviewers", response_model=Page[reviewers.ReviewerView])
async def list_reviewers(call: Platform, after: After = "", limit: Limit = 100) -> Response:
    """Who reviews grants, or did."""
    found = await call.run(lambda session: reviewers.list_page(session, after=after, limit=limit))
    return call.answer(page(found, limit=limit))


@router.delete("/license-reviewers/{reviewer}", status_code=204, operation_id="endReviewer")
async def end_reviewer(call: Platform, reviewer: Annotated[str, Field(pattern=r"^[a-z2-7]{12}$")]) -> Response:
    """A reviewer's token opens nothing from now on."""
    await call.run(lambda session: reviewers.end(session, reviewer=reviewer, actor=call.principal.name))
    return Response(status_code=204)


@router.post("/license-acceptances/{acceptance}/erase", operation_id="eraseSignatory", response_model=erasure.Erased)
async def erase_signatory(call: Platform, acceptance: Reference) -> Response:
    """Remove the personal data of whoever signed an acceptance. The acceptance and the audit log stand."""
    return await call.once(
        lambda session: erasure.of_acceptance(session, acceptance_id=acceptance, actor=call.principal.name), status=200
    )


@router.post("/erasures", operation_id="erasePerson", response_model=erasure.Erased)
async def erase_person(call: Platform, body: PersonErasureBody) -> Response:
    """Remove the personal data of whoever has this address: as signatory and as reviewer."""
    return await call.once(
        lambda session: erasure.of_person(session, email=body.email, entity=body.entity, actor=call.principal.name),
        status=200,
    )


@router.post("/license-grants/{grant}/withdraw", operation_id="withdrawGrant", response_model=grants.GrantView)
async def withdraw_grant(call: Platform, grant: Reference, body: ReasonBody) -> Response:
    """End a grant."""
    return await call.once(
        lambda session: grants.withdraw(session, grant_id=grant, reason=body.reason, actor=call.principal.name),
        status=200,
    )


@router.get("/license-policy", operation_id="readLicensePolicy", response_model=LicensePolicy)
async def read_policy(call: PlatformOrTenant) -> Response:
    """What the platform decides where the licenses leave room."""
    return call.answer(await call.run(platform.license_policy))


@router.put("/license-policy", operation_id="setLicensePolicy", response_model=LicensePolicy)
async def set_policy(call: Platform, body: PolicyBody) -> Response:
    """Decide it otherwise."""
    policy = LicensePolicy(**body.model_dump())
    return call.answer(
        await call.run(lambda session: staleness.set_policy(session, policy=policy, actor=call.principal.name))
    )


@router.get("/license-report", operation_id="readLicenseReport", response_model=report.LicenseReport)
async def read_report(
    call: Platform,
    license_id: Annotated[CatalogId, Query(alias="license")],
    month: Annotated[str, Query(pattern=r"^[2-9]\d{3}-(0[1-9]|1[0-2])$", description="YYYY-MM, in UTC.")],
) -> Response:
    """Who accepted a license under which words, statements, grants, and who was served in a month."""
    models = await known_models(call)
    return call.answer(
        await call.run(lambda session: report.report(session, models=models, license_id=license_id, month=month))
    )
