"""What stands before anything is measured by `bench/scale.py`: nodes, policy, namespaces, the model's weights."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import Iterable
from typing import Any

import scale_process as process
from paddock_core.catalog.types import WeightFile, WeightSet
from paddock_core.policy.documents import Acceptance, Entity, Namespace, RegisteredModel, Statement, Tenant
from paddock_core.resources import names
from paddock_local import gpu_nodes
from paddock_operator.kinds import NODE
from scale_parts import MODEL, NAMESPACES, SECONDS, World, deployment, ready, side_by_side, until
from scale_world import load


def policy(policy_server: Any) -> Iterable[Any]:
    """The platform, a tenant for each namespace, and one model of the platform's own that runs on GPUs."""
    yield Entity(id="platform", legal_name="Platform Ltd", principal_place_of_business="IE", is_operator=True)
    yield from policy_server.texts("paddock-demo")
    yield from policy_server.accepted("platform", role="operator")
    weights = WeightSet(
        format="safetensors", bytes=269_060_552, source={"kind": "huggingface", "repository": "bench/model"},
        revision="0" * 40, files=(WeightFile(name="model.safetensors", bytes=269_060_552, sha256="0" * 64),),
    )  # fmt: skip
    yield RegisteredModel(
        id=MODEL, base="smollm2-135m-instruct", public_name="Demo-Bench", precision="bf16", weights=weights
    )
    for number in range(NAMESPACES):
        tenant = f"t{number:02}"
        yield Entity(id=f"{tenant}-inc", legal_name=f"Tenant {number} Inc", principal_place_of_business="IE")
        yield Tenant(id=tenant, entity=f"{tenant}-inc", gpus=10_000)
        yield Namespace(id=tenant, tenant=tenant)
        accepted: list[Acceptance | Statement] = policy_server.accepted(f"{tenant}-inc")
        yield from accepted


async def make_nodes(world: World, shapes: list[str]) -> None:
    """Nodes of these shapes (`1000xH100-80x8`), all of them ready."""
    nodes = gpu_nodes.documents(gpu_nodes.parse_all(shapes))
    await side_by_side([lambda node=node: world.admin.create(node) for node in nodes])  # type: ignore[misc]
    deadline = time.monotonic() + SECONDS
    while not all(map(ready, (await world.admin.list(NODE)).items)):
        assert time.monotonic() < deadline, "the nodes are not ready"
        await asyncio.sleep(1)
    process.note(f"{len(nodes)} nodes are ready")


async def prepare(world: World) -> None:
    """The tenants' namespaces, and the model's weights: one deployment asks for them, a player ends their Job."""
    for number in range(NAMESPACES):
        await world.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"t{number:02}"}})
    await world.admin.create(deployment(0, 0))
    pods = world.pods.objects
    await until(lambda: any(place[0] == names.WEIGHTS_NAMESPACE for place in pods), what="a pod of the weights' Job")
    namespace, name = next(place for place in pods if place[0] == names.WEIGHTS_NAMESPACE)
    result = load("cluster_parts").RESULT
    container = pods[namespace, name]["spec"]["containers"][0]
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"exitCode": 0, "reason": "Completed", "message": result, "startedAt": now, "finishedAt": now}
    said = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Succeeded", "startTime": now, "containerStatuses": [{**said, "state": {"terminated": ended}}]}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    done = await asyncio.to_thread(world.api.kubectl, "patch", "pod", name, "-n", namespace, *patch)
    assert done.returncode == 0, done.stderr
    await until(lambda: bool(world.told.serving), what="the first deployment to serve")
