"""Draw docs/pictures/rollout-<strategy>.svg: every copy of a change over time, and who gets the requests.

`python bench/rollout_picture.py [FOLDER]`. What is drawn is a rehearsal of the operator's own planner: no step is made
up. One more picture has no device to spare, and one an engine that never answers.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from paddock_core.resources.llamadeployment import RolloutSpec
from paddock_operator.decide.rollout.types import Verdict

# Started as a file, this one finds its own folder alone.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.operator.rehearsal import Cluster, serving

TICK = 5.0
WIDTH, LEFT, ROW, BAR = 860, 70, 26, 18
TOP, SHARE = 44, 40
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12"'
LOADING, DRAINING = "#e2e8f0", "#fde68a"
ANSWERING = {"a": "#94a3b8", "b": "#16a34a"}
LEGEND = (
    ("answers, former revision", ANSWERING["a"]),
    ("answers, new revision", ANSWERING["b"]),
    ("waits or loads", LOADING),
    ("is taken away", DRAINING),
)


@dataclass
class Picture:
    """What was seen at each tick."""

    title: str
    lanes: dict[str, dict[int, str]] = field(default_factory=dict)
    """Name of a copy to the colour of each tick at which it was there."""
    shares: list[int] = field(default_factory=list)
    """Percent of the requests that the new revision gets; -1 where nobody answers."""

    def add(self, cluster: Cluster, weights: dict[str, int]) -> None:
        tick = len(self.shares)
        for name, copy in cluster.copies.items():
            colour = ANSWERING[copy.look.revision] if copy.look.answering else LOADING
            if not copy.look.going:
                self.lanes.setdefault(name, {})[tick] = DRAINING if copy.look.draining else colour
        self.shares.append(weights.get("b", 0) if weights else -1)


def rehearse(title: str, cluster: Cluster) -> Picture:
    """The change from `a` to `b`, from a moment before it to one after it."""
    picture = Picture(title=title)
    for tick in range(400):
        cluster.target = "a" if tick < 4 else "b"
        step = cluster.round()
        picture.add(cluster, step.weights)
        cluster.pass_time(TICK)
        over = tick > 8 and step.verdict in (Verdict.STEADY, Verdict.ROLLED_BACK) and not step.drain
        if over and len(set(picture.shares[-4:])) == 1 and tick > 12:
            break
    return picture


def drawn(picture: Picture) -> str:
    """As SVG."""
    ticks = len(picture.shares)
    step = (WIDTH - LEFT - 20) / ticks
    shares_top = TOP + ROW * len(picture.lanes) + 18
    height = shares_top + SHARE + 56
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
            f"<title>{picture.title}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="24" font-size="14" font-weight="bold">{picture.title}</text>',
            *_lanes(picture, step),
            *_shares(picture, step, shares_top),
            *_axis(ticks, step, shares_top + SHARE),
            *_legend(height - 12),
            "</svg>",
            "",
        ]
    )


def _lanes(picture: Picture, step: float) -> list[str]:
    lines = []
    for number, (name, seen) in enumerate(sorted(picture.lanes.items())):
        y = TOP + ROW * number
        revision, _, index = name.partition("-")
        word = {"a": "former", "b": "new"}[revision]
        lines.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{word} {int(index) + 1}</text>')
        for first, last, colour in _runs(seen):
            lines.append(_bar(LEFT + first * step, y, (last - first + 1) * step, BAR, colour))
    return lines


def _runs(seen: dict[int, str]) -> list[tuple[int, int, str]]:
    """Stretches of the same colour: first tick, last tick, colour."""
    runs: list[tuple[int, int, str]] = []
    for tick, colour in sorted(seen.items()):
        if runs and runs[-1][1] == tick - 1 and runs[-1][2] == colour:
            runs[-1] = (runs[-1][0], tick, colour)
        else:
            runs.append((tick, tick, colour))
    return runs


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _shares(picture: Picture, step: float, top: int) -> list[str]:
    """The share of the new revision as an area; where nobody answers, requests wait."""
    lines = [
        f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">requests</text>',
        _bar(LEFT, top, len(picture.shares) * step, SHARE, ANSWERING["a"]),
    ]
    shares = {tick: str(share) for tick, share in enumerate(picture.shares)}
    for first, last, text in _runs(shares):
        x, width, share = LEFT + first * step, (last - first + 1) * step, int(text)
        if share < 0:
            lines.append(_bar(x, top, width, SHARE, "#ffffff"))
            lines.append(f'<text x="{x + width / 2:.1f}" y="{top + 24}" text-anchor="middle">they wait</text>')
        elif share:
            tall = SHARE * share / 100
            lines.append(_bar(x, top + SHARE - tall, width, tall, ANSWERING["b"]))
            if width > 34:
                lines.append(f'<text x="{x + 4:.1f}" y="{top + SHARE - 5}" fill="#ffffff">{share} %</text>')
    return lines


def _axis(ticks: int, step: float, top: int) -> list[str]:
    every = next(minutes for minutes in (1, 2, 5, 10) if ticks * TICK / 60 / minutes <= 10)
    marks = [mark for mark in range(0, 60, every) if mark * 60 / TICK < ticks - 0.04 * ticks]
    return [
        f'<text x="{LEFT + mark * 60 / TICK * step:.1f}" y="{top + 16}" fill="#475569">{mark} min</text>'
        for mark in marks
    ]


def _legend(bottom: int) -> list[str]:
    lines, x = [], LEFT
    for word, colour in LEGEND:
        lines.append(f'<rect x="{x}" y="{bottom - 11}" width="14" height="12" rx="2" fill="{colour}"/>')
        lines.append(f'<text x="{x + 20}" y="{bottom}">{word}</text>')
        x += 44 + 7 * len(word)
    return lines


def pictures() -> dict[str, str]:
    """Every picture by its file's name."""
    slow = {"loads": 40.0, "drains": 30.0}
    scenes = {
        "rolling": ("RollingUpdate: three copies, one device to spare", RolloutSpec(), 4, set()),
        "no-device": ("RollingUpdate: no device to spare, so one copy goes first", RolloutSpec(), 3, set()),
        "drain-first": ("DrainFirst: the only copy; requests wait", RolloutSpec(strategy="DrainFirst"), 1, set()),
        "blue-green": ("BlueGreen: a whole second set", RolloutSpec(strategy="BlueGreen"), 6, set()),
        "canary": ("Canary: 10, 50 and 100 percent", RolloutSpec(strategy="Canary"), 4, set()),
        "broken": ("A broken engine, deadlineSeconds 180", RolloutSpec(deadline_seconds=180), 4, {"b"}),
    }
    made = {}
    for name, (title, spec, devices, broken) in scenes.items():
        cluster = serving(spec, wanted=min(3, devices), devices=devices)
        cluster.loads, cluster.drains, cluster.broken = slow["loads"], slow["drains"], broken
        made[f"rollout-{name}.svg"] = drawn(rehearse(title, cluster))
    return made


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "pictures"
    for name, text in pictures().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
