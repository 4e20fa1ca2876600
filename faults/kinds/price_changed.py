"""The price changes in the middle of the month, under load; then the month is stated."""

import datetime as dt
import json
import time
from typing import Any

from faults.beside import Beside, MovedClock
from faults.books import Since
from faults.scene import Scene
from faults.verdict import Verdict

WHAT = "price changed in mid-month under load, {size} times, and the month stated"
SHORT, FULL = 2, 10
TOKENS = 3
AHEAD_SECONDS = 1.0
MILLION = 1_000_000


def play(scene: Scene, size: int) -> Verdict:
    """Each row has the price of its moment of admission, to the nano-unit, and the statement is their sum."""
    with scene.clock() as clock, scene.beside("controlplane", "a-month-later", clock=clock) as later:
        mark, book = scene.since(), []
        with scene.load(tokens=TOKENS) as load:
            for number in range(size):
                book.append(change(scene, number))
                goal = max(time.monotonic(), time.monotonic() + book[-1]["effective_from"] - time.time())
                scene.until("answers at that price", lambda: load.log.served(since=goal) > 1 or None)  # noqa: B023
        verdict = mark.verdict(load.log, tokens=TOKENS)
        priced = sum(exact(row, book) for row in mark.rows())
        assert priced > size, f"{priced} rows at the prices of this fault"
        total, stated = statement(scene, later, clock, mark)
        note = f"{priced} rows at {size} prices, each right; the statement's {stated} rows come to {total} nano-units"
        return Verdict(**vars(verdict) | {"note": note})


def change(scene: Scene, number: int) -> dict[str, Any]:
    """Set acme's price from a moment from now on."""
    model = scene.world.deployment()["spec"]["model"]["id"]
    prices = {"input_uncached": 150_000_007 + number * 1_000_003, "output_text": 600_000_011 + number * 7_000_001}
    body = {"model": model, "tenant": "acme", "currency": "USD", "prices": prices}
    entry: dict[str, Any] = scene.call("POST", "/v1/prices", body | {"effective_from": time.time() + AHEAD_SECONDS})
    return entry


def exact(row: dict[str, Any], book: list[dict[str, Any]]) -> bool:
    """Whether a row fell under one of these prices; raises where it has another one, or costs something else."""
    held = [entry for entry in book if entry["effective_from"] <= row["t_admit"]]
    if not held:
        return False
    prices = held[-1]["prices"]
    assert row["price_id"] == held[-1]["price_id"], row
    buckets = ((row["input_tokens"], prices["input_uncached"]), (row["output_tokens"], prices["output_text"]))
    cost = sum((tokens * price + MILLION // 2) // MILLION for tokens, price in buckets)
    assert row["cost_nano"] == cost, f"{row['cost_nano']} instead of {cost}"
    return True


def statement(scene: Scene, later: Beside, clock: MovedClock, mark: Since) -> tuple[int, int]:
    """Issue the month's statement when it is over; its sum and its rows, which are held against each other."""
    month = unstated(scene)
    clock.set(wall=end_of(month) + 3600 - time.time())
    issued = scene.call("POST", "/v1/statements", {"tenant": "acme", "month": month}, base=later.url)
    rows: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        query = {"limit": "5000"} | ({"after": after} if after else {})
        page = scene.call("GET", f"/v1/statements/{issued['id']}/rows", params=query)
        rows += page["items"]
        after = page["next"]
    total = sum(row["cost_nano"] or 0 for row in rows)
    totals = json.loads(issued["document"])["totals"]
    assert sum(item["cost_nano"] for item in totals) == total, (totals, total)
    missing = {row["usage_id"] for row in mark.rows()} - {row["usage_id"] for row in rows}
    assert not missing, f"{len(missing)} rows are not in the statement"
    return total, len(rows)


def unstated(scene: Scene) -> str:
    """The first month of acme's that has no statement: this one, or one to come where this was stated already."""
    stated = [item["month"] for item in scene.call("GET", "/v1/statements", params={"tenant": "acme"})["items"]]
    month = dt.datetime.now(dt.UTC).strftime("%Y-%m")
    while month in stated:
        month = dt.datetime.fromtimestamp(end_of(month) + 1, dt.UTC).strftime("%Y-%m")
    return month


def end_of(month: str) -> float:
    """The first moment after a month, Unix seconds."""
    begin = dt.datetime.strptime(month, "%Y-%m").replace(tzinfo=dt.UTC)
    return (begin + dt.timedelta(days=32)).replace(day=1).timestamp()
