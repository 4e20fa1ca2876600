"""How fast a license is decided, how much of a gateway a large policy fills, how soon a revocation ends the last token.

Usage: python bench/licensing.py [--tenants 1000] [--revocations 20] [--snapshot-tenants 10000]
"""

import argparse
import asyncio
import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from gateway_world import policy, world_answers
from licensing_revocation import revocations
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.decide import decide
from paddock_core.licensing.index import index_of
from paddock_core.licensing.types import Request, Role, Verb
from paddock_core.policy.documents import ApiKey, Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change, ReceivedSnapshot
from paddock_gateway.authenticate import Caller
from paddock_gateway.deployments import Deployment
from paddock_gateway.policy_copy import CONFIRMED
from paddock_gateway.route import LicenseGate, Target

from gateway import gateway_environment, process, resident_mb, wait_ready

HERE = Path(__file__).parent
GATEWAY, WORLD = 7710, 7715
LICENSES = 20
NOW = 1_800_000_000.0
MODEL = "llama-3.1-8b-instruct"
CACHED, UNCACHED = 200_000, 2_000


def snapshot(tenants: int) -> bytes:
    """The policy of so many tenants, each its own entity, which accepted 20 licenses and stated its users for each."""
    base = policy(1)
    objects: dict[str, dict[str, Any]] = base["objects"]
    catalog = packaged_catalog().licenses
    words = {name: _words(entry) for name, entry in catalog.items() if entry.texts}
    while len(words) < LICENSES:
        words[f"another-{len(words)}"] = ("sha256:" + os.urandom(32).hex(), "sha256:" + os.urandom(32).hex())
    for name in catalog:
        for pin in catalog[name].texts:
            digest = "sha256:" + pin.canonical
            text = {"id": f"{name}:{pin.role}", "license": name, "role": pin.role, "raw": digest, "canonical": digest}
            objects["license_text"][text["id"]] = text
    for name in words:
        _accept(objects, "platform", name, "operator", words[name])
    for number in range(tenants):
        tenant, entity, key = f"customer-{number}", f"customer-{number}-inc", f"{number:012d}"
        objects["entity"][entity] = {
            "id": entity,
            "legal_name": f"Customer {number}",
            "principal_place_of_business": "US",
        }
        objects["tenant"][tenant] = {"id": tenant, "entity": entity}
        objects["namespace"][tenant] = {"id": tenant, "tenant": tenant}
        objects["api_key"][key] = {"id": key, "tenant": tenant, "secret_sha256": os.urandom(32).hex()}
        for name in list(words)[:LICENSES]:
            _accept(objects, entity, name, "deployer", words[name])
    return json.dumps(base).encode()


def _words(entry: Any) -> tuple[str, str]:
    aup = entry.text("aup")
    return "sha256:" + entry.texts[0].canonical, "" if aup is None else "sha256:" + aup.canonical


def _accept(objects: dict[str, Any], entity: str, name: str, role: str, words: tuple[str, str]) -> None:
    """As the control plane tells it: every field."""
    acceptance = {
        "id": f"acc-{os.urandom(6).hex()}",
        "entity": entity,
        "license": name,
        "role": role,
        "at": NOW - 1e6,
        "canonical": words[0],
        "aup": words[1],
        "state": "active",
        "flow_down": True,
    }
    statement = {
        "id": f"sta-{os.urandom(6).hex()}",
        "entity": entity,
        "license": name,
        "band": "le_700m",
        "at": NOW - 1e6,
        "value": None,
        "current": None,
        "affiliates": [],
    }
    objects["acceptance"][acceptance["id"]] = acceptance
    objects["statement"][statement["id"]] = statement


def gate_question(number: int) -> tuple[Target, Caller]:
    """A customer that calls its own deployment."""
    tenant = Tenant(id=f"customer-{number}", entity=f"customer-{number}-inc")
    deployment = Deployment(
        name=f"{tenant.id}/chat", namespace=tenant.id, uid="u", created=0, model=MODEL, purpose="commercial",
        declined=False, access=frozenset(),
    )  # fmt: skip
    key = ApiKey(id="k", tenant=tenant.id, secret_sha256="")
    return Target(deployment=deployment, owner=tenant), Caller(key=key, tenant=tenant, levels=(), revision=1)


def decisions(body: bytes, tenants: int) -> dict[str, float]:
    """Microseconds of CPU of a decision that is kept and of one that is not, milliseconds of a change of the policy."""
    view = PolicyView.from_received(msgspec.json.decode(body, type=ReceivedSnapshot))
    catalog, facts = packaged_catalog(), view.facts()
    index_of(facts)
    gc.collect()
    gc.freeze()
    spent = []
    for number in range(min(UNCACHED, tenants)):
        entity = f"customer-{number}-inc"
        request = Request(entity=entity, role=Role.DEPLOYER, verb=Verb.INVOKE, model=MODEL, at=NOW)
        began = time.thread_time()
        answer = decide(request=request, facts=facts, catalog=catalog)
        spent.append(time.thread_time() - began)
        if not answer.allowed:
            raise SystemExit(f"the bench's own policy denies: {answer.message}")
    gate, (target, caller) = LicenseGate(catalog=catalog), gate_question(tenants - 1)
    gate.check(target=target, model=MODEL, caller=caller, view=view, now=NOW)
    began = time.thread_time()
    for _ in range(CACHED):
        gate.check(target=target, model=MODEL, caller=caller, view=view, now=NOW)
    cached = (time.thread_time() - began) / CACHED
    return {
        "cached_us": cached * 1e6,
        "uncached_us": statistics.median(spent) * 1e6,
        "change_ms": statistics.median(_change(view, number) for number in range(20)) * 1e3,
    }


def _change(view: PolicyView, number: int) -> float:
    """Seconds until a gateway decides by a view with one record more."""
    body = {"id": "acc-new", "entity": f"customer-{number}-inc", "license": "llama3.1", "role": "deployer", "at": NOW}
    began = time.thread_time()
    changed = view.apply(
        [Change(revision=view.revision + 1, kind="acceptance", id="acc-new", body={**body, "canonical": "x"})]
    )
    index_of(changed.facts())
    return time.thread_time() - began


def gateway_megabytes(body: bytes, folder: Path) -> float:
    """What a real gateway's process holds once it follows this policy."""
    folder.mkdir()
    answers = {**world_answers(), "/internal/v1/policy": body.decode()}
    (folder / "world.json").write_text(json.dumps(answers))
    environment = gateway_environment(folder)
    mock = [sys.executable, str(HERE / "gateway_mock.py"), "world", str(WORLD), str(folder / "world.json")]
    gateway = [sys.executable, "-m", "paddock_gateway.main"]
    with (
        process(mock, core=1, port=WORLD, log=folder / "world.log"),
        process(gateway, core=0, port=GATEWAY, log=folder / "gateway.log", env=environment) as pid,
    ):
        wait_ready()
        while not (folder / "cache" / CONFIRMED).exists():
            time.sleep(0.1)
        time.sleep(3)
        return resident_mb(pid)


def table(found: dict[str, Any], arguments: argparse.Namespace) -> str:
    """The figures for people."""
    size = f"{arguments.snapshot_tenants:,} tenants x {LICENSES} licenses"
    rows = [
        ("a decision that is kept", f"{found['cached_us']:.1f} µs of CPU", "5 µs"),
        (f"a decision that is not ({size})", f"{found['uncached_us']:.0f} µs of CPU", "200 µs"),
        (f"the policy of {size} in a gateway", f"{found['snapshot_mb']:.0f} MB resident", "50 MB"),
        ("a change of that policy, until decisions rest on it", f"{found['change_ms']:.0f} ms of CPU", ""),
    ]
    if "last_token" in found:
        worst, median = max(found["last_token"]), statistics.median(found["last_token"])
        name = f"revocation to last served token, {arguments.tenants:,} tenants, {found['streams']} streams under way"
        rows.append((name, f"{median:.2f} s (worst {worst:.2f} of {len(found['last_token'])})", "2 s"))
    return "\n".join(["| measure | figure | target |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tenants", type=int, default=1000, help="tenants of the revocation's platform; 0 leaves it out"
    )
    parser.add_argument("--revocations", type=int, default=20)
    parser.add_argument("--snapshot-tenants", type=int, default=10_000)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bl-"))
    try:
        body = snapshot(arguments.snapshot_tenants)
        small = gateway_megabytes(json.dumps(policy(1)).encode(), folder / "small")
        large = gateway_megabytes(body, folder / "large")
        found: dict[str, Any] = {"snapshot_mb": large - small, **decisions(body, arguments.snapshot_tenants)}
        del body
        if arguments.tenants:
            found |= asyncio.run(revocations(folder, tenants=arguments.tenants, times=arguments.revocations))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    (HERE / "results" / "licensing.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, arguments))


if __name__ == "__main__":
    main()
