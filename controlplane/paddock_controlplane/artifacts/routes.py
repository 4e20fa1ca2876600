"""Decision tokens for downloads, and the artifacts that a download publishes."""

import time
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from paddock_core.licensing.decide import decide
from paddock_core.licensing.types import Decision, Role, Verb
from paddock_core.licensing.types import Request as Question
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.artifacts import references
from paddock_controlplane.artifacts.errors import OtherModel
from paddock_controlplane.artifacts.store import ArtifactStore
from paddock_controlplane.audit import denials
from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.call import Call, callers
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.fields import Body, CatalogId, Id
from paddock_controlplane.licensing.errors import DecisionDenied
from paddock_controlplane.models import deleted

router = APIRouter(prefix="/internal/v1", tags=["internal"])

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class DecisionBody(Body):
    """What is to be done."""

    verb: Literal["download"]
    model: CatalogId
    entity: Id | None = None
    """Who needs the files: the entity of the tenant that deploys the model."""


class DownloadBody(Body):
    """What is about to be downloaded."""

    model: CatalogId


class UseBody(Body):
    """An entity uses files that are there; digests as `sha256:<hex>`."""

    entity: Id
    model: CatalogId
    weights: Digest
    tokenizer: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionToken:
    """A token for a Job; `expires_at` is Unix time in seconds."""

    token: str
    expires_at: float


@router.post("/decision-tokens", operation_id="issueDecisionToken", response_model=DecisionToken)
async def issue(call: Annotated[Call, Depends(callers("internal"))], body: DecisionBody) -> Response:
    """A token with which a Job may download a model's weights, if the platform's licenses allow that now.

    From then on the entity counts as one that needs the files.
    """
    await _allowed(call, body.model)
    if body.entity is not None:
        await _refer(call, references.Use(entity=body.entity, model=body.model))
    token, expires_at = call.state.decisions.issue(subject=body.model)
    return call.answer(DecisionToken(token=token, expires_at=expires_at))


@router.post("/artifact-references", status_code=204, operation_id="referToArtifacts")
async def refer(call: Annotated[Call, Depends(callers("internal"))], body: UseBody) -> Response:
    """Told by the operator for every deployment that it serves: these files are needed, by this entity."""
    await _refer(call, references.Use(**body.model_dump()))
    return Response(status_code=204)


@router.post("/downloads", status_code=204, operation_id="startDownload")
async def start_download(call: Annotated[Call, Depends(callers("decision"))], body: DownloadBody) -> Response:
    """Asked by a Job right before it downloads: the decision is made again, and the download written down."""
    if call.principal.model != body.model:
        raise OtherModel(f"this decision token is for {call.principal.model}, not for {body.model}")
    decision = await _allowed(call, body.model)
    event = Event(
        actor=call.principal.name,
        action="license.download",
        subject=body.model,
        detail={"clauses": list(decision.clauses), "acceptances": list(decision.acceptances)},
    )

    async def work(session: AsyncSession) -> None:
        await references.not_going(session, model=body.model)
        await record(session, event)

    await call.state.database.run(EVERYTHING, work)
    return Response(status_code=204)


@router.put("/artifacts/{digest}", status_code=204, operation_id="publishArtifact")
async def publish(call: Annotated[Call, Depends(callers("decision"))], digest: Digest, request: Request) -> Response:
    """Publish an artifact under its digest, at most 64 MiB."""
    store, bare = ArtifactStore(call.state.settings.artifacts_dir), digest.removeprefix("sha256:")
    data = await store.receive(digest=bare, content=request.stream())

    async def work(session: AsyncSession) -> None:
        # Under the lock of purges: a file is never removed between its row and itself.
        await references.lock(session)
        await references.note(session, model=call.principal.model, digest=bare, kind="tokenizer")
        await store.put(digest=bare, data=data)

    await call.state.database.run(EVERYTHING, work)
    return Response(status_code=204)


@router.get(
    "/artifacts/{digest}",
    operation_id="readArtifact",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def read(call: Annotated[Call, Depends(callers("internal"))], digest: Digest) -> Response:
    """An artifact's bytes."""
    content = await ArtifactStore(call.state.settings.artifacts_dir).get(digest.removeprefix("sha256:"))
    headers = {"etag": f'"{digest}"', "cache-control": "private, max-age=31536000, immutable"}
    return Response(content, media_type="application/octet-stream", headers=headers)


async def _allowed(call: Call, model: str) -> Decision:
    """The decision on the platform's own download of a model, now. Raises DecisionDenied if it is deny."""
    facts = (await call.state.view.get()).facts()
    question = Question(entity=facts.operator, role=Role.OPERATOR, verb=Verb.DOWNLOAD, model=model, at=time.time())
    decision = decide(request=question, facts=facts, catalog=call.state.catalog)
    if not decision.allowed:
        await denials.tell(call.state.database, question=question, decision=decision, source=call.principal.kind)
        raise DecisionDenied(decision.message, decision=decision, reason=decision.reason.value)
    return decision


async def _refer(call: Call, use: references.Use) -> None:
    models = await known_models(call)
    await call.run(lambda session: references.refer(session, models=models, use=use, actor=call.principal.name))


async def known_models(call: Call) -> references.Models:
    """What is known of models now."""
    gone: dict[str, tuple[str, ...]] = {}
    for model in await deleted.known(call.state.database):
        gone[model.id] = (*gone.get(model.id, ()), *model.licenses)
    return references.Models(
        catalog=call.state.catalog,
        registered=(await call.state.view.get()).models,
        deleted=gone,
    )
