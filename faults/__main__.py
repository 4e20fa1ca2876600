"""`python -m faults`: every fault at full length on the local stack "faults"; prints the table of docs/metering.md.

Usage: python -m faults [--short] [NAME ...]
       python -m faults cluster ...        faults of the cluster: see faults/cluster
       python -m faults bugs [NAME ...]    past bugs, on the commits that had them: see faults/bugs.yaml
"""

import argparse
import importlib
import os
import pkgutil
import platform
import sys
import time
import traceback
from types import ModuleType

from paddock_local.demo import steps, story
from paddock_local.demo.cast import TENANTS
from paddock_local.demo.narrator import Narrator
from paddock_local.progress import Progress
from paddock_local.scene import make_world
from paddock_local.stack import Stack
from rich.console import Console

import faults.kinds
from faults import bugs
from faults.cluster import table as cluster_table
from faults.scene import Scene
from faults.verdict import Verdict

COLUMNS = ("fault", "answers", "of those cut", "lost", "doubled", "billed wrongly", "not exact", "seconds", "seen")
HURRY = ("quota", "set", "--tenant", "acme", "--requests-per-minute", "100000")
"""The story's limit would be what is tested."""


def kinds() -> dict[str, ModuleType]:
    """Every fault by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(faults.kinds.__path__))
    return {name: importlib.import_module(f"faults.kinds.{name}") for name in names}


def row(*, kind: ModuleType, size: int, verdict: Verdict, seconds: float) -> str:
    """One line of the table."""
    counts = (verdict.answers, verdict.cut, verdict.lost, verdict.doubled, verdict.wrong, verdict.inexact)
    return f"| {kind.WHAT.format(size=f'{size:,}')} | {' | '.join(map(str, counts))} | {seconds:.0f} | {verdict.note} |"


def play(scene: Scene, kind: ModuleType, *, short: bool) -> bool:
    """Play one fault and print its line; whether it left nothing lost, doubled or billed wrongly."""
    size, began = kind.SHORT if short else kind.FULL, time.monotonic()
    try:
        verdict = kind.play(scene, size)
    except Exception as error:  # noqa: BLE001 - the other faults are played all the same
        traceback.print_exc()
        print(f"| {kind.WHAT.format(size=f'{size:,}')} | failed: {error} |", flush=True)
        return False
    print(row(kind=kind, size=size, verdict=verdict, seconds=time.monotonic() - began), flush=True)
    return bool(verdict.clean)


def prepared(stack: Stack) -> Scene:
    """The scene on a stack that runs: acme's deployment serves, and no limit is near."""
    world = make_world(stack)(Narrator(Console(stderr=True, quiet=True)))
    story.prepare(world)
    steps.register(world)
    steps.accept(world, party=TENANTS["acme"], role="deployer", who="acme")
    world.kubectl("apply", "-f", "examples/demo.yaml")
    steps.serving(world)
    world.paddock(*HURRY)
    return Scene(stack=stack, world=world)


def main() -> int:
    """Entry; the exit code says whether nothing was lost, doubled or billed wrongly."""
    parser = argparse.ArgumentParser(prog="python -m faults", description="real faults on the local stack")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(kinds())} (all)")
    parser.add_argument("--short", action="store_true", help="a few of each, as the tests do")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(kinds())
    if unknown:
        parser.error(f"no fault {', '.join(sorted(unknown))}: choose from {', '.join(kinds())}")
    stack, clean = Stack("faults"), list[bool]()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}, Linux {platform.release()}\n")
    try:
        stack.up(progress=Progress())
        scene = prepared(stack)
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
        clean += [play(scene, kinds()[name], short=chosen.short) for name in chosen.names or kinds()]
    finally:
        stack.down(progress=Progress(), erase=True)
    return 0 if all(clean) else 1


if __name__ == "__main__":
    others = {"cluster": cluster_table.main, "bugs": bugs.main}
    sys.exit(others[sys.argv[1]](sys.argv[2:]) if sys.argv[1:2] and sys.argv[1] in others else main())
