"""What `bench/scale.py` prints."""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scale_run import Result


def rendered(results: "list[Result]", extra: dict[str, float]) -> str:
    """Tables for docs/performance.md."""
    sizes = [f"{item.deployments:,}" for item in results]
    rows = [
        ["deployments", *sizes],
        ["---"] * (len(results) + 1),
        ["seconds to apply them", *(f"{item.applied:.1f}" for item in results)],
        ["seconds from the last apply until all serve", *(f"{item.converged:.1f}" for item in results)],
        ["a bare client, same writes, until all pods are ready, s", *(f"{item.bare:.1f}" for item in results)],
        ["operator (from the first apply) / bare client", *(f"{item.whole / item.bare:.2f}" for item in results)],
        ["CPU s, all programs: operator's run / bare client's", *(_both(item, None) for item in results)],
        *([f"CPU s, {name}", *(_both(item, name) for item in results)] for name in _programs(results)),
        ["rounds a deployment", *(f"{item.rounds / item.deployments:.1f}" for item in results)],
        ["operator memory, most so far, MiB", *(f"{item.resident_mib:.0f}" for item in results)],
        ["API requests a deployment", *(f"{_each(item):.1f}" for item in results)],
        ["API requests of the bare client", *(f"{item.bare_requests / item.deployments:.1f}" for item in results)],
        ["seconds until all are gone again", *(f"{item.gone:.1f}" for item in results)],
    ]
    told = "Serving and Routable" if all(item.routable for item in results) else "Serving"
    lines = ["\n".join(f"| {' | '.join(row)} |" for row in rows)]
    lines.append(f"All serve: {told}. Requests a deployment, of {sizes[-1]}, by verb and kind: {_kinds(results[-1])}.")
    of_largest = [f"| {name} | {value:.3g} |" for name, value in extra.items()]
    lines.append("\n".join([f"| with {max(sizes, key=len)} deployments | figure |", "| --- | --- |", *of_largest]))
    return "\n\n".join(lines)


def _programs(results: "list[Result]") -> list[str]:
    """Whoever has run, by what they took with the most deployments, the most first."""
    spent = max(results, key=lambda item: item.deployments).cpu_of
    return sorted(spent, key=lambda name: -spent[name])


def _both(item: "Result", name: str | None) -> str:
    """CPU seconds of a program, or of all, in the operator's run and in the bare client's."""
    of_all = (item.cpu_of, item.bare_cpu_of)
    return " / ".join(f"{sum(spent.values()) if name is None else spent.get(name, 0.0):.1f}" for spent in of_all)


def _each(item: "Result") -> float:
    return sum(item.requests.values()) / item.deployments


def _kinds(item: "Result") -> str:
    found = Counter({f"{verb} {kind}": count for (verb, kind), count in item.requests.items()})
    told = [f"{name} {count / item.deployments:.2f}" for name, count in found.most_common() if count]
    return ", ".join(told[:24])
