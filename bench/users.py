"""Active users: 700 million in one sketch, a thousand gateways' sketches in one, the cost of a request.

Users are the numbers from 0 on, mixed into distinct 64-bit values as a keyed hash would give them, and counted by the
product's own code, one by one, on every core; the cores' sketches are then one by the product's own union, which is the
same to the byte as if one core had counted them all. Beside it Apache DataSketches, on fewer users.

Usage: python bench/users.py [--users 700000000] [--gateways 1000]
"""

import argparse
import contextlib
import hashlib
import hmac
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import datasketches
import numpy as np
from paddock_core.active_users.sketch import EMPTY, Sketch, decode, encode, estimate, merge
from paddock_core.usage import settlement
from paddock_core.usage.journal_frames import Intent, Progress
from paddock_core.usage.record import UsageRecord
from paddock_gateway.active_users import ActiveUsers

CHUNK = 500_000
EACH_GATEWAY = 100_000
COMPARED = 2_000_000
DAMAGED = 10_000


def mixed(begin: int, end: int) -> Iterator[list[int]]:
    """Distinct values of 64 bits for these users, in pieces: the finaliser of splitmix64, which is a bijection."""
    for start in range(begin, end, CHUNK):
        bits = np.arange(start, min(start + CHUNK, end), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        yield (bits ^ (bits >> np.uint64(31))).tolist()


def count(span: tuple[int, int]) -> tuple[bytes, float, float]:
    """The registers of one core, its CPU seconds for counting, and those for making the users up."""
    sketch, counting, began = Sketch(), 0.0, time.process_time()
    for piece in mixed(*span):
        at = time.process_time()
        sketch.add_all(piece)
        counting += time.process_time() - at
    return sketch.registers(), counting, time.process_time() - began - counting


def many_users(users: int) -> Iterator[tuple[str, str]]:
    """All of them in one sketch."""
    cores = os.cpu_count() or 1
    edges = [users * core // cores for core in range(cores + 1)]
    began = time.perf_counter()
    with multiprocessing.Pool(cores) as pool:
        parts = pool.map(count, pairwise(edges))
    registers = reduce(merge, (part[0] for part in parts), EMPTY)
    seconds, found = time.perf_counter() - began, estimate(registers)
    yield "distinct users in one sketch", f"{users:,}"
    yield "estimate", f"{found.users:,} (error {found.users / users - 1:+.2%})"
    yield "95 % bounds", f"{found.low:,} to {found.high:,}"
    yield "bytes, in memory and sent", f"{len(registers):,} and {len(encode(registers)):,}"
    yield "seconds on every core, users made up included", f"{seconds:.0f}"
    yield "CPU ns a user, in bulk", f"{sum(part[1] for part in parts) / users * 1e9:.0f}"


def many_gateways(gateways: int) -> Iterator[tuple[str, str]]:
    """Each saw EACH_GATEWAY users, of whom every neighbour saw half."""
    step = EACH_GATEWAY // 2
    sent = []
    for number in range(gateways):
        sketch = Sketch()
        for piece in mixed(number * step, number * step + EACH_GATEWAY):
            sketch.add_all(piece)
        sent.append(encode(sketch.registers()))
    users = (gateways - 1) * step + EACH_GATEWAY
    began = time.perf_counter()
    found = estimate(reduce(merge, map(decode, sent), EMPTY))
    seconds = time.perf_counter() - began
    yield f"sketches of {gateways:,} gateways", f"{sum(map(len, sent)) / 1e6:.1f} MB, {EACH_GATEWAY:,} users each"
    yield "checked, united and estimated", f"{seconds:.2f} s ({seconds / gateways * 1e6:.0f} µs a sketch)"
    yield "distinct users of all, and the error", f"{users:,}, {found.users / users - 1:+.2%}"


def hash_of(user: str, tenant: str, key: bytes) -> str:
    """As the gateway does it when a request is admitted."""
    return hmac.new(key, f"end-user:{tenant}:{user}".encode(), hashlib.sha256).hexdigest()


def record(number: int) -> UsageRecord:
    """A row of the ledger, by one of 10,000 users of 20 products."""
    intent = Intent(
        usage_id=f"usage-{number}",
        tenant="acme",
        key_id="key",
        owner_tenant="acme",
        deployment=f"acme/product-{number % 20}",
        model="m",
        dialect="openai",
        operation="chat",
        stream=False,
        t_admit=1_795_348_800.0,
        reserved_tokens=30,
        input_tokens=10,
        acceptance_id="acc",
        end_user_hash=hash_of(f"user-{number % 10_000}", "acme", b"platform key"),
        gateway_instance="gateway",
        journal_seq=number,
    )
    progress = Progress(usage_id=intent.usage_id, at=1.0, engine_tokens=1, sent_tokens=1)
    return settlement.settle(
        intent=intent, progress=progress, status="ok", finish_reason="stop", final=True, ended_at=2.0, seq=number
    )


def a_request() -> Iterator[tuple[str, str]]:
    """What a request costs the gateway."""
    records = [record(number) for number in range(100_000)]
    users = ActiveUsers(url="http://unused", token="unused", period=60, most=4096, sent=lambda: None)
    counted = best(lambda: users.count(records, segment=1)) / len(records)
    names = [f"user-{number}" for number in range(100_000)]
    hashed = best(lambda: [hash_of(name, "acme", b"platform key") for name in names]) / len(names)
    yield "a request in the gateway: the keyed hash", f"{hashed * 1e9:.0f} ns"
    yield "a request in the gateway: counting, after it was answered", f"{counted * 1e9:.0f} ns"


def best(work: Callable[[], object]) -> float:
    """CPU seconds of the quickest of five."""
    found = []
    for _ in range(5):
        at = time.process_time()
        work()
        found.append(time.process_time() - at)
    return min(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sketch that is compared: users to bytes, and the bytes of many to an estimate of their union."""

    name: str
    make: Callable[[Iterable[int]], bytes]
    unite: Callable[[Iterable[bytes]], float]


def ours() -> Kind:
    """Paddock's own, users one by one as a gateway meets them."""

    def make(users: Iterable[int]) -> bytes:
        sketch = Sketch()
        for bits in users:
            sketch.add(bits)
        return encode(sketch.registers())

    return Kind(
        name="Paddock, 2^14", make=make, unite=lambda held: estimate(reduce(merge, map(decode, held), EMPTY)).users
    )


def theirs(name: str, new: Any, to_bytes: Any, from_bytes: Any, new_union: Any) -> Kind:
    """One of Apache DataSketches."""

    def make(users: Iterable[int]) -> bytes:
        sketch = new()
        for bits in users:
            sketch.update(bits - 2**63)
        return bytes(to_bytes(sketch))

    def unite(held: Iterable[bytes]) -> float:
        union = new_union()
        for data in held:
            union.update(from_bytes(data))
        return float(union.get_result().get_estimate())

    return Kind(name=name, make=make, unite=unite)


def kinds() -> tuple[Kind, ...]:
    """Ours, and those of about the same error."""
    ds: Any = datasketches
    hll8 = ds.tgt_hll_type.HLL_8
    return (
        ours(),
        theirs(
            "DataSketches HLL, 2^14",
            lambda: ds.hll_sketch(14, hll8),
            lambda sketch: sketch.serialize_compact(),
            ds.hll_sketch.deserialize,
            lambda: ds.hll_union(14),
        ),
        theirs(
            "DataSketches CPC, 2^13",
            lambda: ds.cpc_sketch(13),
            lambda sketch: sketch.serialize(),
            ds.cpc_sketch.deserialize,
            lambda: ds.cpc_union(13),
        ),
        theirs(
            "DataSketches theta, 2^14",
            lambda: ds.update_theta_sketch(14),
            lambda sketch: sketch.compact().serialize(),
            ds.compact_theta_sketch.deserialize,
            lambda: ds.theta_union(14),
        ),
    )


def compared() -> Iterator[tuple[str, ...]]:
    """Name, ns a user, bytes, µs to unite one that was sent, and what damaged bytes do to a reader."""
    users = [bits for piece in mixed(0, COMPARED) for bits in piece]
    parts = [users[start : start + EACH_GATEWAY] for start in range(0, COMPARED, EACH_GATEWAY // 2)]
    for place, kind in enumerate(kinds()):
        seconds, sent = best(partial(kind.make, users)), [kind.make(part) for part in parts]
        unite = best(partial(kind.unite, sent)) / len(sent)
        size = len(kind.make(users))
        yield kind.name, f"{seconds / COMPARED * 1e9:.0f}", f"{size:,}", f"{unite * 1e6:.0f}", crash(place)


def crash(place: int) -> str:
    """What becomes of a process that reads DAMAGED damaged sketches of this kind."""
    command = [sys.executable, __file__, "--damage", str(place)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "hangs"
    return "lives" if done.returncode == 0 else f"dies (signal {-done.returncode})"


def damage(kind: Kind) -> None:
    """Read sketches of which bytes were changed, lost or added, as a process of its own."""
    rng = random.Random(1)
    made = [kind.make(rng.getrandbits(64) for _ in range(users)) for users in (0, 1, 5, 50, 500, 5_000, 50_000)]
    for _ in range(DAMAGED):
        data = bytearray(rng.choice(made))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(min(len(data), rng.choice((8, 40, len(data)))))] = rng.getrandbits(8)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        data += bytes(rng.choice((0, 0, 0, 20)))
        with contextlib.suppress(Exception):  # a refusal is what is hoped for; a crash is no exception
            kind.unite([bytes(data)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=700_000_000)
    parser.add_argument("--gateways", type=int, default=1000)
    parser.add_argument("--damage", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.damage is not None:
        damage(kinds()[chosen.damage])
        return
    print("| measure | figure |\n|---|---|")
    for part in (many_users(chosen.users), many_gateways(chosen.gateways), a_request()):
        for name, figure in part:
            print(f"| {name} | {figure} |", flush=True)
    print(
        "\n| sketch | CPU ns a user, one by one | bytes sent | CPU µs to check and unite | a reader of damaged bytes |"
    )
    print("|---|---|---|---|---|")
    for row in compared():
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
