"""The internal API of the control plane as far as the operator uses it, on a real socket: for tests and benchmarks
that run the operator without the control plane. The whole product runs together in `e2e/`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from paddock_controlplane.models.bodies import RegistrationBody
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.catalog.types import WeightSet
from paddock_core.policy import documents
from paddock_core.policy.documents import (
    Acceptance,
    Entity,
    LicenseText,
    Namespace,
    RegisteredModel,
    Statement,
    Tenant,
)
from paddock_core.policy.wire import Change, Changes, Snapshot
from pydantic import ValidationError

TOKEN = "internal-token"
KINDS = {made: kind for kind, made in documents.KINDS.items()}


@dataclass
class PolicyServer:
    """Holds policy objects; `put` and `remove` are changes that followers hear of at once."""

    max_age_seconds: float = 900.0
    denies_downloads: bool = False
    down: bool = False
    url: str = ""
    waiting: bool = False
    """True while a follower waits for changes."""
    tokens_issued: list[str] = field(default_factory=list)
    references: list[tuple[str, str]] = field(default_factory=list)
    """Entity and model of every telling that files are needed."""
    purges_started: list[str] = field(default_factory=list)
    denials: list[dict[str, Any]] = field(default_factory=list)
    pod_times: list[dict[str, Any]] = field(default_factory=list)
    """Every sighting of a pod, in the order of telling."""
    model_calls: list[str] = field(default_factory=list)
    """Every call about a registered model, as `METHOD id`."""
    refusals: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict)
    """By such a call: the status and the problem document that it is answered with."""
    _log: list[Change] = field(default_factory=list)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, *objects: Any) -> None:
        """Add or replace policy objects."""
        for item in objects:
            self._append(KINDS[type(item)], item.id, msgspec.to_builtins(item))

    def remove(self, kind: str, id_: str) -> None:
        """Remove a policy object."""
        self._append(kind, id_, None)

    def _append(self, kind: str, id_: str, body: dict[str, Any] | None) -> None:
        self._log.append(Change(revision=len(self._log) + 1, kind=kind, id=id_, body=body))
        heard, self._heard = self._heard, asyncio.Event()
        heard.set()

    async def snapshot(self, _request: web.Request) -> web.Response:
        objects: dict[str, dict[str, Any]] = {}
        for change in self._log:
            of_kind = objects.setdefault(change.kind, {})
            if change.body is None:
                of_kind.pop(change.id, None)
            else:
                of_kind[change.id] = change.body
        return self._json(
            Snapshot(revision=len(self._log), max_age_seconds=self.max_age_seconds, at=time.time(), objects=objects)
        )

    async def changes(self, request: web.Request) -> web.Response:
        after = int(request.query["after"])
        if len(self._log) <= after:
            self.waiting = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), float(request.query["wait"]))
            self.waiting = False
        return self._json(
            Changes(
                revision=len(self._log),
                max_age_seconds=self.max_age_seconds,
                at=time.time(),
                changes=tuple(self._log[after:]),
            )
        )

    async def decision_token(self, request: web.Request) -> web.Response:
        if self.denies_downloads:
            problem = {"code": "OperatorNotLicensed", "detail": "accept as operator first"}
            return web.json_response(problem, status=403)
        model = (await request.json())["model"]
        self.tokens_issued.append(model)
        return web.json_response({"token": f"token-for-{model}", "expires_at": 0})

    async def refer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.references.append((body["entity"], body["model"]))
        return web.Response(status=204)

    async def start_purge(self, request: web.Request) -> web.Response:
        purge = request.match_info["purge"]
        if purge not in self._purges():
            return web.json_response({"code": "PurgeEnded"}, status=409)
        self.purges_started.append(purge)
        return web.json_response({"token": f"token-for-{purge}", "expires_at": 0})

    def _purges(self) -> set[str]:
        last = {change.id: change.body for change in self._log if change.kind == "purge"}
        return {name for name, body in last.items() if body is not None}

    async def tell_denials(self, request: web.Request) -> web.Response:
        self.denials.extend((await request.json())["denials"])
        return web.Response(status=204)

    async def tell_pod_times(self, request: web.Request) -> web.Response:
        self.pod_times.extend((await request.json())["pods"])
        return web.json_response({"pods": len(self.pod_times)})

    async def put_model(self, request: web.Request) -> web.Response:
        refused = self._model_call(request)
        if refused is not None:
            return refused
        try:
            # The control plane's own reading of it, so that a field that it does not take is refused here as well.
            body = RegistrationBody.model_validate_json(await request.read())
        except ValidationError as error:
            return web.json_response({"code": "Invalid", "detail": str(error)}, status=422)
        self.put(body.model(request.match_info["model"], owner=body.owner))
        return web.json_response({})

    async def drop_model(self, request: web.Request) -> web.Response:
        refused = self._model_call(request)
        if refused is None:
            self.remove("model", request.match_info["model"])
        return refused or web.Response(status=204)

    def _model_call(self, request: web.Request) -> web.Response | None:
        call = f"{request.method} {request.match_info['model']}"
        self.model_calls.append(call)
        status, problem = self.refusals.get(call, (0, {}))
        return web.json_response(problem, status=status) if status else None

    def _json(self, value: object) -> web.Response:
        return web.Response(body=msgspec.json.encode(value), content_type="application/json")

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        answer: web.StreamResponse = await handler(request)
        return answer


@contextlib.asynccontextmanager
async def serving(server: PolicyServer, *, port: int) -> AsyncIterator[PolicyServer]:
    """Serve until the block ends."""
    app = web.Application(middlewares=[server.guard])
    app.router.add_get("/internal/v1/policy", server.snapshot)
    app.router.add_get("/internal/v1/policy/changes", server.changes)
    app.router.add_post("/internal/v1/decision-tokens", server.decision_token)
    app.router.add_post("/internal/v1/artifact-references", server.refer)
    app.router.add_post("/internal/v1/purges/{purge}/start", server.start_purge)
    app.router.add_post("/internal/v1/denials", server.tell_denials)
    app.router.add_post("/internal/v1/pod-time", server.tell_pod_times)
    app.router.add_put("/internal/v1/models/{model}", server.put_model)
    app.router.add_delete("/internal/v1/models/{model}", server.drop_model)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


def registered() -> list[Any]:
    """The platform with its own acceptance, and the tenants acme and globex which have accepted nothing yet."""
    return [
        Entity(id="platform", legal_name="Platform Ltd", principal_place_of_business="IE", is_operator=True),
        Entity(id="acme-inc", legal_name="Acme Inc", principal_place_of_business="US"),
        Entity(id="globex-ag", legal_name="Globex AG", principal_place_of_business="CH"),
        Tenant(id="acme", entity="acme-inc", gpus=10_000),
        Tenant(id="globex", entity="globex-ag"),
        Namespace(id="acme", tenant="acme"),
        Namespace(id="globex", tenant="globex"),
        *texts("paddock-demo"),
        *accepted("platform", role="operator"),
    ]


def demo_weights() -> WeightSet:
    """The demonstration model's own checkpoint."""
    entry = packaged_catalog().models["smollm2-135m-instruct"]
    return entry.weights[entry.default_precision]


def made_model(name: str = "demo-acme", **other: Any) -> RegisteredModel:
    """A registered fine-tune of the demonstration model, named as its license asks."""
    values = {"base": "smollm2-135m-instruct", "public_name": "Demo-Acme", "precision": "q4_1"}
    return RegisteredModel(**{"id": name, "weights": demo_weights(), "owner": "acme", **values, **other})


def texts(license_id: str) -> list[LicenseText]:
    """The texts that a license pins, as imported."""
    entry = packaged_catalog().licenses[license_id]
    return [
        LicenseText(
            id=f"{license_id}:{pin.role}",
            license=license_id,
            role=pin.role,
            raw=f"sha256:{pin.canonical}",
            canonical=f"sha256:{pin.canonical}",
        )
        for pin in entry.texts
    ]


def accepted(entity: str, *, role: str = "deployer", license_id: str = "paddock-demo") -> list[Any]:
    """An entity's acceptance of a license, and its statement of users."""
    pin = packaged_catalog().licenses[license_id].text("agreement")
    assert pin is not None
    return [
        Acceptance(
            id=f"acc-{entity}-{license_id}",
            entity=entity,
            license=license_id,
            role=role,
            canonical=f"sha256:{pin.canonical}",
            at=1_700_000_000.0,
            flow_down=True,
        ),
        Statement(
            id=f"sta-{entity}-{license_id}", entity=entity, license=license_id, band="le_700m", at=1_700_000_000.0
        ),
    ]
