"""The images that engines run in: which carries what, and their digests."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli.errors import CliError, UsageError
from paddock_cli.output import Output, OutputOption, print_rows, say, show

app = typer.Typer(help=__doc__, invoke_without_command=True)

DEFAULT_FILE = Path("images.yaml")
FileOption = Annotated[
    Path,
    typer.Option("--file", help="Chart values with this platform's pins: written by `pin`, shown by `list`."),
]


@app.callback()
def images(context: typer.Context) -> None:
    """List the images, newest first. Works without a control plane."""
    if context.invoked_subcommand is None:
        list_images(file=DEFAULT_FILE, output=Output.TABLE)


@app.command("list")
def list_images(*, file: FileOption = DEFAULT_FILE, output: OutputOption = Output.TABLE) -> None:
    """List the images, newest first, with the pins of a file if it is there."""
    rows = [{"id": image.id, **asdict(image)} for image in _table(file)]
    show(rows, output=output, table=_print)


@app.command()
def pin(
    *,
    image: Annotated[
        list[str] | None, typer.Option(help="An image's id; may be repeated. The ones that engines would get if none.")
    ] = None,
    serving: Annotated[
        str | None, typer.Option(help="Repository of your own serving image, for example registry.example/llm/serving.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Its tag, where that is not the release.")] = None,
    registry_mirror: Annotated[
        str | None, typer.Option(help="URL of a registry to ask in the stead of the base image's own.")
    ] = None,
    base: Annotated[bool, typer.Option("--base/--no-base", help="Look up the base image too.")] = True,
    file: FileOption = DEFAULT_FILE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Look up digests in the registries and write them to a file of chart values.

    Give the file to `helm upgrade -f`: from then on pods run exactly these images. A registry that wants to know who
    asks is told PADDOCK_REGISTRY_USER and PADDOCK_REGISTRY_PASSWORD.
    """
    if not base and serving is None:
        raise UsageError("nothing to look up", advice="give --serving, or leave out --no-base")
    chosen = _chosen(image, _table(file))
    pins = _read(file)
    for row in chosen:
        pins[row.id] = {**pins.get(row.id, {}), **_looked_up(row, serving, tag, registry_mirror, base=base)}
    _write(file, pins)
    say(f"wrote {file}: helm upgrade --reuse-values -f {file} ...")
    show({row.id: pins[row.id] for row in chosen}, output=output, table=_print_pins)


def _looked_up(row: Any, serving: str | None, tag: str | None, mirror: str | None, *, base: bool) -> dict[str, str]:
    from paddock_cli.registry import resolve

    found: dict[str, str] = {}
    if base:
        found["baseDigest"] = resolve(repository=row.base.repository, tag=row.base.tag, mirror=mirror)
    if serving is not None:
        at = tag or row.release
        found |= {"repository": serving, "tag": at, "digest": resolve(repository=serving, tag=at)}
    return found


def _chosen(ids: list[str] | None, rows: tuple[Any, ...]) -> list[Any]:
    from paddock_core.catalog.images import image_for

    if not ids:
        engines = sorted({engine for row in rows for engine in row.engines})
        found = {row.id: row for engine in engines if (row := image_for(engine, rows)) is not None}
        return list(found.values())
    unknown = sorted(set(ids) - {row.id for row in rows})
    if unknown:
        raise UsageError(f"no image {', '.join(unknown)}", advice="`paddock images` lists them")
    return [row for row in rows if row.id in ids]


def _table(file: Path) -> tuple[Any, ...]:
    import msgspec
    from paddock_core.catalog.images import Pin, packaged_images, with_pins

    try:
        return with_pins(packaged_images(), msgspec.convert(_read(file), dict[str, Pin]))
    except ValueError as error:
        raise CliError(f"{file}: {error}", advice="mend the file, or name another one with --file") from error


def _read(file: Path) -> dict[str, dict[str, str]]:
    """The pins in a file of chart values; none where it is not there."""
    import yaml

    if not file.exists():
        return {}
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        pins: dict[str, dict[str, str]] = document["serving"]["images"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise CliError(f"{file} is no file of pins: {error!r}", advice="name another one with --file") from error
    return pins


def _write(file: Path, pins: Mapping[str, Any]) -> None:
    import yaml

    text = yaml.safe_dump({"serving": {"images": dict(pins)}}, sort_keys=True)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(f"# Written by `paddock images pin`: values of the chart.\n{text}", encoding="utf-8")
    draft.replace(file)


def _print(rows: list[dict[str, Any]]) -> None:
    columns = ("id", "engines", "TensorRT-LLM", "TensorRT", "CUDA", "driver", "base pinned", "serving image")
    print_rows(
        (
            (
                row["id"],
                ", ".join(row["engines"]),
                row["tensorrt_llm"],
                row["tensorrt"],
                row["cuda"],
                row["driver"],
                "yes" if row["base"]["digest"] else "no",
                "not pinned" if row["serving"]["digest"] is None else _short(row["serving"]),
            )
            for row in rows
        ),
        *columns,
    )


def _print_pins(pins: dict[str, dict[str, str]]) -> None:
    print_rows(((name, key, value) for name, pin in pins.items() for key, value in pin.items()), "image", "value", "is")


def _short(reference: Mapping[str, str]) -> str:
    return f"{reference['repository']}:{reference['tag']}@{reference['digest'][:19]}"
