"""Our sketch beside Apache DataSketches' HyperLogLog of the same size, on the same users."""

import random

import datasketches
import pytest
from paddock_core.active_users.sketch import PRECISION, STANDARD_ERROR, Sketch, estimate, merge


@pytest.mark.parametrize("number", [5, 100, 3_000, 25_000, 200_000])
def test_a_union_is_estimated_as_theirs(number: int) -> None:
    """Two halves with a shared third: both find the union, each within its own error of the other."""
    rng = random.Random(number)
    users = [rng.getrandbits(64) for _ in range(number)]
    parts = (users[: number * 2 // 3], users[number // 3 :])
    union = datasketches.hll_union(PRECISION)
    ours = bytes(1 << PRECISION)
    for part in parts:
        theirs, own = datasketches.hll_sketch(PRECISION, datasketches.tgt_hll_type.HLL_8), Sketch()
        for bits in part:
            theirs.update(bits - 2**63)
            own.add(bits)
        union.update(theirs)
        ours = merge(ours, own.registers())
    found, expected = estimate(ours), union.get_estimate()
    assert abs(found.users - expected) <= max(1, 4 * STANDARD_ERROR * number)
    assert found.low <= union.get_upper_bound(2)
    assert found.high >= union.get_lower_bound(2)
