"""What `paddock plan` reads and prints."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddock_cli.errors import CliError
from paddock_cli.output import print_fields

if TYPE_CHECKING:
    from paddock_core.planning.calibrate import Run
    from paddock_core.planning.constants import Constants

_MOST_BYTES = 10 * 1024**2
_PARTS = {
    "weights": ("W", "white on blue"),
    "kv_cache": ("K", "black on green"),
    "activations": ("A", "black on yellow"),
    "runtime": ("R", "white on red"),
}
"""What holds memory, by its letter in the bar and its colours on a terminal."""


def print_plan(plan: dict[str, Any]) -> None:
    """A plan for people: its sizes, a bar of one GPU's memory, and the reasons."""
    from paddock_core.planning.explain import size_text

    whole = f"{plan['gpus']} {plan['gpu'] or ''}".strip()
    print_fields(
        {
            "model": plan["model"],
            "engine": plan["engine"],
            "precision": f"{plan['precision']}, cache {plan['kv_precision']}",
            "tensor x pipeline": f"{plan['tensor_parallel']} x {plan['pipeline_parallel']}",
            "gpus": whole if plan["mig_profile"] is None else f"{whole}, part {plan['mig_profile']}",
            "pods": f"{plan['pods_per_group']} with {plan['gpus_per_pod']} GPUs each",
            "weights": size_text(plan["weights_bytes"]),
            "cache": f"{size_text(plan['kv_cache_bytes'])} for {plan['max_concurrency']} sequences of"
            f" {plan['context_length']} tokens",
            "fits": f"{plan['kv_tokens']} tokens, {plan['max_sequences']} such sequences",
            "engine limits": f"{plan['max_batch_size']} sequences, {plan['max_num_tokens']} tokens a step",
        }
    )
    print_bar(plan)
    print_fields({"why": plan["explanation"]})


def print_bar(plan: dict[str, Any]) -> None:
    """How one GPU's memory (on a CPU, the process's) is used."""
    from paddock_core.planning.explain import memory_bar, size_text
    from paddock_core.planning.types import MemoryUse
    from rich.console import Console
    from rich.text import Text

    use = plan["per_gpu"]
    bar, legend = Text(memory_bar(MemoryUse(**use), width=60)), Text()
    for name, (letter, style) in _PARTS.items():
        bar.highlight_regex(f"{letter}+", style)
        legend.append(f" {letter} ", style).append(f" {name.replace('_', ' ')} {size_text(use[name])}  ")
    legend.append(f" .  free for more cache {size_text(MemoryUse(**use).free)} of {size_text(use['total'])}")
    console = Console(soft_wrap=not sys.stdout.isatty())
    console.print(Text("each GPU" if plan["gpus"] else "the process"), bar)
    console.print(legend)


def load_constants(path: Path | None) -> "Constants":
    """The packaged constants, with those that the file has in their stead. Raises CliError."""
    import yaml
    from paddock_core.planning.constants import overridden, packaged_constants
    from paddock_core.planning.errors import ConstantsError

    if path is None:
        return packaged_constants()
    try:
        return overridden(packaged_constants(), yaml.safe_load(_text(path)) or {})
    except (yaml.YAMLError, ConstantsError) as error:
        raise CliError(f"{path}: {error}", advice="docs/planning.md lists the constants and their units") from error


def write_constants(path: Path, values: dict[str, float]) -> None:
    """Constants as `--constants` reads them."""
    import yaml

    path.write_text(yaml.safe_dump(values, sort_keys=True), encoding="utf-8")


def load_runs(path: Path) -> list["Run"]:
    """Measured runs, from a JSON list or a CSV file with a header. Raises CliError or RunsError."""
    from paddock_core.planning.calibrate import read_runs
    from paddock_core.planning.errors import RunsError

    text = _text(path)
    if path.suffix != ".json":
        return read_runs(csv.DictReader(text.splitlines()))
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise CliError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RunsError("expected a list of runs")
    return read_runs(rows)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CliError(f"{path} is larger than {_MOST_BYTES} bytes")
        # Spreadsheets put a byte order mark before the first column's name.
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{path}: {error}") from error
