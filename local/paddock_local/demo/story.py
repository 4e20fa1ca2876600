"""Runs the steps in order on a stack that is up, and says what to try next."""

import shlex
import time
from collections.abc import Callable

from rich.console import Console

from paddock_local.demo.cast import LICENSE
from paddock_local.demo.narrator import Narrator
from paddock_local.demo.steps import STEPS, ledger
from paddock_local.demo.world import World


def prepare(world: World) -> None:
    """Undo what an earlier run left: deployments and acceptances. The ledger stays; the story counts from here."""
    world.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    world.kubectl(
        "delete", "llamadeployments", "--all", "-n", "acme", "--ignore-not-found", who="kubernetes-admin", expect=None
    )
    for accepted in world.paddock("license", "list", "--license", LICENSE).json:
        if accepted["state"] == "active":
            world.paddock("license", "revoke", accepted["id"], "--reason", "the story starts anew")
    world.memory["billed"] = {}
    world.memory["ledger_before"] = ledger(world)


def tell(world: World) -> None:
    """The whole story. Raises StoryError at the first step that does not go as it must."""
    for number, step in enumerate(STEPS, start=1):
        world.narrator.step(number, (step.__doc__ or step.__name__).splitlines()[0])
        step(world)


def run(make_world: Callable[[Narrator], World], console: Console) -> None:
    """Tell the story and end with what to try next."""
    began = time.monotonic()
    world = make_world(Narrator(console))
    console.print("[bold]Making room for the story[/]")
    prepare(world)
    tell(world)
    console.print(f"\n[bold green]The whole story held[/] ({time.monotonic() - began:.0f} s). The stack keeps running.")
    console.print("\nTry next:")
    for line, why in next_steps(world):
        console.print(f"  [cyan]{line}[/]  [dim]{why}[/]", soft_wrap=True)


def next_steps(world: World) -> list[tuple[str, str]]:
    """Commands that a person can paste."""
    venv = ".paddock/venv/bin"
    kubeconfig = shlex.quote(str(world.kubeconfig("acme").relative_to(world.checkout)))
    key = shlex.quote(str(world.secret_file("acme-key").relative_to(world.checkout)))
    return [
        (f'eval "$({venv}/paddock local env)"', "so that paddock and kubectl speak to this stack"),
        (f"KUBECONFIG={kubeconfig} kubectl describe llamadeployment smollm2 -n acme", "as the tenant"),
        (f'curl -sN {world.gateway_url}/v1/models -H "Authorization: Bearer $(cat {key})"', "the endpoint"),
        (f"{venv}/paddock usage --group-by model", "what was used"),
        (f"{venv}/paddock local logs gateway -f", "what the gateway says"),
        ("make down", "stops everything"),
    ]
