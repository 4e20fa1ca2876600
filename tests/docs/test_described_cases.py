"""docs/operations.md shows what `kubectl describe llamadeployment` says; PADDOCK_RENEW_DOCS=1 writes it.

Each case is played by the operator's own decision, over rounds, on the world of its tests. Times, generations and what
is well before Serving are left out of what is shown.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paddock_core.policy.documents import Tenant
from paddock_core.signals import DeploymentSignal
from paddock_operator.decide.node_faults import NodeFaults
from paddock_operator.gateways import Gateways, GatewayView
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Charged
from paddock_operator.times import format_time

from tests.operator import pairs, worlds
from tests.operator.platforms import CONFIG, licensed

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- played: {name} -->\n```\n", "```\n<!-- end of played -->\n"
OOM = {"exitCode": 1, "reason": "Error", "message": "CUDA out of memory. Tried to allocate 2.00 GiB", "finishedAt": ""}
NODE = "h100-7"
SHOWN = ("Serving", "Routable", "Degraded", "Progressing")
"""Conditions that are shown also where they hold."""


def _small(item: Any) -> Any:
    """A tenant has a quota as one reads of."""
    return replace(item, gpus=8) if isinstance(item, Tenant) and item.gpus else item


def world(**seen: Any) -> Any:
    """A deployment of a GPU model with two copies, licensed."""
    policy = licensed("llama3.2")
    tenants = {name: _small(tenant) for name, tenant in policy.view.tenants.items()}
    return worlds.World(
        config=replace(CONFIG, gateway_url="https://gateway.example", given_gpus=0),
        policy=replace(policy, view=replace(policy.view, tenants=tenants)),
        spec={"model": {"id": "llama-3.2-1b-instruct"}, "replicas": 2},
        inventory=pairs.one_each(),
        **seen,
    )


def fail(made: Any, copy: str) -> None:
    """The engine of a copy ends once more."""
    for pod in made.pods(copy):
        before = (pod["status"].get("containerStatuses") or [{"restartCount": 0}])[0]["restartCount"]
        container = {
            "name": "triton",
            "ready": False,
            "restartCount": before + 1,
            "state": {"running": {"startedAt": format_time(made.now)}},
            "lastState": {"terminated": OOM},
        }
        status = {**pod["status"], "conditions": [], "containerStatuses": [container]}
        placed = {**pod, "spec": {**pod["spec"], "nodeName": NODE}, "status": status}
        made.objects[POD, pod["metadata"]["name"]] = placed


def delayed() -> Any:
    made = world()
    made.rounds()
    copy = made.names(REPLICA_SET)[0]
    for _ in range(2):
        fail(made, copy)
        made.round()
    return made


def given_up() -> Any:
    made = world()
    made.spec = {**made.spec, "replicas": 1}
    made.rounds()
    (copy,) = made.names(REPLICA_SET)
    while made.parsed().copies[:1] == () or made.parsed().copies[0].retry_at:
        fail(made, copy)
        for _ in range(400):
            made.round()
            made.now += 1.0
            made.pods_come(ready=False)
            if not made.parsed().copies[0].retry_at or copy in made.names(REPLICA_SET):
                break
    return made


def lacking() -> Any:
    made = world()
    made.round()
    made.pods_come(ready=False)
    words = "0/9 nodes are available: 9 Insufficient nvidia.com/gpu."
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    for pod in made.pods(made.names(REPLICA_SET)[0]):
        spec = {name: value for name, value in pod["spec"].items() if name != "nodeName"}
        made.objects[POD, pod["metadata"]["name"]] = {**pod, "spec": spec, "status": {"conditions": [said]}}
    made.round()
    return made


def beyond_quota() -> Any:
    made = world(charged=Charged(others=7))
    made.round()
    return made


def behind() -> Any:
    made = world()
    made.rounds()
    signal = DeploymentSignal(name="acme/chat", uid="u1", routing="sha256:former")
    view = GatewayView(instance="gateway-1", heard_at=made.now, age_seconds=1.0, synced=True, signal=signal)
    made.seen["gateways"] = Gateways(configured=True, views=(view,))
    made.round()
    return made


def lost() -> Any:
    made = world()
    made.rounds()
    for pod in made.pods(made.names(REPLICA_SET)[0]):
        made.objects[POD, pod["metadata"]["name"]] = {**pod, "spec": {**pod["spec"], "nodeName": NODE}}
    made.round(faults=NodeFaults(lost={NODE: f"node {NODE} has not answered for 61 s"}))
    return made


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "RestartDelayed": (delayed, "Degraded"),
    "GroupFailed": (given_up, "Serving"),
    "InsufficientGPU": (lacking, "Serving"),
    "GpuQuotaExceeded": (beyond_quota, "QuotaAvailable"),
    "GatewayBehind": (behind, "Routable"),
    "NodeLost": (lost, "Degraded"),
}


def described(made: Any) -> str:
    """The conditions that bear on serving and what is remembered of copies, as `kubectl describe` lays them out."""
    status = made.parsed()
    lines = ["Status:", "  Conditions:"]
    shown = [item for item in status.conditions if item.status != "True" or item.type in SHOWN]
    for item in shown:
        fields = {"Message": item.message, "Reason": item.reason, "Status": item.status, "Type": item.type}
        lines += [f"    {name + ':':9}{value}" for name, value in fields.items()]
    for copy in (item for item in status.copies if item.failed_at or item.evidence):
        lines += ["  Copies:"]
        left = copy.evidence
        if left is not None:
            lines += ["    Evidence:", f"      Container:  {left.container}"] if left.container else ["    Evidence:"]
            lines += [f"      Exit Code:  {left.exit_code}"] if left.exit_code is not None else []
            words = {"Message": left.message, "Node": left.node, "Pod": left.pod, "Reason": left.reason}
            lines += [f"      {name + ':':12}{value}" for name, value in words.items() if value]
        lines += [f"    Failures:  {copy.failures}", f"    Name:      {copy.name}"]
        lines += [f"    Retry At:  {copy.retry_at}"] if copy.retry_at else []
    lines += [f"  Phase:  {status.phase}"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_the_page_shows_what_the_operator_says(name: str) -> None:
    play, kind = CASES[name]
    made = play()
    reasons = {item.type: item.reason for item in made.parsed().conditions}
    assert reasons[kind] == name
    text = PAGE.read_text(encoding="utf-8")
    begin = BEGIN.format(name=name)
    before, rest = text.split(begin)
    after = rest.split(END, 1)[1]
    wanted = f"{before}{begin}{described(made)}{END}{after}"
    if os.environ.get("PADDOCK_RENEW_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted
