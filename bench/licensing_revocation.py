"""Revocation to last served token: real PostgreSQL, control plane and gateway, with tenants that all have streams open.

Triton is the mock of the gateway's bench, which sends a token every 20 ms to each stream; the API server is a list.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
from gateway_world import MOCK, MODEL, world_answers
from ledger import postgres
from paddock_controlplane.migrate import migrate

from gateway import gateway_environment, process

HERE = Path(__file__).parent
ROOT = HERE.parent
GATEWAY, WORLD, CONTROLPLANE = 7710, 7715, 7716
STREAMS = 200
TOKEN_MS = 20
AT_ONCE = 8
SECRETS = ("admin_token", "internal_token", "platform_key", "audit_key")
WATCHED_SECONDS = 3.0
ADDRESS = f"http://127.0.0.1:{CONTROLPLANE}"


class Platform:
    """The control plane's API, and what was made in it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.keys: list[str] = []
        self.acceptances: list[str] = []

    async def call(self, method: str, path: str, body: Any = None, *, token: str = "", raw: bytes | None = None) -> Any:
        """One request; its JSON."""
        headers = {"authorization": f"Bearer {token or secret('admin_token')}"}
        content = {"data": raw} if raw is not None else {"json": body}
        async with self._session.request(method, ADDRESS + path, headers=headers, **content) as answer:
            if answer.status >= 400:
                raise SystemExit(f"{method} {path}: {answer.status} {await answer.text()}")
            return await answer.json() if answer.status != 204 else None

    async def entity(self, name: str, *, operator: bool = False) -> None:
        body = {"id": name, "legal_name": name, "principal_place_of_business": "US", "is_operator": operator}
        await self.call("POST", "/v1/entities", body)

    async def accept(self, entity: str, role: str, *, token: str = "") -> str:
        """The acceptance's id."""
        person = {"name": "Jo Doe", "email": "jo@a.example"}
        asked = {"entity": entity, "model": MODEL, "role": role, "signatory": person}
        offer = await self.call("POST", "/v1/license-offers", asked, token=token)
        users = {"band": "le_700m", "month": "2026-10", "method": "analytics", "affiliates_included": True}
        signed = {
            "person": {**person, "title": "Director", "authority": "sole director"},
            "jurisdiction": "US",
            "agree": True,
            "monthly_active_users": users,
        }
        made = await self.call("POST", "/v1/license-acceptances", signed, token=offer["signatory_token"])
        return str(made["id"])

    async def tenant(self, number: int) -> tuple[str, str]:
        """A tenant that accepted: its key and its acceptance."""
        name = f"t{number}"
        await self.entity(name)
        admin = (await self.call("POST", "/v1/tenants", {"id": name, "entity": name}))["admin_token"]
        await self.call("PUT", f"/v1/tenants/{name}/namespaces/{name}")
        key = (await self.call("POST", f"/v1/tenants/{name}/keys", {}, token=admin))["key"]
        return key, await self.accept(name, "deployer", token=admin)


def secret(name: str) -> str:
    return f"{name} of the benchmark"


async def prepare(platform: Platform, tenants: int, document: bytes) -> None:
    """The operator's license, the tokenizer, and the tenants."""
    await platform.entity("platform", operator=True)
    texts = ROOT / "examples" / "licenses" / "paddock-demo"
    words = {"agreement": (texts / "LICENSE").read_text(), "aup": (texts / "USE_POLICY.md").read_text()}
    await platform.call("POST", "/v1/license-texts", {"license": "paddock-demo", **words})
    await platform.accept("platform", "operator")
    asked = {"verb": "download", "model": MODEL}
    leave = await platform.call("POST", "/internal/v1/decision-tokens", asked, token=secret("internal_token"))
    digest = "sha256:" + hashlib.sha256(document).hexdigest()
    await platform.call("PUT", f"/internal/v1/artifacts/{digest}", token=leave["token"], raw=document)
    numbers = iter(range(tenants))
    made: dict[int, tuple[str, str]] = {}

    async def work() -> None:
        for number in numbers:
            made[number] = await platform.tenant(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    platform.keys = [made[number][0] for number in range(tenants)]
    platform.acceptances = [made[number][1] for number in range(tenants)]


def deployments(answers: dict[str, str], tenants: int) -> dict[str, str]:
    """The API server's list: one deployment a tenant."""
    path = "/apis/paddock.dev/v1alpha1/llamadeployments"
    listing = json.loads(answers[path])
    (one,) = listing["items"]
    listing["items"] = [
        {**one, "metadata": {**one["metadata"], "namespace": f"t{number}", "uid": f"uid-{number}"}}
        for number in range(tenants)
    ]
    return {**answers, path: json.dumps(listing)}


class Customer:
    """A tenant's application: one stream at a time, opened anew when it ends."""

    def __init__(self, session: aiohttp.ClientSession, number: int, key: str) -> None:
        self._session, self._name, self._key = session, f"t{number}/demo", key
        self.last = 0.0
        """When the last token came, by the steady clock."""

    async def stream(self) -> None:
        """Take tokens until cancelled."""
        body = {"model": self._name, "prompt": [1, 2, 3], "max_tokens": 400, "seed": TOKEN_MS, "stream": True}
        headers = {"authorization": f"Bearer {self._key}"}
        while True:
            async with self._session.post(
                f"http://127.0.0.1:{GATEWAY}/v1/completions", json=body, headers=headers
            ) as answer:
                async for line in answer.content:
                    if line.startswith(b"data: {") and b'"choices":[{' in line and b'"text":""' not in line:
                        self.last = time.perf_counter()
            await asyncio.sleep(0.01)


async def measure(platform: Platform, session: aiohttp.ClientSession, times: int) -> list[float]:
    """Seconds from asking for a revocation to the tenant's last token, for each of some tenants."""
    customers = [Customer(session, number, key) for number, key in enumerate(platform.keys[: max(STREAMS, times)])]
    running = [asyncio.create_task(customer.stream()) for customer in customers]
    async with asyncio.timeout(120):
        while not all(customer.last for customer in customers):  # noqa: ASYNC110 - a token is no event of ours
            await asyncio.sleep(0.1)
    found = []
    for number in range(times):
        asked = time.perf_counter()
        await platform.call(
            "POST", f"/v1/license-acceptances/{platform.acceptances[number]}/revoke", {"reason": "the bench"}
        )
        await asyncio.sleep(WATCHED_SECONDS)
        found.append(max(0.0, customers[number].last - asked))
        if time.perf_counter() - customers[-1].last > 1:
            raise SystemExit("the tenants with a license are not served any more: the bench measures nothing")
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return found


async def revocations(folder: Path, *, tenants: int, times: int) -> dict[str, Any]:
    """Set everything up, measure, take it down."""
    work = folder / "revocations"
    work.mkdir()
    environment = gateway_environment(work)
    answers = world_answers()
    document = next(text for path, text in answers.items() if path.startswith("/internal/v1/artifacts/")).encode()
    (work / "world.json").write_text(json.dumps(deployments(answers, tenants)))
    for name in SECRETS:
        (work / name).write_text(secret(name))
    (work / "token").write_text(secret("internal_token"))
    environment["PADDOCK_GATEWAY_CONTROLPLANE_URL"] = ADDRESS
    python, mock = sys.executable, str(HERE / "gateway_mock.py")
    with ExitStack() as stack:
        dsn = stack.enter_context(postgres(work))
        await migrate(dsn)
        settings = {f"PADDOCK_CONTROLPLANE_{name.upper()}_FILE": str(work / name) for name in SECRETS}
        settings |= {"PADDOCK_CONTROLPLANE_DATABASE_URL": dsn, "PADDOCK_CONTROLPLANE_PORT": str(CONTROLPLANE)}
        settings |= {"PADDOCK_CONTROLPLANE_ARTIFACTS_DIR": str(work / "artifacts"), "PATH": os.environ["PATH"]}
        program = [str(Path(python).with_name("paddock-controlplane")), "serve"]
        run = stack.enter_context
        run(process(program, core=1, port=CONTROLPLANE, log=work / "controlplane.log", env=settings))
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            platform = Platform(session)
            await prepare(platform, tenants, document)
            run(
                process(
                    [python, mock, "world", str(WORLD), str(work / "world.json")], core=1, port=WORLD, log=work / "w"
                )
            )
            run(process([python, mock, "triton", str(MOCK)], core=1, port=MOCK, log=work / "t"))
            gateway = [python, "-m", "paddock_gateway.main"]
            run(process(gateway, core=0, port=GATEWAY, log=work / "gateway.log", env=environment))
            found = await measure(platform, session, times)
    return {"last_token": found, "streams": min(STREAMS, tenants)}
