"""A plot for terminals: one column a point in time."""

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"
HEIGHT = 8


def plot(values: Sequence[int], *, labels: Sequence[str], width: int, height: int = HEIGHT) -> list[str]:
    """Lines of a column plot: the largest value on its axis, the first and the last label below.

    Neighbours are added up where there are more points than columns; few points get broad columns.
    """
    if not values:
        return []
    scale = amount(max(values))
    room = max(width - len(scale) - 2, len(labels[0]) + len(labels[-1]) + 1)
    step = -(-len(values) // room)
    sums = [sum(values[at : at + step]) for at in range(0, len(values), step)]
    scale = amount(max(sums)).rjust(len(scale))
    broad = max(1, min(4, room // len(sums)))
    rows = [
        "".join(_cell(value, max(sums), row, height) * broad for value in sums) for row in range(height - 1, -1, -1)
    ]
    margin = " " * len(scale)
    axes = [scale + " ┤", *([margin + " │"] * (height - 2)), "0".rjust(len(scale)) + " ┤"]
    below = labels[0] + labels[-1].rjust(max(len(sums) * broad - len(labels[0]), len(labels[-1]) + 1))
    lines = [axis + row.rstrip() for axis, row in zip(axes, rows, strict=True)]
    return [*lines, f"{margin}  {below if len(values) > 1 else labels[0]}"]


def _cell(value: int, most: int, row: int, height: int) -> str:
    """The part of a column that lies in a row; whatever is not nothing is seen."""
    eighths = round(8 * height * value / most) if most else 0
    if value > 0:
        eighths = max(eighths, 1)
    return _EIGHTHS[min(max(eighths - 8 * row, 0), 8)]


def amount(number: int) -> str:
    """A number in few characters: 950, 12.3k, 4.56M."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
