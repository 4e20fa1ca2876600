"""`paddock`: hosts open-weight models for tenants on Kubernetes, with licenses enforced and tokens metered.

Every file in `nouns/` is a noun: its name is the command, the first line of its docstring the help, its `app` the
commands. A noun is imported when it is used, so that the others cost nothing.
"""

import ast
import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from paddock_cli.client import connection
from paddock_cli.errors import CliError

_COMPLETION = ("install_completion", "show_completion")
_NOUNS = Path(__file__).parent / "nouns"


class NounGroup(TyperGroup):
    """The top-level group: finds nouns by their files and turns errors into exit codes."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the group's interface
        return sorted(path.stem for path in _NOUNS.glob("*.py") if path.stem != "__init__")

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=_summary(cmd_name))
        noun = importlib.import_module(f"paddock_cli.nouns.{cmd_name}")
        command = typer.main.get_command(noun.app)
        command.name = cmd_name
        # Completion is installed for `paddock`, not for a noun.
        command.params = [param for param in command.params if param.name not in _COMPLETION]
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CliError as error:
            error.tell()
            raise typer.Exit(error.code) from error


def _summary(noun: str) -> str:
    """The first line of a noun's docstring, read without importing it."""
    tree = ast.parse((_NOUNS / f"{noun}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


app = typer.Typer(
    cls=NounGroup,
    name="paddock",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def paddock(
    url: Annotated[
        str, typer.Option(envvar="PADDOCK_URL", help="Base URL of the control plane.")
    ] = "http://127.0.0.1:7401",
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="PADDOCK_TOKEN_FILE", help="File with the bearer token; PADDOCK_TOKEN holds one itself."),
    ] = None,
) -> None:
    """Host open-weight models for tenants on Kubernetes, with licenses enforced and every token metered.

    Exit codes: 0 done, 1 failed, 2 wrong command line, 3 denied, 4 not found, 5 not reachable.
    """
    connection.url = url.rstrip("/")
    connection.token_file = token_file


if __name__ == "__main__":
    app()
