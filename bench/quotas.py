"""How fast the quota core decides: reserve and settle on five levels, in one process, no I/O.

Two settings: each level with one rate and one budget, and each level with every kind of limit that there is. What is
timed is what a request costs in the gateway; the unit is decisions (a reservation, granted) a second. The best of
several rounds is shown, since the machine may be busy.

Usage: python bench/quotas.py [--seconds 1.0]
"""

import argparse
import time
from collections.abc import Callable

from paddock_core.policy.documents import Limits
from paddock_core.quotas.central import from_bucket
from paddock_core.quotas.holdings import Holdings, Plan, Reservation
from paddock_core.quotas.kinds import KINDS
from paddock_core.quotas.levels import Level
from paddock_core.quotas.rates import Bucket

LEVELS = ("platform", "tenant:acme", "project:acme/web", "key:k", "user:acme:0")
BATCH = 2000
ROUNDS = 5
PLENTY = 10**15
NOON = 1_800_000_000.0


def plan_of(limits: Limits) -> tuple[Holdings, Plan, tuple[Level, ...]]:
    """Five levels with these limits, all of them well stocked."""
    holdings = Holdings()
    levels = tuple(Level(id=name, limits=limits) for name in LEVELS)
    plan = holdings.plan(levels=levels, source=None, wall=NOON)
    for holding, _ in plan.pairs:
        holding.free = PLENTY
    return holdings, plan, levels


def rate(batch: Callable[[], None], seconds: float) -> float:
    """Operations a second of a function that does BATCH of them: the best round."""
    best = 0.0
    for _ in range(ROUNDS):
        done, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < seconds / ROUNDS:
            batch()
            done += BATCH
        best = max(best, done / spent)
    return best


def measure(limits: Limits, seconds: float) -> tuple[int, float, float, float]:
    """Limits checked, decisions/s, decisions with their settlement/s, extensions of a stream/s."""
    holdings, plan, levels = plan_of(limits)

    def decide() -> None:
        for _ in range(BATCH):
            found = holdings.plan(levels=levels, source=None, wall=NOON)
            made = holdings.reserve(found, input_tokens=40, output_cap=256, first_output=256, nano=9, now=1)
            assert isinstance(made, Reservation)

    def decide_and_settle() -> None:
        for _ in range(BATCH):
            found = holdings.plan(levels=levels, source=None, wall=NOON)
            made = holdings.reserve(found, input_tokens=40, output_cap=256, first_output=256, nano=9, now=1)
            assert isinstance(made, Reservation)
            holdings.settle(made, input_tokens=40, output_tokens=20, nano=3)

    made = holdings.reserve(plan, input_tokens=1, output_cap=1, first_output=1, nano=1, now=1)
    assert isinstance(made, Reservation)

    def extend() -> None:
        for _ in range(BATCH):
            holdings.extend(made, output_tokens=1, nano=1)

    return len(plan.pairs), rate(decide, seconds), rate(decide_and_settle, seconds), rate(extend, seconds)


def shared(seconds: float) -> float:
    """Grants a second out of one shared account, without the database that keeps it."""
    bucket = Bucket()

    def grant() -> None:
        for now in range(BATCH):
            from_bucket(bucket, limit=10**9, now=now, need=10, least=10, want=200)

    return rate(grant, seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    seconds = parser.parse_args().seconds
    usual = Limits(requests_per_minute=10**9, tokens_per_month=PLENTY)
    every = Limits(**dict.fromkeys(KINDS, PLENTY))
    print("| five levels, each with | limits checked | decisions/s | with settlement | extensions/s |")
    print("|---|---|---|---|---|")
    for name, limits in (("requests a minute, tokens a month", usual), ("every kind of limit", every)):
        checked, decided, settled, extended = measure(limits, seconds)
        print(f"| {name} | {checked} | {decided:,.0f} | {settled:,.0f} | {extended:,.0f} |")
    print(f"\nGrants of leases out of a shared account, without its database: {shared(seconds):,.0f}/s")


if __name__ == "__main__":
    main()
