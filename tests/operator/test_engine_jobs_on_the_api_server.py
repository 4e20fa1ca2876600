"""Engine Jobs on a real API server: it takes them, the cache finds them, and a purge ends them first."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.engines.recipe import recipe
from paddock_core.planning.fit import plan as fit
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Ask, Plan
from paddock_core.policy.documents import Purge
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import PlacementSpec, Toleration
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.cache import Cache
from paddock_operator.configured import config_of
from paddock_operator.decide import engine
from paddock_operator.decide.engine_size import size_of
from paddock_operator.manifests.render import EngineRendering, render_engine
from paddock_operator.observed import Observed, parse
from paddock_operator.ports import Key, Policy
from paddock_operator.purging import Purger

from tests.operator.platforms import policy_of

MODEL = "llama-3.1-8b-instruct"
NAMESPACE = names.WEIGHTS_NAMESPACE
NOW = 1_800_000_000.0
PLACED = PlacementSpec(node_selector={"zone": "a"}, tolerations=(Toleration(key="a", operator="Exists"),), queue="gold")


def manifests_of(settings: Any) -> list[Any]:
    model, config = packaged_catalog().models[MODEL], config_of(settings)
    ask = Ask(engine="TensorRTEngine", context_length=4096, max_concurrency=4)
    answer = fit(model=model, ask=ask, inventory=hypothetical(gpu="H100-80"))
    assert isinstance(answer, Plan)
    deployment, _ = parse({"metadata": {"namespace": "acme", "name": "x"}, "spec": {"model": {"id": MODEL}}})
    observed = Observed(
        key=Key("acme", "x"), now=NOW, catalog=packaged_catalog(), policy=policy(), deployment=deployment
    )
    request = engine.request_of(observed, config, model, answer, weights="b1" * 32)
    made = recipe(request)
    rendering = EngineRendering(
        model=model,
        plan=answer,
        request=request,
        digest=names.model_digest(model, precision=answer.weights),
        key=made.engine_key,
        size=size_of(model, answer, quantizes=made.quantizes, inventory=observed.inventory),
        placement=PLACED,
        config=config,
    )
    return render_engine(rendering)


def policy(*orders: Purge) -> Policy:
    return policy_of(orders)


@pytest.fixture
async def built(api: Any, settings: Any) -> AsyncIterator[list[Any]]:
    """An engine Job and its pod, as the Job's controller would make it."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "weights", "namespace": NAMESPACE}})
    manifests = manifests_of(settings)
    done = api.kubectl(
        "apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-", stdin=_text(manifests)
    )
    assert done.returncode == 0, done.stderr
    template = manifests[-1]["spec"]["template"]
    metadata = {"namespace": NAMESPACE, "name": "engine-pod", "labels": template["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    done = api.apply(pod)
    assert done.returncode == 0, done.stderr
    yield manifests
    api.kubectl("delete", "jobs,pods,networkpolicies", "--all", "-n", NAMESPACE, "--grace-period=0", "--force")


def _text(manifests: list[Any]) -> str:
    import yaml

    return str(yaml.safe_dump_all(manifests))


@contextlib.asynccontextmanager
async def following(settings: Any, heard: list[str]) -> AsyncIterator[tuple[LightkubeCluster, Cache]]:
    real = LightkubeCluster(connect(settings.kubeconfig), may_write=lambda: None)
    cache = Cache(cluster=real, clock=SystemClock(), changed=lambda _key: None, job_changed=heard.append)
    watches = [asyncio.create_task(reflector.run()) for reflector in cache.reflectors()]
    try:
        for reflector in cache.reflectors():
            await reflector.synced.wait()
        yield real, cache
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await real.close()


async def test_the_cache_finds_jobs_and_pods_and_wakes_who_waits_for_the_model(settings: Any, built: list[Any]) -> None:
    heard: list[str] = []
    async with following(settings, heard) as (_, cache):
        (found,) = cache.engines(MODEL)
        assert found.name == built[-1]["metadata"]["name"]
        assert [pod["metadata"]["name"] for pod in found.pods] == ["engine-pod"]
        assert cache.engines("another") == ()
    model = packaged_catalog().models[MODEL]
    assert names.weights_job_name(names.model_digest(model, precision="bf16")) in heard


async def test_a_purge_waits_for_the_engine_job_and_its_pod_to_go(
    api: Any, cluster_helpers: Any, settings: Any, built: list[Any]
) -> None:
    name = built[-1]["metadata"]["name"]
    started: list[str] = []

    class World:
        """The order, and who is told that it begins."""

        def current(self) -> Policy:
            return policy(Purge(id="pur-aaaaaaaaaaaa", model=MODEL, state="ordered", why="last_reference"))

        async def start_purge(self, *, purge: str) -> str | None:
            started.append(purge)
            return "dt.purge"

    world = World()
    async with following(settings, []) as (real, cache):
        purger = Purger(
            cluster=real,
            cache=cache,
            control_plane=world,  # type: ignore[arg-type]
            policy=world,
            catalog=packaged_catalog(),
            clock=SystemClock(),
            config=config_of(settings),
        )

        async def until(done: Any) -> None:
            for _ in range(600):
                await purger.look()
                if await asyncio.to_thread(done):
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("the purge never got there")

        await until(lambda: cluster_helpers.get(api, "job", name, "-n", NAMESPACE) is None)
        for _ in range(10):
            await purger.look()
            await asyncio.sleep(0.02)
        assert started == [], "the Job's pod may still write"
        cluster_helpers.remove_pod(api, NAMESPACE, "engine-pod")
        await until(lambda: bool(started))
