"""A day of a deployment in a few minutes: what is asked, and how many copies scaling wants, as a picture.

`python bench/scaling_picture.py > docs/pictures/scaling.svg`. The copies are those of the operator's own pure function,
asked every second; only the load and the time that a copy takes to load are made up here.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from paddock_core.resources.llamadeployment import ScalingSpec, ScalingStatus
from paddock_operator.decide.scaling import Look, judge
from paddock_operator.decide.scaling_advice import Answering, Demand

SPEC = ScalingSpec(
    min_replicas=0,
    max_replicas=6,
    in_flight_per_replica=8,
    scale_down_delay_seconds=120,
    idle_seconds=240,
    hold_seconds=120,
)
LOAD_SECONDS = 45
"""From the wish for a copy to its first token."""
START = 1_800_000_000
STAGES = ((60, 0), (120, 5), (180, 22), (160, 40), (40, 12), (160, 42), (200, 14), (100, 6), (520, 0), (90, 3))
"""Seconds, and the requests that are asked at once."""


@dataclass(frozen=True, slots=True)
class Second:
    """One moment of the run."""

    asked: int
    held: int
    desired: int
    answering: int
    reason: str


def load_at(second: int) -> int:
    """What is asked, with a little noise that is the same in each run."""
    for seconds, asked in STAGES:
        if second < seconds:
            return max(0, asked + (second * 7919 % 5 - 2 if asked > 4 else 0))
        second -= seconds
    return 0


def play() -> Iterator[Second]:
    """Second by second: the function's answer becomes copies that load, and its memory is all that is kept."""
    before: ScalingStatus | None = None
    born: list[int] = []
    for second in range(sum(seconds for seconds, _ in STAGES)):
        asked = load_at(second)
        ready = [at + LOAD_SECONDS for at in born if second - at >= LOAD_SECONDS]
        held = asked if not ready else 0
        verdict = judge(
            Look(
                now=START + second,
                scaling=SPEC,
                replicas=0,
                before=before,
                demand=Demand(in_flight=asked - held, held=held, idle_seconds=None),
                answering=tuple(Answering(since=START + at) for at in ready),
                max_concurrency=16,
                gpus_per_copy=1,
            )
        )
        before = verdict.status
        born = [*born, *[second] * (verdict.desired - len(born))][: verdict.desired]
        reason = "" if before is None else before.reason
        yield Second(asked=asked, held=held, desired=verdict.desired, answering=len(ready), reason=reason)


WIDTH, HEIGHT, LEFT, RIGHT = 1000, 470, 60, 20
TOP_PLOT, LOW_PLOT = (50, 170), (240, 380)
"""Top and bottom of the two plots."""
FONT = 'font-family="sans-serif" font-size="13"'


def picture(run: list[Second]) -> str:
    """The SVG."""
    most = max(item.asked for item in run)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *_axis(TOP_PLOT, top=most, title="requests at once: in flight, and held while nothing answers", step=10),
        *_axis(LOW_PLOT, top=SPEC.max_replicas, title="copies: wanted, and answering", step=1),
        _area([item.asked for item in run], TOP_PLOT, top=most, colour="#9db8d9"),
        _area([item.held for item in run], TOP_PLOT, top=most, colour="#d98a3d"),
        _area([item.answering for item in run], LOW_PLOT, top=SPEC.max_replicas, colour="#a8cfa8"),
        _line([item.desired for item in run], LOW_PLOT, top=SPEC.max_replicas, colour="#1f5c2e"),
        *_minutes(len(run)),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def changes(run: list[Second]) -> Iterator[tuple[int, int, str]]:
    """Second, copies and reason of each change."""
    last = None
    for second, item in enumerate(run):
        if item.desired != last:
            yield second, item.desired, item.reason
        last = item.desired


def _across(second: int, seconds: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * second / seconds, 1)


def _up(value: float, plot: tuple[int, int], top: int) -> float:
    return round(plot[1] - (plot[1] - plot[0]) * value / top, 1)


def _points(values: list[int], plot: tuple[int, int], top: int) -> list[str]:
    """Steps: only where a value changes."""
    points, last = [], None
    for second, value in enumerate(values):
        if value != last:
            if last is not None:
                points.append(f"{_across(second, len(values))},{_up(last, plot, top)}")
            points.append(f"{_across(second, len(values))},{_up(value, plot, top)}")
        last = value
    return [*points, f"{_across(len(values), len(values))},{_up(values[-1], plot, top)}"]


def _area(values: list[int], plot: tuple[int, int], *, top: int, colour: str) -> str:
    ends = (f"{LEFT},{plot[1]}", f"{WIDTH - RIGHT},{plot[1]}")
    return f'<polygon fill="{colour}" points="{" ".join((ends[0], *_points(values, plot, top), ends[1]))}"/>'


def _line(values: list[int], plot: tuple[int, int], *, top: int, colour: str) -> str:
    points = " ".join(_points(values, plot, top))
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2.5" points="{points}"/>'


def _axis(plot: tuple[int, int], *, top: int, title: str, step: int) -> Iterator[str]:
    yield f'<text x="{LEFT}" y="{plot[0] - 14}" fill="#333333">{escape(title)}</text>'
    for value in range(0, top + 1, step):
        height = _up(value, plot, top)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}" stroke="#e4e4e4"/>'
        yield f'<text x="{LEFT - 8}" y="{height + 4}" text-anchor="end" fill="#555555">{value}</text>'


def _minutes(seconds: int) -> Iterator[str]:
    for second in range(0, seconds + 1, 120):
        place = f'x="{_across(second, seconds)}" y="{LOW_PLOT[1] + 22}"'
        yield f'<text {place} text-anchor="middle" fill="#555555">{second // 60} min</text>'


def _legend() -> Iterator[str]:
    entries = (("in flight", "#9db8d9"), ("held", "#d98a3d"), ("wanted", "#1f5c2e"), ("answering", "#a8cfa8"))
    for number, (word, colour) in enumerate(entries):
        left = LEFT + 130 * number
        yield f'<rect x="{left}" y="{HEIGHT - 34}" width="18" height="12" fill="{colour}"/>'
        yield f'<text x="{left + 26}" y="{HEIGHT - 23}" fill="#333333">{word}</text>'


def main() -> int:
    """The picture on stdout, its changes in words on stderr."""
    run = list(play())
    for second, copies, reason in changes(run):
        print(f"{second // 60:2}:{second % 60:02}  {copies}  {reason}", file=sys.stderr)
    print(picture(run), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
