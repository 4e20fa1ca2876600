"""The control plane's application: its parts put together, and nothing else."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.packaged import packaged_catalog
from starlette.exceptions import HTTPException

from paddock_controlplane import health, maintenance, openapi
from paddock_controlplane.active_users import routes as active_users
from paddock_controlplane.active_users.warnings import NearThresholds
from paddock_controlplane.artifacts import purge_routes
from paddock_controlplane.artifacts import routes as artifacts
from paddock_controlplane.audit import routes as audit
from paddock_controlplane.billing import routes as billing
from paddock_controlplane.call import State
from paddock_controlplane.catalog import routes as catalogue
from paddock_controlplane.console import routes as console
from paddock_controlplane.db import Database
from paddock_controlplane.decision_tokens import DecisionTokens
from paddock_controlplane.entities import routes as entities
from paddock_controlplane.idempotency.service import Sealer
from paddock_controlplane.keys import routes as keys
from paddock_controlplane.licensing import record_routes
from paddock_controlplane.licensing import routes as licensing
from paddock_controlplane.middleware import BodyLimit, Observe
from paddock_controlplane.models import routes as registered_models
from paddock_controlplane.pod_time import routes as pod_time
from paddock_controlplane.policy import routes as policy
from paddock_controlplane.policy.feed import PolicyFeed
from paddock_controlplane.policy.service import CurrentView
from paddock_controlplane.prices import routes as prices
from paddock_controlplane.prices.book import Prices
from paddock_controlplane.principals import Authenticator
from paddock_controlplane.problems import Invalid, Problem
from paddock_controlplane.quotas import routes as quotas
from paddock_controlplane.quotas.store import LeaseStore, PostgresLeases
from paddock_controlplane.quotas.watch import QuotaWatch
from paddock_controlplane.settings import Settings
from paddock_controlplane.telemetry import Telemetry, build
from paddock_controlplane.tenants import admin_routes
from paddock_controlplane.tenants import routes as tenants
from paddock_controlplane.token_files import FileToken
from paddock_controlplane.usage import routes as usage
from paddock_controlplane.usage.partitions import Partitions
from paddock_controlplane.usage.sink import EventSink
from paddock_controlplane.usage.watch import LedgerWatch

log = logging.getLogger(__name__)

_ROUTERS = (
    *(entities.router, tenants.router, admin_routes.router, keys.router),
    *(catalogue.router, licensing.router, record_routes.router),
    *(prices.router, billing.router, usage.router, audit.router, policy.router, usage.internal, artifacts.router),
    *(active_users.router, active_users.internal),
    *(registered_models.router, registered_models.internal),
    *(purge_routes.router, purge_routes.internal, audit.internal),
    *(quotas.router, quotas.internal, pod_time.router, pod_time.internal),
)


def create_app(settings: Settings, *, catalog: Catalog | None = None, telemetry: Telemetry | None = None) -> FastAPI:
    """The application with the settings' database and secrets.

    Raises:
        SettingsError: a setting is missing or unusable.
    """
    telemetry = telemetry or build()
    if settings.audit_heads_file is None:
        log.warning("heads of the audit log are not exported: set PADDOCK_CONTROLPLANE_AUDIT_HEADS_FILE")
    app = FastAPI(
        title="Paddock control plane",
        version="1",
        description="Entities, tenants, keys, licenses, usage and audit; what gateways and the operator follow.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        responses=openapi.PROBLEMS,
    )
    app.state.parts = _parts(settings, catalog or packaged_catalog())
    app.state.telemetry = telemetry
    app.state.parts.ledger.expose(telemetry.meter)
    app.state.parts.quotas.expose(telemetry.meter)
    if app.state.parts.sink is not None:
        app.state.parts.sink.expose(telemetry.meter)
    app.state.parts.near_thresholds.expose(telemetry.meter)
    bearer = [Depends(HTTPBearer(auto_error=False, description="A token of one of the kinds of caller."))]
    for router in _ROUTERS:
        app.include_router(router, dependencies=bearer)
    app.include_router(health.router)
    console.add_pages(app)
    openapi.complete(app)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(BodyLimit)
    app.add_middleware(Observe, telemetry=telemetry)
    return app


def _parts(settings: Settings, catalog: Catalog) -> State:
    database = Database(dsn=settings.dsn(), pool_size=settings.database_pool_size)
    platform_key = settings.secret("platform_key")
    decisions = DecisionTokens(platform_key=platform_key, seconds=settings.decision_token_seconds)
    authenticator = Authenticator(
        database=database,
        admin=FileToken(lambda: settings.secret("admin_token")),
        internal=FileToken(lambda: settings.secret("internal_token")),
        decisions=decisions,
    )
    return State(
        settings=settings,
        database=database,
        catalog=catalog,
        view=CurrentView(database),
        feed=PolicyFeed(settings.dsn()),
        authenticator=authenticator,
        decisions=decisions,
        sealer=Sealer(platform_key),
        partitions=Partitions(retention_days=settings.usage_retention_days),
        prices=Prices(),
        ledger=LedgerWatch(),
        quotas=QuotaWatch(),
        leases=_leases(settings, database),
        near_thresholds=NearThresholds(),
        sink=_sink(settings, database),
        audit_key=settings.secret("audit_key"),
    )


def _leases(settings: Settings, database: Database) -> LeaseStore:
    budgets, url = PostgresLeases(database), settings.quota_valkey_url()
    if url is None:
        return budgets
    from paddock_controlplane.quotas.valkey_store import ValkeyLeases  # its client is loaded where it is used

    return ValkeyLeases(url=url, budgets=budgets)


def _sink(settings: Settings, database: Database) -> EventSink | None:
    if settings.events_sink_url is None:
        return None
    settings.events_sink_token()
    return EventSink(database=database, url=settings.events_sink_url, token=settings.events_sink_token)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: State = app.state.parts
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(state.feed.run()), tasks.create_task(maintenance.run(state))]
        if state.sink is not None:
            running.append(tasks.create_task(state.sink.run()))
        try:
            yield
        finally:
            for task in running:
                task.cancel()
    await state.leases.close()
    await state.database.close()
    app.state.telemetry.close()


async def _problem(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        raise error
    return error.response()


async def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    places = [
        {"at": ".".join(str(part) for part in item["loc"]), "message": str(item["msg"])} for item in error.errors()
    ]
    told = "; ".join(f"{place['at']}: {place['message']}" for place in places[:5])
    return Invalid(told, errors=places[:50]).response()


async def _unexpected(_request: Request, _error: Exception) -> Response:
    """What nobody foresaw is in the log with its trace; the caller learns only that it happened."""
    return Problem("unexpected; the control plane's log has it: try again, then tell the platform team").response()


async def _http(_request: Request, error: Exception) -> Response:
    """Answers of the framework itself (no such route, method not allowed), in the one shape that errors have."""
    if not isinstance(error, HTTPException):
        raise error
    problem = Problem(f"{error.detail}: see /openapi.json for what there is")
    problem.status, problem.code, problem.title = error.status_code, f"Http{error.status_code}", str(error.detail)
    problem.headers = dict(error.headers or {})
    return problem.response()
