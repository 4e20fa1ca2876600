"""`paddock local`: the whole product on this machine."""

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer
from paddock_local import golang, kubernetes, simulation
from paddock_local.errors import LocalError
from paddock_local.parts import BY_NAME
from paddock_local.paths import find_checkout
from paddock_local.progress import Progress
from paddock_local.settings import LocalSettings
from paddock_local.stack import DEFAULT_STACK, PartStatus, Stack, names
from rich.console import Console
from rich.table import Table

app = typer.Typer(help="Run the whole product on this machine.", no_args_is_help=True)
FAILED = 1
FOLLOW_INTERVAL_S = 0.3

AllStacks = Annotated[bool, typer.Option("--all", help="Every stack of this checkout.")]
Erase = Annotated[bool, typer.Option(help="Remove the data too.")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="Go on until interrupted.")]
StackName = Annotated[str, typer.Option("--stack", help="Name of the stack; each has its own data and ports.")]


class Output(StrEnum):
    """For people or for programs."""

    TABLE = "table"
    JSON = "json"


@contextmanager
def _reported() -> Iterator[None]:
    """An error of the local stack is a message and exit code 1, never a traceback."""
    try:
        yield
    except LocalError as problem:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {problem}", markup=True)
        raise typer.Exit(FAILED) from None


def _table(rows: list[PartStatus]) -> Table:
    table = Table("PART", "STATE", "READY", "PID", "PORTS", box=None)
    for row in rows:
        ports = ", ".join(str(port) for port in row.ports.values())
        ready = "" if row.ready is None else ("yes" if row.ready else "no")
        table.add_row(row.part, row.state, ready, str(row.pid or ""), ports)
    return table


@app.command()
def up(
    stack: StackName = DEFAULT_STACK,
    only: Annotated[str, typer.Option(help="Groups or parts, by comma: kubernetes, postgres, paddock, ...")] = "",
    context: Annotated[
        str | None, typer.Option(help="Use this context of your kubeconfig instead of starting Kubernetes.")
    ] = None,
    nodes: Annotated[
        list[str] | None,
        typer.Option("--gpu-nodes", help="Simulated GPU nodes, such as 4xH100-80x8 (repeatable); kept until changed."),
    ] = None,
) -> None:
    """Start the stack and wait until it is ready."""
    with _reported():
        wanted = [name.strip() for name in only.split(",") if name.strip()]
        the_stack = Stack(stack)
        the_stack.up(progress=Progress(), only=wanted, context=context, nodes=nodes or None)
        Console(soft_wrap=True).print(_table(the_stack.status()))
        typer.echo(f"\nlogs:    {the_stack.paths.folder('logs')}")
        typer.echo(f"kubectl: export KUBECONFIG={the_stack.kubeconfig}; {the_stack.kubectl} get pods -A")


@app.command()
def down(
    stack: StackName = DEFAULT_STACK,
    every: AllStacks = False,  # noqa: FBT002 - an option of the command line
    erase: Erase = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Stop the stack. Its data stays unless --erase is given."""
    with _reported():
        for name in names() if every else [stack]:
            Stack(name).down(progress=Progress(), erase=erase)


@app.command()
def status(
    stack: StackName = DEFAULT_STACK,
    output: Annotated[Output, typer.Option("-o", "--output")] = Output.TABLE,
) -> None:
    """What runs. Exit code 1 when a part is not ready, or none runs."""
    with _reported():
        rows = Stack(stack).status()
    if output is Output.JSON:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
    elif rows:
        Console(soft_wrap=True).print(_table(rows))
    else:
        typer.echo(f"the stack {stack!r} is not running: start it with `paddock local up`", err=True)
    if not rows or not all(row.ready for row in rows):
        raise typer.Exit(FAILED)


@app.command()
def logs(
    part: Annotated[str, typer.Argument(help=f"One of: {', '.join(BY_NAME)}, supervisord.")],
    stack: StackName = DEFAULT_STACK,
    follow: Follow = False,  # noqa: FBT002 - an option of the command line
    lines: Annotated[int, typer.Option(min=0, help="How many of the last lines.")] = 50,
) -> None:
    """The log of a part."""
    with _reported():
        if part not in (*BY_NAME, "supervisord"):
            raise LocalError(f"no part is called {part!r}: choose from {', '.join((*BY_NAME, 'supervisord'))}")
        file = Stack(stack).paths.log(part)
        if not file.is_file():
            raise LocalError(f"{part} has written nothing yet: start it with `paddock local up`")
        _print_log(file, lines=lines, follow=follow)


def _print_log(file: Path, *, lines: int, follow: bool) -> None:
    stream: TextIO = file.open(encoding="utf-8", errors="replace")
    sys.stdout.writelines(stream.readlines()[-lines:] if lines else [])
    try:
        while follow:
            sys.stdout.write(stream.read())
            sys.stdout.flush()
            time.sleep(FOLLOW_INTERVAL_S)
            # A rotated log goes on in a new file of the same name.
            if file.exists() and file.stat().st_ino != Path(f"/proc/self/fd/{stream.fileno()}").stat().st_ino:
                sys.stdout.write(stream.read())
                stream.close()
                stream = file.open(encoding="utf-8", errors="replace")
    except KeyboardInterrupt:
        sys.stdout.flush()
    finally:
        stream.close()


@app.command()
def build(
    *, nodes: Annotated[bool, typer.Option("--gpu-nodes", help="Also what simulated GPU nodes need.")] = False
) -> None:
    """Find or build Kubernetes and what belongs to it, without starting anything."""
    with _reported():
        built = kubernetes.ensure(find_checkout(), given=LocalSettings().kubernetes_bin, progress=Progress())
        module = find_checkout() / golang.MODULE
        typer.echo(f"Kubernetes {kubernetes.kubernetes_version(module)}: {built.programs}")
        if nodes:
            typer.echo(f"kwok and LeaderWorkerSet: {simulation.ensure(find_checkout(), progress=Progress())}")


@app.command()
def env(stack: StackName = DEFAULT_STACK) -> None:
    """Shell lines that point paddock and kubectl at the stack: eval "$(paddock local env)"."""
    with _reported():
        for name, value in Stack(stack).shell_environment().items():
            typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def demo(stack: StackName = DEFAULT_STACK) -> None:
    """Start the stack and tell the story of the product on it, step by step."""
    # Imported here: the story needs the whole product, the other commands do not.
    from paddock_local.demo import run
    from paddock_local.scene import make_world

    with _reported():
        the_stack = Stack(stack)
        the_stack.up(progress=Progress())
        run(make_world(the_stack), Console())


if __name__ == "__main__":
    app()
