"""One run of `bench/scale.py`: every size in turn, then what is asked of an operator that holds the largest."""

import asyncio
import contextlib
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import scale_players as players
import scale_process as process
from paddock_core.catalog.types import WeightFile, WeightSet
from paddock_core.policy.documents import Acceptance, Entity, Namespace, RegisteredModel, Statement, Tenant
from paddock_core.resources import names
from paddock_local import gpu_nodes
from paddock_local.bare_kubernetes import free_ports
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import ALL as KINDS
from paddock_operator.kinds import (
    JOB,
    LLAMA_DEPLOYMENT,
    NAMESPACE,
    NODE,
    POD,
    SECRET,
    Kind,
    kind_of,
)
from scale_world import load, requests

NAMESPACES = 50
WRITERS = 8
"""As many as the operator's workers."""
GROUP_EVERY = 50
"""Every so many-th deployment is a group of two pods."""
MODEL = "bench-model"
STORM_PER_MINUTE = 10_000
STORM = "bench.paddock.dev/Storm"
SECONDS = 600.0
REST_SECONDS = 30.0
RESYNC_SECONDS = 40


@dataclass(kw_only=True)
class Result:
    """What one size took."""

    deployments: int
    applied: float = 0.0
    """Seconds from the first to the last apply."""
    converged: float = 0.0
    """Seconds from the last apply until all serve."""
    whole: float = 0.0
    """Seconds from the first apply until all serve."""
    bare: float = 0.0
    """Seconds that the bare client took, from its first write until all pods were ready."""
    gone: float = 0.0
    rounds: int = 0
    resident_mib: float = 0.0
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    bare_requests: int = 0
    cpu_of: dict[str, float] = field(default_factory=dict)
    """CPU seconds of each program from the first apply until all serve."""
    bare_cpu_of: dict[str, float] = field(default_factory=dict)
    """The same while the bare client writes and its pods come up."""
    routable: bool = False


@dataclass(kw_only=True)
class World:
    """What everything below works with."""

    api: Any
    folder: Path
    admin: LightkubeCluster
    bare: LightkubeCluster
    operator: process.OperatorProcess
    deployments: players.Follower
    pods: players.Follower
    gateway: players.Gateway


async def run(
    api: Any,
    folder: Path,
    *,
    sizes: list[int],
    shapes: list[str],
    subnet: IPv4Network,
    storm_seconds: int,
    profile: Path | None = None,
) -> tuple[list[Result], dict[str, float]]:
    """All sizes, and the figures of the largest by name."""
    policy_server = load("policy_server")
    policy = policy_server.PolicyServer()
    policy.put(*_policy(policy_server))
    results: list[Result] = []
    async with contextlib.AsyncExitStack() as parts:
        await parts.enter_async_context(players.tritons(subnet, count=max(sizes) * 2 + 64))
        with free_ports() as port:
            await parts.enter_async_context(policy_server.serving(policy, port=port))
            gateway = players.Gateway()
            await parts.enter_async_context(players.serving(gateway, port=port + 1))
            operator = process.OperatorProcess(
                kubeconfig=api.kubeconfigs["operator"], folder=folder, port=port + 2, policy_url=policy.url,
                token=policy_server.TOKEN, gateway_url=f"http://127.0.0.1:{port + 1}",
                profile=profile,
            )  # fmt: skip
            world = await parts.enter_async_context(_world(api, folder, operator, gateway))
            parts.push_async_callback(operator.stop)
            await _make_nodes(world, shapes)
            await operator.start()
            await _prepare(world)
            extra: dict[str, float] = {}
            for size in sizes:
                results.append(await _size(world, size))
                if size == max(sizes):
                    extra = await _largest(world, size, storm_seconds=storm_seconds)
                children = await _children(world)
                results[-1].gone = await _delete(world, size)
                await operator.stop()
                await _bare_client(world, results[-1], children)
                await operator.start()
    return results, extra


@contextlib.asynccontextmanager
async def _world(
    api: Any, folder: Path, operator: process.OperatorProcess, gateway: players.Gateway
) -> AsyncIterator[World]:
    clusters = [LightkubeCluster(connect(api.kubeconfigs[user]), may_write=lambda: None) for user in ("bench", "bare")]
    deployments = players.Follower(clusters[0], LLAMA_DEPLOYMENT)
    deployments.heard = gateway.hear
    pods = players.Follower(clusters[0], POD, selector=names.SELECTOR)
    tasks = [asyncio.create_task(follower.run()) for follower in (deployments, pods)]
    yield World(
        api=api, folder=folder, admin=clusters[0], bare=clusters[1], operator=operator, deployments=deployments,
        pods=pods, gateway=gateway,
    )  # fmt: skip
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for cluster in clusters:
        await cluster.close()


def _policy(policy_server: Any) -> Iterable[Any]:
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


def deployment(size: int, number: int) -> dict[str, Any]:
    """One of them; every GROUP_EVERY-th is the smallest group there is, of two nodes."""
    grouped = number % GROUP_EVERY == GROUP_EVERY - 1
    spec: dict[str, Any] = {
        "model": {"id": MODEL},
        "engine": {"type": "LLMAPI", "contextLength": 2048, "maxConcurrency": 2},
        "parallelism": {"tensor": 1, "pipeline": 2 if grouped else 1},
        "placement": {"gpu": "L40S-48" if grouped else "H100-80"},
    }
    metadata = {"namespace": f"t{number % NAMESPACES:02}", "name": f"s{size}-{number:04}"}
    return {"apiVersion": "paddock.dev/v1alpha1", "kind": "LlamaDeployment", "metadata": metadata, "spec": spec}


async def _make_nodes(world: World, shapes: list[str]) -> None:
    """Nodes of these shapes (`1000xH100-80x8`), all of them ready."""
    nodes = gpu_nodes.documents(gpu_nodes.parse_all(shapes))
    await _side_by_side([lambda node=node: world.admin.create(node) for node in nodes])  # type: ignore[misc]
    deadline = time.monotonic() + SECONDS
    while not all(map(_ready, (await world.admin.list(NODE)).items)):
        assert time.monotonic() < deadline, "the nodes are not ready"
        await asyncio.sleep(1)
    process.note(f"{len(nodes)} nodes are ready")


async def _prepare(world: World) -> None:
    """The tenants' namespaces, and the model's weights: one deployment asks for them, a player ends their Job."""
    for number in range(NAMESPACES):
        await world.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"t{number:02}"}})
    await world.admin.create(deployment(0, 0))
    pods = world.pods.objects
    await _until(lambda: any(place[0] == names.WEIGHTS_NAMESPACE for place in pods), what="a pod of the weights' Job")
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
    await _until(lambda: _served(world, 1), what="the first deployment to serve")
    await _delete(world, 1)


def _served(world: World, count: int) -> bool:
    return sum(_converged(item) for item in world.deployments.objects.values()) >= count


def _converged(item: dict[str, Any]) -> bool:
    status = item.get("status", {})
    found = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    whole = status.get("observedGeneration") == item["metadata"]["generation"]
    return whole and found.get("Serving") == "True" and found.get("Routable", "True") == "True"


async def _size(world: World, size: int) -> Result:
    """Apply so many, and wait until all serve."""
    result, since, cpu = Result(deployments=size), _now(), process.cpu_of_all()
    rounds = await _counted(world)
    begin = time.monotonic()
    await _side_by_side([lambda n=n: world.admin.create(deployment(size, n)) for n in range(size)])  # type: ignore[misc]
    applied = time.monotonic()
    await _until(lambda: _served(world, size), what=f"{size} deployments to serve", progress=lambda: _standing(world))
    done = time.monotonic()
    result.applied, result.converged, result.whole = applied - begin, done - applied, done - begin
    result.cpu_of, result.resident_mib = _since(cpu), world.operator.resident_mib()
    result.rounds = await _counted(world) - rounds
    result.requests = requests(world.folder, user="paddock-operator", since=since, until=_now())
    any_one = next(iter(world.deployments.objects.values()))
    result.routable = any(item["type"] == "Routable" for item in any_one["status"]["conditions"])
    process.note(f"{size} deployments: {result.whole:.1f} s, {sum(result.requests.values()) / size:.1f} requests each")
    return result


def _since(before: dict[str, float]) -> dict[str, float]:
    """CPU seconds of each program since then."""
    return {name: seconds - before.get(name, 0.0) for name, seconds in process.cpu_of_all().items()}


def _standing(world: World) -> str:
    found = list(world.deployments.objects.values())
    pods = sum(1 for pod in world.pods.objects.values() if _ready(pod))
    return f"{sum(map(_converged, found))} of {len(found)} serve, {pods} of {len(world.pods.objects)} pods ready"


async def _largest(world: World, size: int, *, storm_seconds: int) -> dict[str, float]:
    """A while of rest, a storm of child events, a start with all of them there, and a resync without news."""
    extra = {"at rest, CPU s a minute (a token from each pod every 30 s)": await _spent(world, REST_SECONDS) * 60}
    process.note("at rest: looked at; now a storm of child events")
    extra |= await _storm(world, storm_seconds)
    process.note("the operator starts anew")
    await world.operator.stop()
    begin = time.monotonic()
    await world.operator.start(RESYNC_SECONDS=str(RESYNC_SECONDS), PROBE_INTERVAL_SECONDS="3600")
    await _rounds(world, size)
    extra["cold start until all are looked at, s"] = time.monotonic() - begin
    process.note("all are looked at; now rest, then a resync")
    extra["cold start, CPU s"] = world.operator.cpu_seconds()
    await asyncio.sleep(REST_SECONDS / 2)
    extra["a resync without news and all lists anew, CPU s"] = await _spent(world, RESYNC_SECONDS) * RESYNC_SECONDS
    extra["file descriptors"] = world.operator.descriptors()
    extra["resident at most, MiB"] = world.operator.resident_mib()
    return extra


async def _spent(world: World, seconds: float) -> float:
    """The operator's CPU seconds in each second of a while."""
    before, begin = world.operator.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    return (world.operator.cpu_seconds() - before) / (time.monotonic() - begin)


async def _counted(world: World) -> int:
    return int((await world.operator.metrics()).get("paddock_operator_rounds_total", 0))


async def _rounds(world: World, count: int) -> None:
    """Wait until the operator has made so many rounds since it started."""
    deadline = time.monotonic() + SECONDS
    while await _counted(world) < count:
        assert time.monotonic() < deadline, "the rounds did not come to their end"
        await asyncio.sleep(0.25)


async def _storm(world: World, seconds: int) -> dict[str, float]:
    """10,000 changes of pods a minute, each of a condition in the status, which nobody of us may overlook."""
    before, cpu = await world.operator.metrics(), world.operator.cpu_seconds()
    places = [place for place in world.pods.objects if place[0] != names.WEIGHTS_NAMESPACE]
    total, begin = STORM_PER_MINUTE * seconds // 60, time.monotonic()
    slots = asyncio.Semaphore(WRITERS)

    async def touch(number: int) -> None:
        namespace, name = places[number % len(places)]
        said = {"type": STORM, "status": "True", "reason": "Bench", "message": str(number)}
        async with slots:
            await world.admin.apply(_pod_status(namespace, name, [said]), subresource="status")

    async with asyncio.TaskGroup() as tasks:
        for number in range(total):
            await asyncio.sleep(max(0.0, begin + number * 60 / STORM_PER_MINUTE - time.monotonic()))
            tasks.create_task(touch(number))
    took = time.monotonic() - begin
    after = await world.operator.metrics()
    return {
        "child events a minute": total / took * 60,
        "storm, CPU s a minute": (world.operator.cpu_seconds() - cpu) / took * 60,
        "key age p99, s": process.quantile(before, after, "paddock_operator_queue_wait_seconds", 0.99),
        "event loop lag p99, s": process.quantile(before, after, "paddock_operator_loop_lag_seconds", 0.99),
    }


def _pod_status(namespace: str, name: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"conditions": conditions}}


async def _children(world: World) -> list[list[dict[str, Any]]]:
    """What the operator wrote for each deployment, ready to be written again: the bare client's work."""
    by_owner: dict[tuple[str, str], list[dict[str, Any]]] = {}
    shared: list[dict[str, Any]] = []
    for kind in KINDS:
        for item in await _listed(world, kind):
            labels = item["metadata"].get("labels") or {}
            owner = labels.get(names.DEPLOYMENT_NAMESPACE, ""), labels.get(names.DEPLOYMENT_NAME, "")
            if kind not in (POD, JOB, NAMESPACE) and not item["metadata"].get("ownerReferences"):
                if all(owner):
                    by_owner.setdefault(owner, []).append(_again(item))
                elif item["metadata"].get("namespace") != names.WEIGHTS_NAMESPACE:
                    shared.append(_again(item))
    statuses = {place: item.get("status", {}) for place, item in world.deployments.objects.items()}
    found = [[*items, _status(owner, statuses[owner])] for owner, items in by_owner.items() if owner in statuses]
    return [shared, *found]


async def _listed(world: World, kind: Kind) -> list[dict[str, Any]]:
    try:
        return (await world.admin.list(kind, selector=names.SELECTOR)).items
    except NotFoundError:
        return []


def _again(item: dict[str, Any]) -> dict[str, Any]:
    metadata = {name: item["metadata"].get(name) for name in ("name", "namespace", "labels", "annotations")}
    bare = {name: value for name, value in item.items() if name != "status"}
    return {**bare, "metadata": {name: value for name, value in metadata.items() if value}}


def _status(owner: tuple[str, str], status: dict[str, Any]) -> dict[str, Any]:
    metadata = {"namespace": owner[0], "name": owner[1]}
    kind = {"apiVersion": LLAMA_DEPLOYMENT.api_version, "kind": LLAMA_DEPLOYMENT.name}
    return {**kind, "metadata": metadata, "status": status}


async def _bare_client(world: World, result: Result, children: list[list[dict[str, Any]]]) -> None:
    """The same objects by a client that thinks nothing: each deployment's in order, as many side by side as workers.
    Of the custom resources it writes the last status once."""
    size = result.deployments
    await _side_by_side([lambda n=n: world.admin.create(deployment(size, n)) for n in range(size)])  # type: ignore[misc]
    shared, *own = children
    since, begin, cpu = _now(), time.monotonic(), process.cpu_of_all()
    for item in shared:
        await world.bare.apply(item)

    async def write(items: list[dict[str, Any]]) -> None:
        for item in items:
            ours = kind_of(item) == LLAMA_DEPLOYMENT
            await world.bare.apply(item, subresource="status" if ours else "")

    await _side_by_side([lambda items=items: write(items) for items in own])  # type: ignore[misc]
    groups = sum(1 for number in range(size) if number % GROUP_EVERY == GROUP_EVERY - 1)
    await _until(
        lambda: _running(world) >= size + groups, what="the bare client's pods", progress=lambda: _standing(world)
    )
    result.bare, result.bare_cpu_of = time.monotonic() - begin, _since(cpu)
    result.bare_requests = sum(requests(world.folder, user="bare-client", since=since, until=_now()).values())
    process.note(f"bare client: {result.bare:.1f} s, {result.bare_requests / size:.1f} requests each")
    removals = [
        lambda item=item: world.admin.delete(  # type: ignore[misc]
            kind_of(item), namespace=item["metadata"].get("namespace"), name=item["metadata"]["name"]
        )
        for items in own
        for item in items
        if kind_of(item) != SECRET
    ]
    await _side_by_side(removals)
    await _until(lambda: _running(world) == 0, what="the bare client's pods to go")


def _running(world: World) -> int:
    pods = world.pods.objects.items()
    return sum(1 for place, pod in pods if place[0] != names.WEIGHTS_NAMESPACE and _ready(pod))


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


async def _delete(world: World, size: int) -> float:
    """Delete all deployments; the seconds until they are gone."""
    begin = time.monotonic()
    places = list(world.deployments.objects)
    deletes = [
        lambda place=place: world.admin.delete(LLAMA_DEPLOYMENT, namespace=place[0], name=place[1])  # type: ignore[misc]
        for place in places
    ]
    await _side_by_side(deletes)
    await _until(lambda: not world.deployments.objects, what=f"{size} deployments to go")
    process.note(f"{size} deployments are gone after {time.monotonic() - begin:.1f} s")
    return time.monotonic() - begin


async def _side_by_side(calls: list[Callable[[], Any]]) -> None:
    slots = asyncio.Semaphore(WRITERS)

    async def one(call: Callable[[], Any]) -> None:
        async with slots:
            await call()

    await asyncio.gather(*map(one, calls))


async def _until(holds: Callable[[], bool], *, what: str, progress: Callable[[], str] | None = None) -> None:
    begin = told = time.monotonic()
    while not holds():
        now = time.monotonic()
        if now - begin > SECONDS:
            raise TimeoutError(f"{what}: not within {SECONDS:.0f} s" + (f", {progress()}" if progress else ""))
        if progress and now - told > 10:
            told = now
            process.note(f"{now - begin:.0f} s: {progress()}")
        await asyncio.sleep(0.1)


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
