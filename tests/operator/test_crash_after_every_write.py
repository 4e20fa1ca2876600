"""A process that dies after any single write leaves a state from which the next one reaches the same end."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.benchmarking import BenchmarkBook
from paddock_operator.cache import Cache
from paddock_operator.cache_use import CacheBook
from paddock_operator.configured import config_of
from paddock_operator.documents import Documents
from paddock_operator.errors import ConflictError
from paddock_operator.execute import Executor
from paddock_operator.gather import Gatherer
from paddock_operator.gpu_quota import GpuLedger, Mark
from paddock_operator.kinds import LLAMA_DEPLOYMENT
from paddock_operator.lanes import Lanes
from paddock_operator.ports import Key, Policy
from paddock_operator.probing import ProbeBook
from paddock_operator.reconcile import Reconciler
from paddock_operator.report import Reporter
from paddock_operator.signals_book import SignalBook
from paddock_operator.weights_progress import ProgressBook

from tests.operator.platforms import view_of

MODEL = packaged_catalog().models["smollm2-135m-instruct"]
JOB = names.weights_job_name(names.model_digest(MODEL, precision=MODEL.default_precision))
WRITES = ("apply", "merge", "create", "replace", "delete")


class Died(BaseException):
    """Stands for SIGKILL: nothing of the program catches it."""


class Dying:
    """A real cluster that dies after so many writes."""

    def __init__(self, cluster: LightkubeCluster, writes_left: int) -> None:
        self._cluster = cluster
        self._left = writes_left
        self.writes = 0
        self.written: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)
        if name not in WRITES:
            return method

        async def counted(*arguments: Any, **named: Any) -> Any:
            result = await method(*arguments, **named)
            self.writes += 1
            self.written.append(f"{name} {_what(arguments, named)}")
            if self.writes == self._left:
                raise Died
            return result

        return counted


def _what(arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    first = arguments[0]
    if isinstance(first, dict):
        return f"{first['kind']} {first['metadata']['name']} {named.get('subresource', '')}"
    return f"{first.name} {named['name']}"


class Licensed:
    """A policy under which acme may deploy the demo model."""

    def __init__(self, objects: list[Any]) -> None:
        self._view = view_of(objects)

    def current(self) -> Policy:
        return Policy(view=self._view, expired=False, at=time.time())


class NoProbes:
    async def generates(self, *, url: str, secret: str) -> str | None:
        return "not asked in this test"


class NoProgress:
    async def read(self, *, url: str) -> None:
        return None


class NoCaches:
    async def used(self, *, url: str) -> float | None:
        return None


class NoBenchmarks:
    async def measure(self, *, url: str, secret: str, load: Any) -> Any:
        raise AssertionError("not tried in this test")


class Unmeasured:
    def round(self, key: Key) -> Any:
        return contextlib.nullcontext()


class Tokens:
    async def download_token(self, *, model: str, entity: str) -> str:
        return f"token-for-{model}-of-{entity}"

    async def refer(self, *, entity: str, model: str, weights: str, tokenizer: str) -> None:
        pass

    async def start_purge(self, *, purge: str) -> str | None:
        return f"token-for-{purge}"

    async def tell_denials(self, denials: Any) -> None:
        pass

    async def tell_pod_times(self, sightings: Any) -> None:
        pass


@contextlib.asynccontextmanager
async def life(settings: Any, policy: Any, writes_left: int) -> AsyncIterator[Any]:
    """One life of the process, without kopf: caches, and a function that runs a round."""
    clock = SystemClock()
    real = LightkubeCluster(connect(settings.kubeconfig), may_write=lambda: None)
    cluster = Dying(real, writes_left)
    config = replace(config_of(settings), given_gpus=1000)
    cache = Cache(cluster=real, clock=clock, changed=lambda _key: None, job_changed=lambda _job: None)
    documents = Documents(cluster=real, clock=clock, changed=lambda _document, _gone: None)
    reflectors = (documents.reflector, *cache.reflectors())
    lanes = Lanes()
    probes = ProbeBook(prober=NoProbes(), clock=clock, interval_seconds=1.0, lanes=lanes, changed=lambda _key: None)
    ledger = GpuLedger(given=config.given_gpus, term=lambda: 1, wake=lambda _key: None)
    ledger.listed((await real.list(LLAMA_DEPLOYMENT)).items, Mark(set(), 1))
    gatherer = Gatherer(
        cluster=cluster,
        cache=cache,
        documents=documents,
        policy=policy,
        catalog=packaged_catalog(),
        probes=probes,
        progress=ProgressBook(reader=NoProgress(), clock=clock, lanes=lanes),
        signals=SignalBook(clock=clock, wake=lambda _key: None, configured=False),
        ledger=ledger,
        caches=CacheBook(reader=NoCaches(), clock=clock, lanes=lanes),
        benchmarks=BenchmarkBook(bencher=NoBenchmarks(), clock=clock, load=None, changed=lambda _key: None),
        clock=clock,
        platform_key=config.platform_key,
    )
    executor = Executor(cluster=cluster, control_plane=Tokens(), cache=cache, documents=documents, config=config)
    reporter = Reporter(cluster=cluster, documents=documents, gateway_url="http://gateway.test")

    reconciler = Reconciler(
        gatherer=gatherer,
        documents=documents,
        executor=executor,
        reporter=reporter,
        ledger=ledger,
        config=config,
        telemetry=Unmeasured(),  # type: ignore[arg-type]
        denied=lambda _observed, _outcome: None,
    )

    async def round_(key: Key) -> list[str]:
        before = cluster.writes
        with contextlib.suppress(ConflictError):
            await reconciler.reconcile(key)
        return cluster.written[before:]

    watches = [asyncio.create_task(lanes.run()), *(asyncio.create_task(reflector.run()) for reflector in reflectors)]
    try:
        for reflector in reflectors:
            await reflector.synced.wait()
        yield round_
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await real.close()


async def settle(round_: Any, key: Key, *, idle: int = 3) -> None:
    """Rounds until several in a row write nothing (the caches lag behind the writes a little)."""
    quiet = 0
    for _ in range(80):
        written = await round_(key)
        quiet = 0 if written else quiet + 1
        if quiet == idle:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the rounds never come to rest; the last wrote: {written}")


def state(api: Any, cluster_helpers: Any, name: str) -> dict[str, Any]:
    """What exists for a deployment, by kind, as rendered."""
    own = names.serving_name(namespace="acme", name=name)
    kinds = ("secret",)
    found = {kind: cluster_helpers.get(api, kind, own, "-n", "paddock-serving-acme") for kind in kinds}
    copies = {kind: len(cluster_helpers.copies(api, name, kind=kind)) == 1 for kind in ("replicaset", "configmap")}
    return {**{kind: item is not None for kind, item in found.items()}, **copies}


@pytest.fixture
async def prepared(api: Any, cluster_helpers: Any, helpers: Any, settings: Any) -> Any:
    """A licensed tenant, and a finished weights Job."""
    policy = Licensed([*helpers.registered(), *helpers.accepted("acme-inc")])
    if cluster_helpers.get(api, "job", JOB, "-n", "paddock-weights") is None:
        api.apply(cluster_helpers.deployment(name="first"))
        async with life(settings, policy, writes_left=0) as round_:
            for _ in range(5):
                await round_(Key("acme", "first"))
        await asyncio.to_thread(cluster_helpers.finish_weights, api, JOB)
    return policy


async def test_creation_and_deletion_converge_from_every_crash_point(
    api: Any, cluster_helpers: Any, settings: Any, prepared: Any
) -> None:
    crash_at, died = 1, True
    while died:
        name = f"crash-{crash_at}"
        key = Key("acme", name)
        assert api.apply(cluster_helpers.deployment(name=name)).returncode == 0
        died = False
        async with life(settings, prepared, writes_left=crash_at) as round_:
            try:
                await settle(round_, key)
            except Died:
                died = True
        async with life(settings, prepared, writes_left=0) as round_:
            await settle(round_, key)
        assert all(state(api, cluster_helpers, name).values()), f"after a crash at write {crash_at}"
        crash_at += 1
        assert crash_at < 40

    # The last one was created without any crash: delete it, dying after the first write, then after the second, ...
    api.kubectl("delete", "llamadeployment", name, "-n", "acme", "--wait=false")
    for writes_left in range(1, 30):
        async with life(settings, prepared, writes_left=writes_left) as round_:
            try:
                await settle(round_, key)
            except Died:
                continue
        break
    assert cluster_helpers.get(api, "llamadeployment", name, "-n", "acme") is None
    assert not any(state(api, cluster_helpers, name).values())
    api.kubectl("delete", "llamadeployments", "--all", "-n", "acme", "--wait=false")
    print(f"creation survived a crash after each of {crash_at - 2} writes")


GROUPED = "llama-3.2-1b-instruct"
GROUP_NODES = ("gpu-a", "gpu-b")


@pytest.fixture
async def grouped(api: Any, group_api: None, cluster_helpers: Any, helpers: Any, settings: Any) -> AsyncIterator[Any]:
    """Two nodes of one GPU, a tenant licensed for a model that can be cut over them, and its weights."""
    for node in GROUP_NODES:
        cluster_helpers.gpu_node(api, node, product="NVIDIA-H100-80GB-HBM3", gpus=1)
    license_id = "llama3.2"
    objects = [*helpers.registered(), *helpers.texts(license_id), *helpers.accepted("acme-inc", license_id=license_id)]
    policy = Licensed([*objects, *helpers.accepted("platform", role="operator", license_id=license_id)])
    api.apply(cluster_helpers.deployment(name="weights", model={"id": GROUPED}, replicas=0))
    async with life(settings, policy, writes_left=0) as round_:
        await settle(round_, Key("acme", "weights"))
    model = packaged_catalog().models[GROUPED]
    job = names.weights_job_name(names.model_digest(model, precision=model.default_precision))
    await asyncio.to_thread(cluster_helpers.finish_weights, api, job)
    yield policy
    api.kubectl("delete", "llamadeployments", "--all", "-n", "acme", "--wait=false")
    for node in GROUP_NODES:
        api.kubectl("delete", "node", node)


def groups(api: Any, cluster_helpers: Any, name: str) -> tuple[int, int, bool]:
    """How many groups and policies of groups a deployment has, and whether it has a ReplicaSet."""
    place = ("-n", "paddock-serving-acme", "-l", f"{names.DEPLOYMENT_NAME}={name}")
    sets, policies = (cluster_helpers.get(api, kind, *place)["items"] for kind in ("leaderworkersets", "netpol"))
    deployments = cluster_helpers.copies(api, name)
    return len(sets), sum(1 for item in policies if names.GROUP in item["metadata"]["labels"]), bool(deployments)


async def converge(settings: Any, policy: Any, key: Key) -> int:
    """Rounds to rest by processes that die after one write, after two, and so on; how many died.

    Each writes the Secret anew, which none may read: dying after one write every time would get nowhere.
    """
    for writes_left in range(1, 40):
        async with life(settings, policy, writes_left=writes_left) as round_:
            try:
                await settle(round_, key)
            except Died:
                continue
        return writes_left - 1
    raise AssertionError("it never comes to rest")


@pytest.mark.timeout(900)
async def test_groups_converge_though_one_process_after_the_other_dies(
    api: Any, cluster_helpers: Any, settings: Any, grouped: Any
) -> None:
    name = "groups"
    key = Key("acme", name)
    cut = {"parallelism": {"tensor": 1, "pipeline": 2}}
    made = cluster_helpers.deployment(name=name, model={"id": GROUPED}, replicas=2, **cut)
    assert api.apply(made).returncode == 0
    steps: list[tuple[dict[str, Any], tuple[int, int, bool]]] = [
        ({}, (2, 2, False)),
        ({"parallelism": {"tensor": 1, "pipeline": None}}, (0, 0, True)),
        ({**cut, "replicas": 3}, (3, 3, False)),
        ({"replicas": 1}, (1, 1, False)),
        ({"placement": {"topologyKey": "rack"}}, (1, 1, False)),
    ]
    for spec, expected in steps:
        patch = json.dumps({"spec": spec})
        done = api.kubectl("patch", "llamadeployment", name, "-n", "acme", "--type=merge", "-p", patch)
        assert done.returncode == 0, done.stderr
        assert await converge(settings, grouped, key) > 0
        told = cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")["status"]["conditions"]
        assert groups(api, cluster_helpers, name) == expected, (spec, told)
    api.kubectl("delete", "llamadeployment", name, "-n", "acme", "--wait=false")
    assert await converge(settings, grouped, key) > 0
    assert cluster_helpers.get(api, "llamadeployment", name, "-n", "acme") is None
    assert groups(api, cluster_helpers, name) == (0, 0, False)
    assert not any(state(api, cluster_helpers, name).values())
