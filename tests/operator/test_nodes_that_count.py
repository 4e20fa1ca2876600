"""Nodes on which the pods of a deployment could not run count for no plan of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.types import Ask, Inventory, Plan
from paddock_core.policy.view import PolicyView
from paddock_core.resources.llamadeployment import PlacementSpec, Toleration
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.cache import Cache
from paddock_operator.decide.eligible import eligible, tolerated
from paddock_operator.decide.planned import judge
from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import NODE, OPTIONAL
from paddock_operator.observed import Observed, parse
from paddock_operator.ports import Key, Listing, Policy, Reduce, WatchEvent, whole

H100, A100 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-40GB"
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def node(product: str = H100, *, ready: str = "True", cordoned: bool = False, taints: Any = ()) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{product}-{ready}-{cordoned}",
            "resourceVersion": "1",
            "labels": {"nvidia.com/gpu.product": product, "pool": product[7:11]},
        },
        "spec": {"unschedulable": cordoned, "taints": list(taints)},
        "status": {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": [{"type": "Ready", "status": ready}]},
    }


def taint(effect: str = "NoSchedule", value: str | None = "x") -> dict[str, Any]:
    return {"key": "dedicated", "effect": effect, **({} if value is None else {"value": value})}


@pytest.mark.parametrize(
    ("given", "placement", "counts"),
    [
        (node(), {}, True),
        ({"metadata": {"name": "bare"}}, {}, True),
        (node(ready="False"), {}, False),
        (node(ready="Unknown"), {}, False),
        (node(cordoned=True), {}, False),
        (node(), {"node_selector": {"pool": "H100"}}, True),
        (node(), {"node_selector": {"pool": "A100"}}, False),
        (node(), {"node_selector": {"zone": "a"}}, False),
        (node(taints=[GPU_TAINT]), {}, True),
        (node(taints=[{**GPU_TAINT, "effect": "NoExecute"}]), {}, False),
        (node(taints=[taint()]), {}, False),
        (node(taints=[taint("PreferNoSchedule")]), {}, True),
        (node(taints=[taint()]), {"tolerations": (Toleration(key="dedicated", value="x"),)}, True),
        (node(taints=[taint()]), {"tolerations": (Toleration(key="dedicated", value="y"),)}, False),
        (node(taints=[taint(value=None)]), {"tolerations": (Toleration(key="dedicated"),)}, True),
        (node(taints=[taint()]), {"tolerations": (Toleration(key="dedicated", operator="Exists"),)}, True),
        (node(taints=[taint()]), {"tolerations": (Toleration(key="other", operator="Exists"),)}, False),
        (node(taints=[taint()]), {"tolerations": (Toleration(operator="Exists", effect="NoExecute"),)}, False),
        (node(taints=[taint(), GPU_TAINT]), {"tolerations": (Toleration(operator="Exists"),)}, True),
    ],
)
def test_a_node_counts_where_the_scheduler_would_take_it(given: Any, placement: Any, counts: bool) -> None:
    assert eligible(given, PlacementSpec(**placement)) is counts


@pytest.mark.parametrize(("pressure", "ready", "counts"), [("False", "True", True), ("True", "False", False)])
def test_only_what_is_said_of_being_ready_counts(pressure: str, ready: str, counts: bool) -> None:
    """Every other condition of a sound node is False."""
    found = node(ready=ready)
    found["status"]["conditions"].insert(0, {"type": "MemoryPressure", "status": pressure})
    assert eligible(found, PlacementSpec()) is counts


def test_only_pods_on_gpus_tolerate_what_keeps_others_off_gpu_nodes() -> None:
    own = Toleration(key="dedicated", operator="Exists")
    assert tolerated(PlacementSpec(tolerations=(own,)), gpus=False) == (own,)
    assert [item.key for item in tolerated(PlacementSpec(tolerations=(own,)), gpus=True)] == [GPU_TAINT["key"], own.key]


@given(
    st.lists(st.builds(taint, st.sampled_from(["NoSchedule", "NoExecute", "PreferNoSchedule"]), st.text(max_size=2))),
    st.lists(st.builds(Toleration, key=st.just("dedicated"), operator=st.sampled_from(["Exists", "Equal", None]))),
)
def test_more_tolerations_never_take_a_node_away(taints: Any, tolerations: Any) -> None:
    few = eligible(node(taints=taints), PlacementSpec())
    more = eligible(node(taints=taints), PlacementSpec(tolerations=tuple(tolerations)))
    assert more or not few


class Cluster:
    """Has these nodes and nothing else."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.nodes = nodes

    async def list(self, kind: Any, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        if kind in OPTIONAL:
            raise NotFoundError("404 page not found", status=404)
        return Listing([reduce(item) for item in self.nodes if kind == NODE], "1")

    async def watch(self, kind: Any, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        await asyncio.Event().wait()
        yield WatchEvent("BOOKMARK", {})


@contextlib.asynccontextmanager
async def cached(*nodes: dict[str, Any]) -> AsyncIterator[Cache]:
    cluster: Any = Cluster(*nodes)
    cache = Cache(cluster=cluster, clock=SystemClock(), changed=lambda _key: None, job_changed=lambda _job: None)
    tasks = [asyncio.create_task(reflector.run()) for reflector in cache.reflectors()]
    try:
        for reflector in cache.reflectors():
            await asyncio.wait_for(reflector.synced.wait(), 30)
        yield cache
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_plan_is_made_on_the_selected_nodes_alone() -> None:
    async with cached(node(A100), node(H100), node(H100, cordoned=True), node(H100, ready="Unknown")) as cache:
        free = cache.inventory(PlacementSpec())
        chosen = cache.inventory(PlacementSpec(node_selector={"nvidia.com/gpu.product": H100}))
    assert ([pool.nodes for pool in free.pools], free.left_out) == ([1, 1], 2)
    model = packaged_catalog().models["llama-3.1-8b-instruct"]
    ask = Ask(context_length=4096, max_concurrency=4)
    found = [plan(model=model, ask=ask, inventory=inventory) for inventory in (free, chosen)]
    assert [answer.gpu if isinstance(answer, Plan) else None for answer in found] == ["A100-40", "H100-80"]


def test_a_refusal_says_how_many_nodes_do_not_count(pairs: Any) -> None:
    spec = {"model": {"id": "llama-3.1-8b-instruct"}}
    deployment, _problem = parse({"metadata": {"namespace": "acme", "name": "chat", "uid": "u"}, "spec": spec})
    seen = Observed(
        key=Key("acme", "chat"),
        now=0.0,
        catalog=packaged_catalog(),
        policy=Policy(view=PolicyView.empty(), expired=False, at=0.0),
        inventory=Inventory(left_out=3),
        deployment=deployment,
    )
    finding, answer = judge(seen, pairs.CONFIG, pinned=None)
    assert (finding.reason, answer) == ("NoGPU", None)
    assert "Nodes with GPUs that do not count for it: 3" in finding.message
