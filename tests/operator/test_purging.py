"""Orders to remove a model's files, carried out on a real API server: in order, and from every crash point."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.documents import Purge
from paddock_core.resources import names
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.cache import Cache
from paddock_operator.configured import config_of
from paddock_operator.manifests.render import WeightsRendering, render_weights
from paddock_operator.ports import Policy
from paddock_operator.purging import Purger

from tests.operator.platforms import NOW, view_of

MODEL = "smollm2-135m-instruct"
NAMESPACE = names.WEIGHTS_NAMESPACE


class Died(BaseException):
    """Stands for SIGKILL."""


@dataclass
class World:
    """The policy that the purger follows, and what it tells the control plane."""

    objects: list[Any]
    started: list[str] = field(default_factory=list)
    expired: bool = False

    def current(self) -> Policy:
        return Policy(view=view_of(self.objects), expired=self.expired, at=NOW)

    def orders(self, *orders: Purge) -> None:
        self.objects = [item for item in self.objects if not isinstance(item, Purge)] + list(orders)

    async def start_purge(self, *, purge: str) -> str | None:
        found = next((item for item in self.objects if isinstance(item, Purge) and item.id == purge), None)
        if found is None:
            return None
        self.started.append(purge)
        self.orders(Purge(id=purge, model=found.model, state="started", why=found.why, weights=found.weights))
        return "dt.purge"


class Dying:
    """A real cluster that dies right after the nth write; never, if n is 0."""

    def __init__(self, cluster: LightkubeCluster, left: int) -> None:
        self._cluster = cluster
        self._left = left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)
        if name not in ("apply", "delete"):
            return method

        async def counted(*arguments: Any, **named: Any) -> Any:
            result = await method(*arguments, **named)
            self._left -= 1
            if self._left == 0:
                raise Died
            return result

        return counted


@contextlib.asynccontextmanager
async def life(settings: Any, world: World, *, writes: int = 0) -> AsyncIterator[Purger]:
    """One life of the process, as far as purges go."""
    clock = SystemClock()
    real = LightkubeCluster(connect(settings.kubeconfig), may_write=lambda: None)
    cache = Cache(cluster=real, clock=clock, changed=lambda _key: None, job_changed=lambda _job: None)
    watches = [asyncio.create_task(reflector.run()) for reflector in cache.reflectors()]
    purger = Purger(
        cluster=Dying(real, writes),  # type: ignore[arg-type]
        cache=cache,
        control_plane=world,  # type: ignore[arg-type]
        policy=world,
        catalog=packaged_catalog(),
        clock=clock,
        config=config_of(settings),
    )
    try:
        for reflector in cache.reflectors():
            await reflector.synced.wait()
        yield purger
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await real.close()


def order(name: str = "pur-aaaaaaaaaaaa", **other: Any) -> Purge:
    return Purge(**{"id": name, "model": MODEL, "state": "ordered", "why": "last_reference", **other})


@pytest.fixture
def world(helpers: Any) -> World:
    return World(objects=[*helpers.registered(), *helpers.accepted("acme-inc")])


@pytest.fixture
async def weights(api: Any, settings: Any) -> AsyncIterator[str]:
    """A weights Job that runs, with its pod; its name. Nothing that other tests left runs the model."""
    api.kubectl("delete", "jobs,pods", "-A", "-l", f"{names.MODEL}={MODEL}", "--grace-period=0", "--force")
    model = packaged_catalog().models[MODEL]
    rendering = WeightsRendering(
        model=model,
        precision="q4_1",
        digest="d" * 64,
        licenses=model.licenses,
        catalogued=True,
        owner="",
        token="t",
        config=config_of(settings),
    )
    manifests = render_weights(rendering)
    assert api.apply(*manifests).returncode == 0
    job = manifests[-1]
    spec = job["spec"]["template"]["spec"]
    metadata = {"namespace": NAMESPACE, "name": f"{rendering.name}-pod", "labels": rendering.labels}
    assert api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).returncode == 0
    yield rendering.name
    api.kubectl("delete", "jobs,pods,secrets", "--all", "-n", NAMESPACE, "--grace-period=0", "--force")
    api.kubectl("delete", "llamadeployments", "--all", "-n", "acme", "--wait=false")


async def until(purger: Purger, done: Any, *, looks: int = 200) -> None:
    """Look again and again until something is true of the cluster."""
    for _ in range(looks):
        await purger.look()
        if await asyncio.to_thread(done):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the purge never got there")


async def test_an_order_waits_for_pods_then_ends_the_download_then_removes(
    api: Any, cluster_helpers: Any, settings: Any, world: World, weights: str
) -> None:
    def job(name: str) -> Any:
        return cluster_helpers.get(api, "job", name, "-n", NAMESPACE)

    purge = names.purge_job_name("pur-aaaaaaaaaaaa")
    labels = {
        **names.deployment_labels(namespace="acme", name="x", uid="u", tenant="acme", model=MODEL),
    }
    api.kubectl("create", "namespace", "paddock-serving-purged")
    serving = {"namespace": "paddock-serving-purged", "name": "serving-x", "labels": labels}
    pod = {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False}
    assert api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": serving, "spec": pod}).returncode == 0
    world.orders(order(weights=("b1" * 32,)))
    async with life(settings, world) as purger:
        for _ in range(10):
            await purger.look()
            await asyncio.sleep(0.02)
        assert job(weights) is not None, "as long as a pod runs the model, nothing goes"
        cluster_helpers.remove_pod(api, "paddock-serving-purged", "serving-x")
        await until(purger, lambda: job(weights) is None)
        for _ in range(10):
            await purger.look()
            await asyncio.sleep(0.02)
        assert world.started == [], "the download's pod may still write"
        cluster_helpers.remove_pod(api, NAMESPACE, f"{weights}-pod")
        await until(purger, lambda: job(purge) is not None)
        container = job(purge)["spec"]["template"]["spec"]["containers"][0]
        values = {item["name"]: item.get("value") for item in container["env"]}
        assert container["args"] == ["purge-weights"]
        assert values["PADDOCK_SERVING_DIGESTS"] == f'["{"b1" * 32}"]'
        assert values["PADDOCK_SERVING_IMPORTS"] == "false"
        assert cluster_helpers.get(api, "secret", purge, "-n", NAMESPACE) is not None
        for _ in range(5):
            await purger.look()
        assert world.started == ["pur-aaaaaaaaaaaa"]
        world.orders()
        await until(purger, lambda: job(purge) is None)
        assert cluster_helpers.get(api, "secret", purge, "-n", NAMESPACE) is None
        assert not await purger.look()


async def test_killed_after_any_write_the_next_life_carries_the_order_out(
    api: Any, cluster_helpers: Any, settings: Any, world: World
) -> None:
    writes, died = 0, True
    while died:
        writes += 1
        name = f"pur-{'abcdefghijkl'[writes]}{'a' * 11}"
        world.orders(order(name, why="operator"))
        died = False
        async with life(settings, world, writes=writes) as purger:
            try:
                await until(purger, lambda name=name: _there(api, cluster_helpers, name))
            except Died:
                died = True
        async with life(settings, world) as purger:
            await until(purger, lambda name=name: _there(api, cluster_helpers, name))
            world.orders()
            await until(purger, lambda name=name: not _there(api, cluster_helpers, name))
        assert writes < 20
    assert writes > 3


def _there(api: Any, cluster_helpers: Any, order_id: str) -> bool:
    return cluster_helpers.get(api, "job", names.purge_job_name(order_id), "-n", NAMESPACE) is not None


@pytest.mark.parametrize("lost", [False, True])
async def test_a_running_download_ends_when_nobody_who_waits_for_it_is_licensed(
    lost: bool, api: Any, cluster_helpers: Any, settings: Any, world: World, weights: str, helpers: Any
) -> None:
    assert api.apply(cluster_helpers.deployment(name="waits")).returncode == 0
    if lost:
        world.objects = list(helpers.registered())
    async with life(settings, world) as purger:
        if lost:
            world.expired = True
            await purger.look()
            assert cluster_helpers.get(api, "job", weights, "-n", NAMESPACE) is not None
            world.expired = False
            await until(purger, lambda: cluster_helpers.get(api, "job", weights, "-n", NAMESPACE) is None)
        else:
            for _ in range(5):
                await purger.look()
            assert cluster_helpers.get(api, "job", weights, "-n", NAMESPACE) is not None
