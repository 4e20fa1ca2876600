"""`python -m faults`: every fault at full length on the local stack "faults"; prints the table of docs/metering.md.

Usage: python -m faults [--short] [NAME ...]
"""

import argparse
import importlib
import pkgutil
import sys
import time
from types import ModuleType

from paddock_local.demo import steps, story
from paddock_local.demo.cast import TENANTS
from paddock_local.demo.narrator import Narrator
from paddock_local.progress import Progress
from paddock_local.scene import make_world
from paddock_local.stack import Stack
from rich.console import Console

import faults.kinds
from faults.scene import Scene
from faults.verdict import Verdict

COLUMNS = ("fault", "answers", "of those cut", "lost", "doubled", "billed wrongly", "not exact", "seconds")


def kinds() -> dict[str, ModuleType]:
    """Every fault by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(faults.kinds.__path__))
    return {name: importlib.import_module(f"faults.kinds.{name}") for name in names}


def row(*, kind: ModuleType, size: int, verdict: Verdict, seconds: float) -> str:
    """One line of the table."""
    counts = (verdict.answers, verdict.cut, verdict.lost, verdict.doubled, verdict.wrong, verdict.inexact)
    return f"| {kind.WHAT.format(size=size)} | {' | '.join(map(str, counts))} | {seconds:.0f} |"


def main() -> int:
    """Entry; the exit code says whether nothing was lost, doubled or billed wrongly."""
    parser = argparse.ArgumentParser(prog="python -m faults", description="real faults on the local stack")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(kinds())} (all)")
    parser.add_argument("--short", action="store_true", help="a few of each, as the tests do")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(kinds())
    if unknown:
        parser.error(f"no fault {', '.join(sorted(unknown))}: choose from {', '.join(kinds())}")
    stack = Stack("faults")
    clean = True
    try:
        stack.up(progress=Progress())
        world = make_world(stack)(Narrator(Console(stderr=True, quiet=True)))
        story.prepare(world)
        steps.register(world)
        steps.accept(world, party=TENANTS["acme"], role="deployer", who="acme")
        world.kubectl("apply", "-f", "examples/demo.yaml")
        steps.serving(world)
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
        for name in chosen.names or kinds():
            kind = kinds()[name]
            size = kind.SHORT if chosen.short else kind.FULL
            began = time.monotonic()
            verdict = kind.play(Scene(stack=stack, world=world), size)
            print(row(kind=kind, size=size, verdict=verdict, seconds=time.monotonic() - began), flush=True)
            clean = clean and verdict.clean
    finally:
        stack.down(progress=Progress(), erase=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
