"""A whole gateway on real sockets, with stand-ins where faults must be played: control plane, API server, Triton."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import openai
import pytest
import uvicorn
from aiohttp import web
from paddock_core.active_users.documents import SketchBatch
from paddock_core.active_users.sketch import EMPTY, decode, merge
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.keys import format_key, secret_digest
from paddock_core.quotas.central import from_bucket, from_sum
from paddock_core.quotas.kinds import KINDS, RATE
from paddock_core.quotas.rates import Bucket
from paddock_core.quotas.wire import Grant, LeaseAnswer, LeaseCall
from paddock_core.serving.contract import SECRET_HEADER, deployment_secret
from paddock_core.serving.tokenizer_document import TokenizerDocument, encode_document
from paddock_gateway.app import App
from paddock_gateway.clock import SYSTEM, Clock
from paddock_gateway.main import running
from paddock_gateway.protocol import Server, bounded
from paddock_gateway.settings import Settings
from paddock_local.bare_kubernetes import free_port
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.waiting import until

MODEL = "smollm2-135m-instruct"
PLATFORM_KEY = "platform-key-of-the-tests"
INTERNAL = "internal-token-of-the-tests"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer(*, chat_template: str = CHATML, backwards: bool = False) -> TokenizerDocument:
    """One token a byte, plus ChatML's two: counts can be checked by eye. `backwards`: with other ids."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), reverse=backwards)
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")])
    return TokenizerDocument(
        tokenizer=tokenizer.to_str(),
        chat_template=chat_template,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        stop_tokens=("<|im_end|>",),
        add_bos=False,
    )


def api_key(number: int) -> tuple[str, dict[str, Any]]:
    """A credential and its policy body (without tenant)."""
    secret = bytes([number]) * 32
    identifier = f"key{'abcdefghi'[number]}" + "a" * 8
    return format_key("pk", identifier, secret), {"id": identifier, "secret_sha256": secret_digest(secret.hex())}


def chat_prompt_tokens(*contents: str) -> int:
    """Tokens of a conversation of user messages under the byte tokenizer and ChatML."""
    each = sum(1 + len("user\n") + len(text.encode()) + 1 + 1 for text in contents)
    return each + 1 + len("assistant\n")


@dataclass
class ControlPlane:
    """The internal API: policy with long poll, usage with exactly-once, artifacts."""

    document: bytes
    objects: dict[str, dict[str, dict[str, Any]]]
    max_age: float = 900.0
    ahead: float = 0.0
    """Seconds by which its clock is ahead of the machine's."""
    revision: int = 1
    log: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    deliveries: list[str] = field(default_factory=list)
    down: bool = False
    tokens: set[str] = field(default_factory=lambda: {INTERNAL})
    """What opens its internal API."""
    refuses: Callable[[dict[str, Any]], bool] = lambda _: False
    hangs: Callable[[dict[str, Any]], bool] = lambda _: False
    failed: int = 0
    artifact_status: int = 200
    documents: dict[str, bytes] = field(default_factory=dict)
    """Artifacts beside the first one, by digest."""
    batches: list[int] = field(default_factory=list)
    ship_heads: list[dict[str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    buckets: dict[tuple[str, str, str], Bucket] = field(default_factory=dict)
    lent: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Units of pools and budgets that gateways hold or have used up."""
    lease_calls: list[LeaseCall] = field(default_factory=list)
    lease_seconds: float = 300.0
    lease_answers: dict[tuple[str, int], bytes] = field(default_factory=dict)
    lose_leases: bool = False
    drop_answer: bool = False
    gateways: int = 1
    users: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    users_down: bool = False
    users_refused: Callable[[str], bool] = lambda _: False
    users_batches: list[int] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.document).hexdigest()

    def put(self, kind: str, identifier: str, body: dict[str, Any] | None) -> None:
        self.revision += 1
        if body is None:
            self.objects[kind].pop(identifier, None)
        else:
            self.objects.setdefault(kind, {})[identifier] = body
        self.log.append({"revision": self.revision, "kind": kind, "id": identifier, "body": body})
        self.changed.set()

    def app(self) -> web.Application:
        @web.middleware
        async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
            if self.down:
                self.failed += request.path == "/internal/v1/usage"
                raise web.HTTPServiceUnavailable
            assert request.headers["authorization"].removeprefix("Bearer ") in self.tokens
            response: web.StreamResponse = await handler(request)
            return response

        app = web.Application(middlewares=[guard], client_max_size=2**26)
        app.router.add_get("/internal/v1/policy", self._policy)
        app.router.add_get("/internal/v1/policy/changes", self._changes)
        app.router.add_post("/internal/v1/usage", self._usage)
        app.router.add_post("/internal/v1/leases", self._leases)
        app.router.add_post("/internal/v1/active-users", self._users)
        app.router.add_get("/internal/v1/artifacts/{digest}", self._artifact)
        return app

    def _said(self) -> dict[str, float]:
        return {"revision": self.revision, "max_age_seconds": self.max_age, "at": time.time() + self.ahead}

    async def _policy(self, _: web.Request) -> web.Response:
        return web.json_response({**self._said(), "objects": self.objects})

    async def _changes(self, request: web.Request) -> web.Response:
        after, wait = int(request.query["after"]), float(request.query["wait"])
        if after >= self.revision:
            self.changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self.changed.wait()
            except TimeoutError:
                pass
        changes = [item for item in self.log if item["revision"] > after]
        return web.json_response({**self._said(), "changes": changes})

    async def _usage(self, request: web.Request) -> web.Response:
        records = (await request.json())["records"]
        self.batches.append(len(records))
        self.ship_heads.append(dict(request.headers))
        if any(self.hangs(record) for record in records):
            raise web.HTTPServiceUnavailable
        if any(self.refuses(record) for record in records):
            return web.json_response({"detail": "a record cannot be entered"}, status=422)
        new = [record for record in records if record["usage_id"] not in self.records]
        self.deliveries += [record["usage_id"] for record in records]
        self.records.update({record["usage_id"]: record for record in new})
        return web.json_response({"accepted": len(new), "duplicates": len(records) - len(new)})

    async def _users(self, request: web.Request) -> web.Response:
        if self.users_down:
            raise web.HTTPServiceUnavailable
        batch = msgspec.json.decode(await request.read(), type=SketchBatch)
        self.users_batches.append(len(batch.sketches))
        refused = []
        for index, item in enumerate(batch.sketches):
            if self.users_refused(item.tenant):
                refused.append({"index": index, "reason": "no such tenant"})
                continue
            key = (item.tenant, item.product, item.day)
            self.users[key] = merge(self.users.get(key, EMPTY), decode(item.sketch))
        return web.json_response({"merged": len(batch.sketches) - len(refused), "unchanged": 0, "refused": refused})

    async def _leases(self, request: web.Request) -> web.Response:
        """The shared accounts, with the real arithmetic. A session begins with everything given back."""
        call = msgspec.json.decode(await request.read(), type=LeaseCall)
        self.lease_calls.append(call)
        if self.lose_leases:
            self.lose_leases = False
            return web.Response(status=409)
        known = self.lease_answers.get((call.session, call.number))
        if known is not None:
            return web.Response(body=known, content_type="application/json")
        grants = []
        for ask in call.asks:
            key = (ask.level, ask.kind, ask.period)
            wants = {"need": ask.need, "least": ask.least, "want": ask.want}
            if KINDS[ask.kind].shape == RATE:
                bucket = self.buckets.setdefault(key, Bucket())
                given = from_bucket(bucket, limit=ask.limit, now=SYSTEM.steady_ns(), back=ask.back, **wants)
            else:
                used = self.lent.get(key, 0) - ask.back
                given = from_sum(limit=ask.limit, used=used, mine=used, **wants)
                self.lent[key] = used + given.granted
            grants.append(Grant(granted=given.granted, room=given.room, fill_ns=given.fill_ns, over=given.over))
        answer = LeaseAnswer(grants=tuple(grants), gateways=self.gateways, seconds=self.lease_seconds)
        body = self.lease_answers[call.session, call.number] = msgspec.json.encode(answer)
        if self.drop_answer and call.asks:
            self.drop_answer = False
            return web.Response(status=503)
        return web.Response(body=body, content_type="application/json")

    async def _artifact(self, request: web.Request) -> web.Response:
        documents = {self.digest: self.document, **self.documents}
        if self.artifact_status != 200:
            return web.Response(status=self.artifact_status)
        return web.Response(body=documents[request.match_info["digest"]])

    async def settled(self, count: int = 1) -> list[dict[str, Any]]:
        """The ledger, once it has this many rows."""
        await until(lambda: len(self.records) >= count)
        return list(self.records.values())


Play = Callable[[dict[str, Any], web.StreamResponse], Awaitable[None]]


async def words(body: dict[str, Any], response: web.StreamResponse) -> None:
    """One word a token up to the cap, then `length`."""
    cap = body["sampling_param_max_tokens"]
    for index in range(cap):
        await event(response, f"w{index} ", 1, "length" if index == cap - 1 else None)


async def event(response: web.StreamResponse, text: str, tokens: int | None, finish: str | None = None) -> None:
    chunk: dict[str, Any] = {"model_name": "tensorrt_llm", "text_output": text, "num_input_tokens": 7}
    if tokens is not None:
        chunk["num_output_tokens"] = tokens
    if finish is not None:
        chunk["finish_reason"] = finish
    await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


@dataclass
class Triton:
    """generate_stream, playing whatever `play` says."""

    play: Play = words
    bodies: list[dict[str, Any]] = field(default_factory=list)
    cancelled: int = 0
    secret: str = ""
    crash: bool = False
    """Dies of every prompt, before it answers a byte."""
    heads: list[dict[str, str]] = field(default_factory=list)
    totals: int | None = None
    """What it answers when it is asked what a request came to; None: it does not know the request."""
    asked: list[str] = field(default_factory=list)
    may_tell: asyncio.Event = field(default_factory=asyncio.Event)
    """It answers that once this is set, as it is unless a test takes it back."""

    def __post_init__(self) -> None:
        self.may_tell.set()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v2/models/tensorrt_llm/generate_stream", self._generate)
        return app

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        assert request.headers[SECRET_HEADER] == self.secret
        body = await request.json()
        if body.get("stop"):
            return await self._tell(request, body["id"])
        self.bodies.append(body)
        self.heads.append(dict(request.headers))
        if self.crash:
            assert request.transport is not None
            request.transport.abort()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            await self.play(body, response)
            await response.write_eof()
        except (ConnectionResetError, asyncio.CancelledError):
            self.cancelled += 1
        return response

    async def _tell(self, request: web.Request, identifier: str) -> web.StreamResponse:
        self.asked.append(identifier)
        await self.may_tell.wait()
        if self.totals is None:
            return web.json_response({"error": f"no request {identifier}"}, status=400)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await event(response, "", self.totals, "cancelled")
        await response.write_eof()
        return response


@dataclass
class KubernetesApi:
    """List and watch of LlamaDeployments."""

    objects: dict[str, dict[str, Any]]
    version: int = 10
    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    watchers: list[asyncio.Queue[dict[str, Any]]] = field(default_factory=list)
    lists: int = 0
    down: bool = False

    def break_watches(self, reason: dict[str, Any] | None = None) -> None:
        """End every watch, with an error event first if there is one to tell."""
        for queue in self.watchers:
            if reason is not None:
                queue.put_nowait({"type": "ERROR", "object": reason})
            queue.put_nowait({})
        self.watchers.clear()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/apis/paddock.dev/v1alpha1/llamadeployments", self._get)
        return app

    def put(self, item: dict[str, Any], kind: str = "MODIFIED") -> None:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.objects[item["metadata"]["name"]] = item
        self.events.append((self.version, {"type": kind, "object": item}))
        for queue in self.watchers:
            queue.put_nowait(self.events[-1][1])

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            raise web.HTTPServiceUnavailable
        if "watch" not in request.query:
            self.lists += 1
            items = list(self.objects.values())
            return web.json_response(
                {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version)}, "items": items}
            )
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        after = int(request.query.get("resourceVersion", "0"))
        for version, missed in self.events:
            if version > after:
                queue.put_nowait(missed)
        self.watchers.append(queue)
        while item := await queue.get():
            await response.write(json.dumps(item).encode() + b"\n")
        return response


def target(*, digest: str, endpoints: list[str], revision: str = "r1", **changes: Any) -> dict[str, Any]:
    """One target of a routing."""
    said = {
        "revision": revision,
        "model": MODEL,
        "tokenizer": digest,
        "contextLength": 512,
        "maxConcurrency": 4,
        "endpoints": [{"pod": f"{revision}-{index}", "url": url} for index, url in enumerate(endpoints)],
    }
    return {**said, **changes}


def deployment(*, name: str, digest: str, endpoints: list[str], context: int = 512, **spec: Any) -> dict[str, Any]:
    """A LlamaDeployment of acme that is served."""
    routing = {
        "digest": "first",
        "targets": [target(digest=digest, endpoints=endpoints, contextLength=context)],
    }
    return {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaDeployment",
        "metadata": {
            "name": name,
            "namespace": "acme-team",
            "uid": f"uid-{name}",
            "resourceVersion": "5",
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": {"model": {"id": MODEL}, **spec},
        "status": {"phase": "Ready", "routing": routing},
    }


def policy_objects() -> dict[str, dict[str, dict[str, Any]]]:
    """Operator, acme (has accepted), globex (has not), a key each."""
    license_id = packaged_catalog().models[MODEL].licenses[0]
    license_entry = packaged_catalog().licenses[license_id]
    agreement = license_entry.text("agreement")
    assert agreement is not None
    texts = {
        f"{license_id}:{pin.role}": {
            "id": f"{license_id}:{pin.role}",
            "license": license_id,
            "role": pin.role,
            "raw": "sha256:" + "0" * 64,
            "canonical": "sha256:" + pin.canonical,
        }
        for pin in license_entry.texts
    }
    objects: dict[str, dict[str, dict[str, Any]]] = {"license_text": texts, "acceptance": {}, "statement": {}}
    for entity, role in (("platform", "operator"), ("acme-inc", "deployer")):
        objects["acceptance"] |= acceptance(entity, role)
        objects["statement"] |= statement(entity)
    place = {"principal_place_of_business": "US"}
    objects["entity"] = {
        "platform": {"id": "platform", "legal_name": "Platform", "is_operator": True, **place},
        "acme-inc": {"id": "acme-inc", "legal_name": "Acme", **place},
        "globex-inc": {"id": "globex-inc", "legal_name": "Globex", **place},
    }
    objects["tenant"] = {
        "acme": {"id": "acme", "entity": "acme-inc"},
        "globex": {"id": "globex", "entity": "globex-inc"},
    }
    objects["namespace"] = {"acme-team": {"id": "acme-team", "tenant": "acme"}}
    keys = {"acme": api_key(0)[1], "globex": api_key(1)[1]}
    objects["api_key"] = {body["id"]: {**body, "tenant": tenant} for tenant, body in keys.items()}
    return objects


def acceptance(entity: str, role: str) -> dict[str, dict[str, Any]]:
    """An entity's acceptance of the demonstration license."""
    license_id = packaged_catalog().models[MODEL].licenses[0]
    pin = packaged_catalog().licenses[license_id].text("agreement")
    assert pin is not None
    identifier = f"acc-{entity}-{role}"
    body = {
        "id": identifier,
        "entity": entity,
        "license": license_id,
        "role": role,
        "canonical": "sha256:" + pin.canonical,
        "at": 1_700_000_000.0,
        "flow_down": True,
    }
    return {identifier: body}


def statement(entity: str) -> dict[str, dict[str, Any]]:
    """An entity's statement of monthly active users."""
    license_id = packaged_catalog().models[MODEL].licenses[0]
    body = {"id": f"mau-{entity}", "entity": entity, "license": license_id, "band": "le_700m", "at": 1_700_000_000.0}
    return {f"mau-{entity}": body}


@dataclass
class World:
    """Everything around one gateway."""

    folder: Path
    controlplane: ControlPlane
    kubernetes: KubernetesApi
    triton: Triton
    settings: Settings
    url: str
    app: App | None = None
    runners: list[web.AppRunner] = field(default_factory=list)
    clients: list[openai.AsyncOpenAI] = field(default_factory=list)

    def client(self, number: int = 0, **options: Any) -> openai.AsyncOpenAI:
        """The real SDK, as acme (0) or globex (1)."""
        client = openai.AsyncOpenAI(
            api_key=api_key(number)[0], base_url=self.url + "/v1", max_retries=options.pop("max_retries", 0), **options
        )
        self.clients.append(client)
        return client

    async def another_triton(self, play: Play) -> str:
        """Starts one more Triton of the same deployment; gives its base URL."""
        return await start(Triton(play=play, secret=self.triton.secret).app(), self.runners)

    @asynccontextmanager
    async def gateway(self, *, clock: Clock = SYSTEM, **changes: Any) -> AsyncIterator[App]:
        """A gateway that serves until the block ends."""
        settings = self.settings.model_copy(update=changes)
        async with running(settings, clock=clock) as app:
            server = Server(
                uvicorn.Config(
                    app,
                    port=settings.port,
                    http=bounded(max_head_bytes=settings.max_header_bytes, head_seconds=settings.body_timeout_seconds),
                    lifespan="off",
                    ws="none",
                    log_config=None,
                    access_log=False,
                    date_header=False,
                )
            )
            serving = asyncio.create_task(server.serve())
            self.app = app
            wiring = app._wiring
            await until(lambda: server.started and wiring.routes.synced and wiring.policy.known)
            try:
                yield app
            finally:
                for client in self.clients:
                    await client.close()
                self.clients.clear()
                server.leave()
                await app.finish(5)
                await serving


async def start(app: web.Application, runners: list[web.AppRunner]) -> str:
    """Serve an application; gives its base URL."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    runners.append(runner)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def play() -> SimpleNamespace:
    """What a test needs to write a Triton of its own, and policy bodies."""
    return SimpleNamespace(
        acceptance=acceptance,
        api_key=api_key,
        byte_tokenizer=byte_tokenizer,
        deployment=deployment,
        event=event,
        free_port=free_port,
        platform_key=PLATFORM_KEY,
        statement=statement,
        target=target,
        until=until,
        start=start,
        words=words,
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The surroundings of a gateway, started; the gateway itself is started by the test."""
    runners: list[web.AppRunner] = []
    controlplane = ControlPlane(document=encode_document(byte_tokenizer()), objects=policy_objects())
    triton = Triton(secret=deployment_secret(platform_key=PLATFORM_KEY.encode(), deployment_uid="uid-demo", rotation=0))
    triton_url = await start(triton.app(), runners)
    kubernetes = KubernetesApi({"demo": deployment(name="demo", digest=controlplane.digest, endpoints=[triton_url])})
    cluster = await start(kubernetes.app(), runners)
    port = free_port()
    (tmp_path / "internal").write_text(INTERNAL + "\n")
    (tmp_path / "platform").write_text(PLATFORM_KEY + "\n")
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": cluster}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    (tmp_path / "kubeconfig").write_bytes(msgspec.yaml.encode(kubeconfig))
    settings = Settings(
        port=port,
        metrics_port=free_port(),
        internal_port=free_port(),
        controlplane_url=await start(controlplane.app(), runners),
        internal_token_file=tmp_path / "internal",
        platform_key_file=tmp_path / "platform",
        kubeconfig=tmp_path / "kubeconfig",
        journal_dir=tmp_path / "journal",
        cache_dir=tmp_path / "cache",
        instance="gateway-0",
        ship_linger_seconds=0.01,
    )
    world = World(
        folder=tmp_path,
        controlplane=controlplane,
        kubernetes=kubernetes,
        triton=triton,
        settings=settings,
        url=f"http://127.0.0.1:{port}",
        runners=runners,
    )
    yield world
    for client in world.clients:
        await client.close()
    for runner in runners:
        await runner.cleanup()
