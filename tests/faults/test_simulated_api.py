"""The simulated API server against the real one: the same calls through the operator's adapter, the same answers."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from paddock_local import bare_kubernetes
from paddock_local.bare_kubernetes import KubeApi
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.errors import ClusterError
from paddock_operator.kinds import CONFIG_MAP, EVENT, LEASE, LLAMA_DEPLOYMENT, POD_GROUP, Kind
from paddock_operator.ports import Cluster, Manifest

from faults.cluster.simulated.api import Client
from faults.cluster.simulated.world import World, world_of

SPACE = "globex"
VOLATILE = ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "selfLink")


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApi]:
    with bare_kubernetes.free_ports() as port:
        folder = tmp_path_factory.mktemp("kubernetes")
        with bare_kubernetes.running_api(folder, base_port=port) as api:
            assert api.kubectl("create", "namespace", SPACE).returncode == 0
            yield api


def bare(manifest: Manifest) -> Any:
    """Without what differs from run to run."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in VOLATILE}
    return {**manifest, "metadata": metadata}


def config(name: str, *, data: dict[str, str], **metadata: Any) -> Manifest:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    return {**head, "metadata": {"namespace": SPACE, "name": name, **metadata}, "data": data}


def llama(name: str, **more: Any) -> Manifest:
    head = {"apiVersion": LLAMA_DEPLOYMENT.api_version, "kind": LLAMA_DEPLOYMENT.name}
    return {**head, "metadata": {"namespace": SPACE, "name": name}, "spec": {"model": {"id": "m"}}, **more}


class Script:
    """Calls, and what came of each: what is compared."""

    def __init__(self, cluster: Cluster, client: httpx2.AsyncClient) -> None:
        self.cluster = cluster
        self.client = client
        self.told: list[Any] = []

    async def tell(self, call: Any) -> Any:
        """Make a call; note its answer without what differs, or the error."""
        try:
            answer = await call
        except ClusterError as error:
            self.told.append((type(error).__name__, error.status))
            return None
        self.told.append(bare(answer) if isinstance(answer, dict) and "metadata" in answer else answer)
        return answer

    async def of(self, kind: Kind, name: str) -> Manifest:
        return await self.cluster.get(kind, namespace=SPACE, name=name)

    async def play(self) -> list[Any]:
        await self._objects()
        await self._fields_of_managers()
        await self._preconditions()
        await self._statuses()
        await self._finalizers()
        await self._selections()
        await self._watches()
        await self._schemas()
        await self._too_old()
        return self.told

    async def _objects(self) -> None:
        cluster = self.cluster
        await self.tell(cluster.get(CONFIG_MAP, namespace=SPACE, name="none"))
        await self.tell(cluster.create(config("a", data={"x": "1"})))
        await self.tell(cluster.create(config("a", data={"x": "2"})))
        await self.tell(cluster.create({**config("a", data={}), "metadata": {"namespace": "nowhere", "name": "a"}}))
        await self.tell(cluster.merge(CONFIG_MAP, namespace=SPACE, name="a", patch={"data": {"x": None, "y": "2"}}))
        for _ in range(2):  # true, then false
            await self.tell(cluster.delete(CONFIG_MAP, namespace=SPACE, name="a"))
        await self.tell(cluster.list(POD_GROUP))

    async def _fields_of_managers(self) -> None:
        """What we apply no longer goes; what somebody else wrote stays; a repetition changes nothing."""
        cluster = self.cluster
        await self.tell(cluster.apply(config("b", data={"x": "1", "y": "1"}, labels={"ours": "1"})))
        await self.tell(
            cluster.merge(
                CONFIG_MAP,
                namespace=SPACE,
                name="b",
                patch={"data": {"z": "9"}, "metadata": {"labels": {"theirs": "1"}}},
            )
        )
        await self.tell(cluster.apply(config("b", data={"x": "2"}, labels={"ours": "1"})))
        before = await self.of(CONFIG_MAP, "b")
        again = await self.tell(cluster.apply(config("b", data={"x": "2"}, labels={"ours": "1"})))
        self.told.append(again["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"])
        await self.tell(cluster.apply(config("b", data={})))

    async def _preconditions(self) -> None:
        cluster = self.cluster
        await cluster.apply(config("c", data={"x": "1"}))
        live = await self.of(CONFIG_MAP, "c")
        await self.tell(cluster.delete(CONFIG_MAP, namespace=SPACE, name="c", uid="0000"))
        patch = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
        await self.tell(cluster.merge(CONFIG_MAP, namespace=SPACE, name="c", patch=patch))
        await self.tell(cluster.merge(CONFIG_MAP, namespace=SPACE, name="c", patch=patch))
        await self.tell(cluster.replace(live))
        await self.tell(cluster.apply(config("c", data={"x": "3"}, uid="0000")))
        await self.tell(cluster.delete(CONFIG_MAP, namespace=SPACE, name="c", uid=live["metadata"]["uid"]))
        lease = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"namespace": SPACE, "name": "l"},
            "spec": {"holderIdentity": "one"},
        }
        made = await self.tell(cluster.create(lease))
        await self.tell(cluster.replace({**made, "spec": {"holderIdentity": "two"}}))
        await self.tell(cluster.replace({**made, "spec": {"holderIdentity": "three"}}))

    async def _statuses(self) -> None:
        """A status is written by itself; only the specification counts as a new generation."""
        cluster = self.cluster
        status = {"status": {"phase": "Pending"}}
        await self.tell(cluster.apply(llama("none", **status), subresource="status"))
        made = await cluster.create(llama("d"))
        other = {"namespace": SPACE, "name": "d", "uid": "00000000-0000-0000-0000-00000000ffff"}
        await self.tell(cluster.apply({**llama("d", **status), "metadata": other}, subresource="status"))
        await self.tell(cluster.apply({**llama("none", **status), "metadata": {**other, "name": "none"}}))
        told = await cluster.apply({**llama("d", **status), "spec": {"model": {"id": "other"}}}, subresource="status")
        self.told.append((told["status"], told["spec"]["model"]))
        self.told.append(told["metadata"]["generation"] - made["metadata"]["generation"])
        first = await cluster.create(llama("e"))
        await cluster.delete(LLAMA_DEPLOYMENT, namespace=SPACE, name="e")
        await cluster.create(llama("e"))
        for name in ("resourceVersion", "uid"):
            # The first is a precondition, the second is none.
            former = {
                **llama("e", **status),
                "metadata": {"namespace": SPACE, "name": "e", name: first["metadata"][name]},
            }
            await self.tell(cluster.apply(former, subresource="status"))
        changed = await cluster.merge(
            LLAMA_DEPLOYMENT, namespace=SPACE, name="d", patch={"spec": {"replicas": 3}, "status": {"phase": "Ready"}}
        )
        self.told.append((changed["status"], changed["spec"]["replicas"]))
        self.told.append(changed["metadata"]["generation"] - told["metadata"]["generation"])

    async def _finalizers(self) -> None:
        cluster = self.cluster
        hold, free = ({"metadata": {"finalizers": names}} for names in (["paddock.dev/test"], None))
        await cluster.merge(LLAMA_DEPLOYMENT, namespace=SPACE, name="d", patch=hold)
        await cluster.delete(LLAMA_DEPLOYMENT, namespace=SPACE, name="d")
        live = await self.of(LLAMA_DEPLOYMENT, "d")
        self.told.append("deletionTimestamp" in live["metadata"])
        await cluster.merge(LLAMA_DEPLOYMENT, namespace=SPACE, name="d", patch=free)
        await self.tell(cluster.get(LLAMA_DEPLOYMENT, namespace=SPACE, name="d"))

    async def _selections(self) -> None:
        cluster = self.cluster
        for name, labels in (("s1", {"app": "x", "k": "1"}), ("s2", {"app": "x"}), ("s3", {"app": "y"})):
            await cluster.apply(config(name, data={"n": name}, labels=labels))
        for selector in ("app=x", "app=x,k=1", "k", "app in (x, y),!k", "app!=x,app"):
            listing = await cluster.list(CONFIG_MAP, selector=selector)
            self.told.append(sorted(item["metadata"]["name"] for item in listing.items))
            self.told.append({(item["apiVersion"], item["kind"]) for item in listing.items})
        about = {"apiVersion": "v1", "kind": "Pod", "namespace": SPACE, "name": "p", "uid": "u-1"}
        event = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"namespace": SPACE, "name": "e"},
            "involvedObject": about,
            "reason": "R",
        }
        await cluster.create(event)
        for uid in ("u-1", "u-2"):
            found = await cluster.events(namespace=SPACE, about={"uid": uid})
            self.told.append([item["reason"] for item in found])

    async def _watches(self) -> None:
        """Changes in their order; an object that the selector no longer picks is told as gone."""
        cluster = self.cluster
        revision = (await cluster.list(CONFIG_MAP, selector="w=1")).revision
        await cluster.apply(config("w", data={"n": "1"}, labels={"w": "1"}))
        await cluster.apply(config("w", data={"n": "2"}, labels={"w": "1"}))
        await cluster.apply(config("w", data={"n": "3"}, labels={"w": "2"}))
        await cluster.apply(config("w", data={"n": "4"}, labels={"w": "1"}))
        await cluster.delete(CONFIG_MAP, namespace=SPACE, name="w")
        await cluster.apply(config("v", data={"n": "1"}, labels={"w": "1"}))
        told = []
        async with asyncio.timeout(30):
            async for event in cluster.watch(CONFIG_MAP, selector="w=1", revision=revision):
                told.append((event.type, event.object["metadata"]["name"], event.object["metadata"]["labels"]["w"]))
                if event.object["metadata"]["name"] == "v":
                    break
        self.told.append(told)

    async def _schemas(self) -> None:
        """Unknown fields go, what the schema does not allow is refused, in each way of writing."""
        cluster = self.cluster
        unknown = {"model": {"id": "m", "colour": "red"}, "colours": ["red"]}
        await self.tell(cluster.create({**llama("u"), "spec": unknown}))
        for spec in ({"replicas": -1}, {"replicas": "1"}, {"model": None}, {"placement": {"gpu": "a" * 400}}, {}):
            await self.tell(cluster.create({**llama("v"), "spec": {"model": {"id": "m"}, **spec} if spec else {}}))
            await self.tell(cluster.merge(LLAMA_DEPLOYMENT, namespace=SPACE, name="u", patch={"spec": spec}))
            if spec.get("model", spec) is not None:
                await self.tell(cluster.apply({**llama("u"), "spec": {"model": {"id": "m"}, **spec}}))
        await self.tell(cluster.apply({**llama("u"), "spec": unknown}))
        for status in ({"phase": "Nonsense"}, {"phase": "Pending", "colour": "red"}):
            patch = {"status": status}
            await self.tell(cluster.merge(LLAMA_DEPLOYMENT, namespace=SPACE, name="u", patch=patch))
            await self.tell(cluster.apply(llama("u", **patch), subresource="status"))

    async def _too_old(self) -> None:
        """A revision of which the server has forgotten what came after."""
        query = {"watch": "true", "resourceVersion": "1", "timeoutSeconds": "5"}
        async with self.client.stream("GET", LLAMA_DEPLOYMENT.path(), params=query) as response:
            line = await anext(response.aiter_lines())
        told = msgspec.json.decode(line)
        status = {name: told["object"].get(name) for name in ("kind", "code", "reason")}
        self.told.append((response.status_code, told["type"], status))
        try:
            await anext(self.cluster.watch(LLAMA_DEPLOYMENT, revision="1"))
        except ClusterError as error:
            self.told.append((type(error).__name__, error.status))


async def on_the_real_one(api: KubeApi) -> list[Any]:
    client = connect(api.kubeconfigs["admin"])
    cluster = LightkubeCluster(client, may_write=lambda: None)
    try:
        return await Script(cluster, client).play()
    finally:
        await cluster.close()


def on_the_simulated_one(folder: Path) -> list[Any]:
    async def scenario(world: World) -> list[Any]:
        world.store.compact()
        async with world.api.client(Client("paddock-operator")) as client:
            return await Script(LightkubeCluster(client, may_write=lambda: None), client).play()

    return world_of(folder, scenario)


async def test_both_answer_alike(kubernetes: KubeApi, tmp_path: Path) -> None:
    real = await on_the_real_one(kubernetes)
    simulated = await asyncio.to_thread(on_the_simulated_one, tmp_path)
    for number, (expected, found) in enumerate(itertools.zip_longest(real, simulated)):
        assert found == expected, f"step {number}"


def test_virtual_time_passes_by_itself(tmp_path: Path) -> None:
    async def scenario(world: World) -> float:
        began = world.clock.boottime()
        await asyncio.sleep(86_400)
        return world.clock.boottime() - began

    assert world_of(tmp_path, scenario) == pytest.approx(86_400)
