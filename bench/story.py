"""From `kubectl apply` to the first served token on a warm stack, and what the processes hold in memory afterwards.

`python bench/story.py` (or `make bench`) starts the local stack "bench" of this checkout, tells the story as far as the
accepted license, then applies and deletes the deployment several times. Prints a table and keeps it in
bench/results/story.json.
"""

import json
import os
import platform
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
from paddock_local.demo import steps, story
from paddock_local.demo.cast import QUESTION, SERVED, TENANTS
from paddock_local.demo.narrator import Narrator
from paddock_local.demo.world import World
from paddock_local.progress import Progress
from paddock_local.scene import make_world
from paddock_local.stack import Stack
from rich.console import Console

RESULT = Path(__file__).parent / "results" / "story.json"
TIMES = 5
PATIENCE_SECONDS = 120
PROCESSES = ("operator", "controlplane", "gateway")


def first_token(world: World) -> float | None:
    """Wall clock of the first token of a streamed answer, or None while the request is refused."""
    messages: Any = [{"role": "user", "content": QUESTION}]
    try:
        stream = world.client("acme").chat.completions.create(
            model=SERVED, messages=messages, max_tokens=8, temperature=0, stream=True
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                return time.monotonic()
    except openai.APIError:
        return None
    return None


def apply_to_token(world: World) -> float:
    """Seconds from before `kubectl apply` to the first token."""
    began = time.monotonic()
    world.kubectl("apply", "-f", "examples/demo.yaml")
    while (arrived := first_token(world)) is None:
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise SystemExit(f"no token within {PATIENCE_SECONDS} s: {world.condition('Serving')}")
        time.sleep(0.05)
    seconds = arrived - began
    world.kubectl("delete", "llamadeployment", "smollm2", "-n", "acme", "--wait=true")
    return seconds


def resident_mb(pid: int) -> float:
    """VmRSS of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)


def measure(world: World, stack: Stack) -> dict[str, Any]:
    """All figures."""
    story.prepare(world)
    steps.register(world)
    steps.accept(world, party=TENANTS["acme"], role="deployer", who="acme")
    apply_to_token(world)  # fetches and verifies the weights; from here on the stack is warm
    times = [round(apply_to_token(world), 2) for _ in range(TIMES)]
    story.prepare(world)
    story.tell(world)
    pids = {row.part: row.pid for row in stack.status()}
    return {
        "apply_to_first_token_seconds": times,
        "revocation_to_refusal_seconds": round(world.memory["seconds_to_refusal"], 3),
        "resident_mb": {name: resident_mb(pids[name] or 0) for name in PROCESSES},
    }


def table(results: dict[str, Any]) -> str:
    """The figures for people."""
    times = results["apply_to_first_token_seconds"]
    memory = results["resident_mb"]
    rows = [
        ("`kubectl apply` to first token, warm", f"{statistics.median(times):.1f} s (worst {max(times):.1f})", "15 s"),
        ("revocation to refusal", f"{results['revocation_to_refusal_seconds']:.2f} s", "2 s"),
        ("operator, resident after the story", f"{memory['operator']:.0f} MB", "150 MB"),
        ("control plane, resident after the story", f"{memory['controlplane']:.0f} MB", "150 MB"),
        ("gateway, resident after the story", f"{memory['gateway']:.0f} MB", ""),
    ]
    return "\n".join(["| measure | figure | target |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def main() -> None:
    """Entry."""
    stack = Stack("bench")
    try:
        stack.up(progress=Progress())
        results = measure(make_world(stack)(Narrator(Console(stderr=True, quiet=True))), stack)
    finally:
        stack.down(progress=Progress(), erase=True)
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    document = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, "results": results}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
