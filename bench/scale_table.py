"""What `bench/scale.py` prints, and what of it misses its target."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from scale_after import CHILD_EVENTS, COLD_START, FILES, KEY_AGE, LAG, RESYNC
from scale_parts import Result

NO_TARGET = ("", "")
YARDSTICK = "how fast the machine was just then: 40,000,000 empty turns of a Python loop on each core at once, s"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the figure of the most deployments is held to."""

    words: str
    met: Callable[[float], bool]


CONVERGED, RATIO, MEMORY, REQUESTS = (
    "seconds from the last apply until all serve and are routable",
    "operator (from the first apply) / bare client",
    "operator memory at its highest, start to deletion, storm included, MB",
    "API requests a deployment, benchmark's status included, watches left out",
)
TARGETS = {
    CONVERGED: Target(words="<= 60", met=lambda value: value <= 60),
    RATIO: Target(words="<= 2", met=lambda value: value <= 2),
    MEMORY: Target(words="< 300", met=lambda value: value < 300),
    REQUESTS: Target(words="<= 25", met=lambda value: value <= 25),
    CHILD_EVENTS: Target(words=">= 10,000", met=lambda value: value >= 10_000),
    KEY_AGE: Target(words="< 5", met=lambda value: value < 5),
    LAG: Target(words="<= 0.1", met=lambda value: value <= 0.1),
    COLD_START: Target(words="<= 60", met=lambda value: value <= 60),
    FILES: Target(words="<= 256", met=lambda value: value <= 256),
    RESYNC: Target(words="< 2", met=lambda value: value < 2),
}


def rendered(results: list[Result], extra: dict[str, float]) -> str:
    """Tables for docs/performance.md."""
    sizes = [f"{item.deployments:,}" for item in results]
    largest = _largest(results)
    rows = [
        ["deployments", *sizes, "target", "met"],
        ["---"] * (len(results) + 3),
        _row("seconds to apply them", [f"{item.applied:.1f}" for item in results]),
        _row(CONVERGED, [f"{item.converged:.1f}" for item in results], of=largest.converged),
        _row("a bare client, same writes, until all pods are ready, s", [f"{item.bare:.1f}" for item in results]),
        _row("requests that it had under way (the fastest number)", [str(item.bare_writers) for item in results]),
        _row(RATIO, [f"{_ratio(item):.2f}" for item in results], of=_ratio(largest)),
        _row("CPU s, all programs: operator's run / bare client's", [_both(item, None) for item in results]),
        *(_row(f"CPU s, {name}", [_both(item, name) for item in results]) for name in _programs(largest)),
        _row(YARDSTICK, [f"{item.yardstick:.2f}" for item in results]),
        _row("rounds a deployment", [f"{item.rounds / item.deployments:.1f}" for item in results]),
        _row(MEMORY, [f"{item.resident_mb:.0f}" for item in results], of=largest.resident_mb),
        _row(REQUESTS, [f"{_each(item):.1f}" for item in results], of=_each(largest)),
        _row("API requests of the bare client", [f"{item.bare_requests / item.deployments:.1f}" for item in results]),
        _row("seconds until all are gone again", [f"{item.gone:.1f}" for item in results]),
    ]
    most = f"{largest.deployments:,}"
    of_largest = [[f"with {most} deployments", "figure", "target", "met"], ["---"] * 4]
    of_largest += [_row(name, [f"{value:.4g}"], of=value) for name, value in extra.items()]
    told = f"Requests a deployment, of {most}, by verb and kind: {_kinds(largest)}."
    return "\n\n".join([_lines(rows), told, _lines(of_largest)])


def missed(results: list[Result], extra: dict[str, float]) -> list[str]:
    """Names of the rows that miss their targets, with the most deployments."""
    item = _largest(results)
    found = {CONVERGED: item.converged, RATIO: _ratio(item), MEMORY: item.resident_mb, REQUESTS: _each(item), **extra}
    return [name for name, target in TARGETS.items() if not target.met(found[name])]


def _row(name: str, figures: list[str], *, of: float | None = None) -> list[str]:
    target = TARGETS.get(name)
    if target is None or of is None:
        return [name, *figures, *NO_TARGET]
    return [name, *figures, target.words, "yes" if target.met(of) else "**no**"]


def _lines(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _largest(results: list[Result]) -> Result:
    return max(results, key=lambda item: item.deployments)


def _ratio(item: Result) -> float:
    return item.whole / item.bare


def _programs(largest: Result) -> list[str]:
    """Whoever has run, by what they took with the most deployments, the most first."""
    spent = {name: seconds + largest.bare_cpu_of.get(name, 0.0) for name, seconds in largest.cpu_of.items()}
    spent = {**largest.bare_cpu_of, **spent}
    return sorted(spent, key=lambda name: -spent[name])


def _both(item: Result, name: str | None) -> str:
    """CPU seconds of a program, or of all, in the operator's run and in the bare client's."""
    of_all = (item.cpu_of, item.bare_cpu_of)
    return " / ".join(f"{sum(spent.values()) if name is None else spent.get(name, 0.0):.1f}" for spent in of_all)


def _each(item: Result) -> float:
    return sum(item.requests.values()) / item.deployments


def _kinds(item: Result) -> str:
    found = Counter({f"{verb} {kind}": count for (verb, kind), count in item.requests.items()})
    told = [f"{name} {count / item.deployments:.2f}" for name, count in found.most_common() if count]
    return ", ".join(told[:24])
