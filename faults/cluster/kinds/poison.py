"""Specifications that nobody meant: first at the planner, behind the types alone, then through the whole loop."""

import asyncio
import contextlib
import json
import random
from typing import Any

import msgspec
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Plan, Refusal
from paddock_core.resources.llamadeployment import Spec
from paddock_operator.decide.planned import ask_of

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 12
WHAT = "{size} nonsensical specifications at the planner, a hundredth of them in the loop beside 10 that make sense"
PASS = "0 exceptions escape; a condition on each; the others serve as soon as without them (p99 within 10 %, virtual)"
SHORT, FULL = 1_000, 1_000_000


def play(stage: Stage, size: int) -> Outcome:
    """The planner answers each; the loop tells of each and is no slower for those that make sense."""
    chance = stage.random("poison")
    escaped, odd = planner(chance, size)
    alone = world_of(stage.empty("alone"), lambda world: served(world, chance, poison=0))
    beside = world_of(stage.empty("poison"), lambda world: served(world, chance, poison=size // 100))
    text = f"{size:,} planned: {escaped} escaped, {odd} odd answers; {size // 100:,} in the loop: "
    text += f"{beside.silent} without condition, {len(beside.errors)} errors; "
    text += f"p99 of the others {beside.p99:.1f} s, {alone.p99:.1f} s alone"
    bad = escaped + odd + beside.silent + len(beside.errors)
    text += "".join(f"; {item}" for item in beside.errors[:3])
    return Outcome(measured=text, passed=bad == 0 and beside.p99 <= 1.1 * alone.p99)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How a world went."""

    p99: float
    silent: int
    errors: list[str]


def planner(chance: random.Random, size: int) -> tuple[int, int]:
    """How many exceptions escape from the planner, and how many answers are neither a plan nor a refusal."""
    escaped, odd = 0, 0
    models = packaged_catalog().models
    inventories = [hypothetical(gpu=gpu, per_node=count) for gpu in ("H100-80", "L40S-48") for count in (1, 8)]
    for _ in range(size):
        try:
            spec = msgspec.convert(nonsense(chance), Spec)
        except msgspec.ValidationError:
            continue  # refused before anybody plans: as good
        try:
            answer = plan(
                model=models[chance.choice(sorted(models))], ask=ask_of(spec), inventory=chance.choice(inventories)
            )
            odd += not isinstance(answer, Plan | Refusal)
        except Exception:  # noqa: BLE001 - what is counted
            escaped += 1
    return escaped, odd


async def served(world: World, chance: random.Random, *, poison: int) -> Seen:
    """Deployments that make sense, applied one after another among the others; how long they take."""
    for number in range(4):
        world.node(f"gpu-{number}", gpus=8)
    bad, times = [f"poison-{number}" for number in range(poison)], list[float]()
    async with world.operator():
        world.deploy("warm")
        await world.until(lambda: world.serves("warm"), "the first to serve", seconds=600)
        for number in range(10):
            for name in bad[number::10]:
                with contextlib.suppress(KeyError):
                    world.deploy(name, **nonsense(chance))
            world.deploy(f"good-{number}")
            times.append(await world.until(lambda: world.serves(f"good-{number}"), "one that makes sense", seconds=600))
        await asyncio.sleep(60)
        silent = sum(1 for name in bad if not world.status(name).get("conditions"))
    return Seen(p99=max(times), silent=silent, errors=world.errors)


def nonsense(chance: random.Random) -> dict[str, Any]:
    """A specification of which any field may be anything of about the right kind."""
    word = chance.choice(
        ("", "x", "llama-3.1-8b-instruct", "../..", "ü" * 50, "a" * chance.choice((63, 64, 5000)), "\x00")
    )
    number = chance.choice((-1, 0, 1, 2, 3, 7, 8, 64, 2**31, 2**63 - 1))
    fields: dict[str, Any] = {
        "model": {"id": chance.choice((word, "smollm2-135m-instruct", "llama-3.2-1b-instruct"))},
        "engine": {
            "type": chance.choice(("LLMAPI", "TensorRTEngine", "Auto", word)),
            "precision": chance.choice(("bf16", "fp8", "int4-awq", word)),
            "maxConcurrency": number,
            "contextLength": chance.choice((number, 8192)),
        },
        "parallelism": {"tensor": chance.choice((number, 1, 2, None)), "pipeline": chance.choice((number, 1, 2, None))},
        "placement": {
            "gpu": chance.choice((word, "H100-80")),
            "nodeSelector": {word: word},
            "topologyKey": word,
            "tolerations": [{"key": word, "operator": chance.choice(("Exists", "Equal", word))}],
        },
        "replicas": number,
        "minAvailable": number,
        "scaling": chance.choice((None, {"min": number, "max": chance.choice((0, 1, number))})),
        "rollout": chance.choice((None, {"strategy": word}, {"strategy": "Canary", "steps": [{"weight": number}]})),
        "maintenance": chance.choice((None, {"windows": [{"start": word, "hours": number}]})),
        "access": {"tenants": [word] * chance.choice((0, 1, 300))},
        "license": {"use": {"purpose": chance.choice(("commercial", "research", word)), "note": word}},
        word or "empty": json.loads(json.dumps({"a": [number] * chance.choice((0, 1000))})),
    }
    kept = {name: value for name, value in fields.items() if chance.random() < 0.5}
    return {"model": fields["model"], **kept}
