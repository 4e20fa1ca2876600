"""Liveness, readiness and metrics: open to everybody who can reach the port, and without anything about tenants."""

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.problems import Unavailable

router = APIRouter(tags=["health"])

_REVISIONS = Path(__file__).parent / "migrations" / "versions"
_PLAIN: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}


class SchemaOld(Unavailable):
    code, title = "SchemaOld", "The database's schema is not this version's"


@router.get("/healthz", operation_id="isAlive", response_class=Response, responses=_PLAIN)
async def healthz() -> Response:
    """The process answers."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", operation_id="isReady", response_class=Response, responses=_PLAIN)
async def readyz(request: Request) -> Response:
    """The database answers, and its schema is at least this version's."""
    try:
        async with request.app.state.parts.database.transaction(EVERYTHING) as session:
            found = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    except SQLAlchemyError as error:
        raise SchemaOld("the database has no schema yet: run `paddock-controlplane migrate`") from error
    if found < head():
        raise SchemaOld(f"the schema is at {found}, this version needs {head()}: run `paddock-controlplane migrate`")
    return Response("ok\n", media_type="text/plain")


@cache
def head() -> str:
    """The newest revision of the schema that this version brings. Read from the files' names: Alembic is large."""
    return max(path.name.partition("_")[0] for path in _REVISIONS.glob("[0-9]*.py"))


@router.get("/metrics", operation_id="readMetrics", response_class=Response, responses=_PLAIN)
async def metrics(request: Request) -> Response:
    """Prometheus exposition."""
    registry = request.app.state.telemetry.registry
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})
