"""Decision tokens for downloads, and the artifacts that a download publishes."""

import time
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from paddock_core.licensing.decide import decide
from paddock_core.licensing.types import Decision, Role, Verb
from paddock_core.licensing.types import Request as Question
from pydantic import Field

from paddock_controlplane.artifacts.errors import OtherModel
from paddock_controlplane.artifacts.store import ArtifactStore
from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.call import Call, callers
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.fields import Body, CatalogId
from paddock_controlplane.licensing.errors import DecisionDenied

router = APIRouter(prefix="/internal/v1", tags=["internal"])

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class DecisionBody(Body):
    """What is to be done."""

    verb: Literal["download"]
    model: CatalogId


class DownloadBody(Body):
    """What is about to be downloaded."""

    model: CatalogId


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionToken:
    """A token for a Job; `expires_at` is Unix time in seconds."""

    token: str
    expires_at: float


@router.post("/decision-tokens", operation_id="issueDecisionToken", response_model=DecisionToken)
async def issue(call: Annotated[Call, Depends(callers("internal"))], body: DecisionBody) -> Response:
    """A token with which a Job may download a model's weights, if the platform's licenses allow that now."""
    decision = await _decision(call, body.model)
    if not decision.allowed:
        raise _denied(decision)
    token, expires_at = call.state.decisions.issue(model=body.model)
    return call.answer(DecisionToken(token=token, expires_at=expires_at))


@router.post("/downloads", status_code=204, operation_id="startDownload")
async def start_download(call: Annotated[Call, Depends(callers("decision"))], body: DownloadBody) -> Response:
    """Asked by a Job right before it downloads: the decision is made again, and the download written down."""
    if call.principal.model != body.model:
        raise OtherModel(f"this decision token is for {call.principal.model}, not for {body.model}")
    decision = await _decision(call, body.model)
    if not decision.allowed:
        denial = Event(
            actor=call.principal.name,
            action="license.deny",
            subject=body.model,
            detail={"verb": "download", "reason": decision.reason.value},
        )
        await call.state.database.run(EVERYTHING, lambda session: record(session, denial))
        raise _denied(decision)
    event = Event(
        actor=call.principal.name,
        action="license.download",
        subject=body.model,
        detail={"clauses": list(decision.clauses), "acceptances": list(decision.acceptances)},
    )
    await call.state.database.run(EVERYTHING, lambda session: record(session, event))
    return Response(status_code=204)


@router.put("/artifacts/{digest}", status_code=204, operation_id="publishArtifact")
async def publish(call: Annotated[Call, Depends(callers("decision"))], digest: Digest, request: Request) -> Response:
    """Publish an artifact under its digest, at most 64 MiB."""
    await _store(call).put(digest=digest.removeprefix("sha256:"), content=request.stream())
    return Response(status_code=204)


@router.get(
    "/artifacts/{digest}",
    operation_id="readArtifact",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def read(call: Annotated[Call, Depends(callers("internal"))], digest: Digest) -> Response:
    """An artifact's bytes."""
    content = await _store(call).get(digest.removeprefix("sha256:"))
    headers = {"etag": f'"{digest}"', "cache-control": "private, max-age=31536000, immutable"}
    return Response(content, media_type="application/octet-stream", headers=headers)


def _store(call: Call) -> ArtifactStore:
    return ArtifactStore(call.state.settings.artifacts_dir)


async def _decision(call: Call, model: str) -> Decision:
    """The decision on the platform's own download of a model, now."""
    facts = (await call.state.view.get()).facts()
    question = Question(entity=facts.operator, role=Role.OPERATOR, verb=Verb.DOWNLOAD, model=model, at=time.time())
    return decide(request=question, facts=facts, catalog=call.state.catalog)


def _denied(decision: Decision) -> DecisionDenied:
    return DecisionDenied(decision.message, decision=decision, reason=decision.reason.value)
