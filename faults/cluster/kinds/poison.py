"""Specifications that nobody meant and the API server takes: first at the planner, then through the whole loop."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Plan, Refusal
from paddock_core.resources.llamadeployment import Spec
from paddock_operator.decide.planned import ask_of
from paddock_operator.kinds import LLAMA_DEPLOYMENT

from faults.cluster.nonsense import Nonsense
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.validating import schema_of
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage, http_of

ROW = 12
WHAT = (
    "{size} specifications of nonsense drawn from the resource's own schema at the planner; a hundredth as many, each"
    " one taken by a real API server, in the loop beside some that make sense"
)
PASS = (
    "0 exceptions escape; a condition on each; the others serve as soon as without them (p99 within 10 %, virtual), and"
    " one of them takes less processor time than one that is served"
)
SHORT, FULL = 2_000, 1_000_000
AT_ONCE = 100
"""So many come with each one that makes sense."""
LEAST_GOOD = 5
MODELS = (GPU_MODEL, "smollm2-135m-instruct", "demo-made", "no-such-model")
FEW = 2
"""Copies at most: what makes no sense is to be rendered, not to fill the cluster."""
FEWER = ("replicas", "minAvailable", "minReplicas", "maxReplicas")
NAMESPACE = "acme"


@dataclass(frozen=True, slots=True)
class Seen:
    """How a world went. Times are virtual; `each` is processor time."""

    p99: float
    each: float
    silent: int
    errors: list[str]


def play(stage: Stage, size: int) -> Outcome:
    """The planner answers each; the loop tells of each and is no slower for those that make sense."""
    chance = stage.random("poison")
    escaped, odd = planner(chance, size)
    bad = accepted(stage, chance, size // 100)
    batches = [bad[first : first + AT_ONCE] for first in range(0, len(bad), AT_ONCE)]
    batches += [[]] * (LEAST_GOOD - len(batches))
    alone = world_of(stage.empty("alone"), lambda world: served(world, [[] for _ in batches]))
    beside = world_of(stage.empty("poison"), lambda world: served(world, batches))
    spent = (beside.each - alone.each) * len(batches) / max(1, len(bad))
    text = f"{size:,} planned: {escaped} escaped, {odd} odd answers; {len(bad):,} in the loop: "
    text += f"{beside.silent} without condition, {len(beside.errors)} errors; "
    text += f"p99 of {len(batches)} others {beside.p99:.1f} s, {alone.p99:.1f} s alone; "
    text += f"{1000 * spent:.0f} ms of processor time each, {1000 * alone.each:.0f} ms for one that is served"
    text += "".join(f"; {item}" for item in beside.errors[:3])
    wrong = escaped + odd + beside.silent + len(beside.errors)
    passed = wrong == 0 and beside.p99 <= 1.1 * alone.p99 and spent < alone.each
    return Outcome(measured=text, passed=passed)


def nonsense() -> Nonsense:
    """Of the specification of a LlamaDeployment."""
    schema = schema_of(LLAMA_DEPLOYMENT)
    assert schema is not None
    return Nonsense(schema["properties"]["spec"], words=(*MODELS, *packaged_catalog().models))


def planner(chance: random.Random, size: int) -> tuple[int, int]:
    """How many exceptions escape from types and planner, and how many answers are neither a plan nor a refusal."""
    escaped, odd, drawn = 0, 0, nonsense()
    models = packaged_catalog().models
    inventories = [hypothetical(gpu=gpu, per_node=count) for gpu in ("H100-80", "L40S-48") for count in (1, 8)]
    for _ in range(size):
        wanted = drawn.draw(chance)
        model = models.get(wanted["model"]["id"]) or models[chance.choice(sorted(models))]
        try:
            ask = ask_of(msgspec.convert(wanted, Spec))
            answer = plan(model=model, ask=ask, inventory=chance.choice(inventories))
            odd += not isinstance(answer, Plan | Refusal)
        except Exception:  # noqa: BLE001 - what is counted
            escaped += 1
    return escaped, odd


def accepted(stage: Stage, chance: random.Random, size: int) -> list[dict[str, Any]]:
    """Specifications as a real API server would store them, having looked at schema and rules."""
    api, drawn, found = stage.api(), nonsense(), list[dict[str, Any]]()
    api.kubectl("create", "namespace", NAMESPACE)
    head = {"apiVersion": LLAMA_DEPLOYMENT.api_version, "kind": LLAMA_DEPLOYMENT.name, "metadata": {"name": "nonsense"}}
    with http_of(api) as http:
        while len(found) < size:
            spec = _modest(drawn.draw(chance), chance)
            path = LLAMA_DEPLOYMENT.path(namespace=NAMESPACE)
            answer = http.post(path, params={"dryRun": "All"}, json={**head, "spec": spec})
            assert answer.status_code in (201, 422), f"the schema allows what is answered {answer.text}"
            if answer.status_code == 201:
                found.append(answer.json()["spec"])
    return found


def _modest(spec: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Half of them of models that can be served, with few copies."""
    if chance.random() < 0.5:
        spec["model"]["id"] = chance.choice(MODELS)
    for part in (spec, spec.get("scaling", {})):
        part |= {name: min(FEW, part[name]) for name in FEWER if name in part}
    return spec


async def served(world: World, batches: list[list[dict[str, Any]]]) -> Seen:
    """Deployments that make sense, one after another, each beside a batch of others; how long they take."""
    for number in range(4):
        world.node(f"gpu-{number}", gpus=8)
    times, silent, names = list[float](), 0, _names()
    async with world.operator():
        world.deploy("warm")
        await world.until(lambda: world.serves("warm"), "the first to serve", seconds=600)
        began = time.process_time()
        for number, batch in enumerate(batches):
            bad = dict(zip(names, batch, strict=False))
            for name, spec in bad.items():
                world.deploy(name, **spec)
            good = f"good-{number}"
            world.deploy(good)
            times.append(await world.until(lambda: world.serves(good), "one that makes sense", seconds=600))
            await world.until(lambda: not _silent(world, bad), "a condition on each", seconds=600)
            for name in (*bad, good):
                world.remove(name)
        each = (time.process_time() - began) / len(batches)
    return Seen(p99=sorted(times)[int(0.99 * (len(times) - 1))], each=each, silent=silent, errors=world.errors)


def _names() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"poison-{number}"


def _silent(world: World, names: dict[str, Any]) -> list[str]:
    return [name for name in names if not world.status(name).get("conditions")]
