"""Distinct users in a few kilobytes: a HyperLogLog sketch, mergeable in any order, however often.

A user's 64 bits pick one of 16,384 registers (14 bits) and a rank (1 + leading zeros of the other 50); a register keeps
the highest rank it saw. A union takes the higher rank of each register, so it is commutative, associative and
idempotent to the byte: a sketch that is sent twice changes nothing. Nobody can be told from the registers.

The 64 bits come from a keyed hash (HMAC-SHA-256, `user_bits`), so nobody without the key can choose users that collide.
Among 700 million users one pair shares its 64 bits with a chance of 1 in 75.

The estimator is the one of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), algorithm
6: no tables, no switch between ranges. Its relative standard error is at most 1.04 / sqrt(16384) = 0.81 %.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from paddock_core.active_users.errors import SketchInvalidError

PRECISION = 14
SIZE = 1 << PRECISION
"""Registers of a sketch."""
_RANK_BITS = 64 - PRECISION
HIGHEST_RANK = _RANK_BITS + 1
STANDARD_ERROR = 1.04 / math.sqrt(SIZE)
"""Of an estimate, relative, one standard deviation."""
CONFIDENCE = 0.95
_DEVIATIONS = 1.96
"""Standard deviations on each side that hold 95 % of a normal distribution."""

VERSION = 1
_HEADER = bytes((VERSION, PRECISION))
MOST_BYTES = SIZE + 64
"""Of an encoded sketch. Deflate adds at most a few bytes to what it cannot make smaller."""
EMPTY = bytes(SIZE)
"""The registers of a sketch that saw nobody."""

_MOST_USERS = 2.0**50
"""Of an estimate. Registers that say more were not made by counting people; figures and their sums stay storable."""
_FEW = 128
"""A sketch of so few registers is a dictionary: below 8 KiB instead of 16."""
_ALPHA = 0.5 / math.log(2)
_MASK = SIZE - 1
_RANKS = bytes(range(HIGHEST_RANK + 1))
_HIGH_BITS = int.from_bytes(b"\x80" * SIZE, "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number of distinct users. With 95 % confidence it lies between `low` and `high`, both inclusive."""

    users: int
    low: int
    high: int


class Sketch:
    """Counts. Small while it saw few users, 16 KiB at most."""

    __slots__ = ("_few", "_many")

    def __init__(self) -> None:
        self._few: dict[int, int] = {}
        self._many: bytearray | None = None

    def add(self, bits: int) -> None:
        """Count a user by 64 bits of its keyed hash."""
        index, rank = bits & _MASK, HIGHEST_RANK - (bits >> PRECISION).bit_length()
        many = self._many
        if many is not None:
            if rank > many[index]:
                many[index] = rank
            return
        if rank > self._few.get(index, 0):
            self._few[index] = rank
            if len(self._few) > _FEW:
                self._many = bytearray(self.registers())
                self._few = {}

    def add_all(self, users: Iterable[int]) -> None:
        """Count many: as `add` for each, several times as fast."""
        many = self._many = bytearray(self.registers())
        self._few = {}
        for bits in users:
            rank = HIGHEST_RANK - (bits >> PRECISION).bit_length()
            if rank > many[bits & _MASK]:
                many[bits & _MASK] = rank

    def registers(self) -> bytes:
        """A copy of the registers."""
        if self._many is not None:
            return bytes(self._many)
        registers = bytearray(SIZE)
        for index, rank in self._few.items():
            registers[index] = rank
        return bytes(registers)


def user_bits(end_user_hash: str) -> int:
    """The bits of a user: the first 16 hexadecimal digits of the keyed hash that usage records carry.

    Raises:
        ValueError: it is no such hash.
    """
    return int.from_bytes(bytes.fromhex(end_user_hash[:16]).rjust(8, b"\0"), "big")


def merge(one: bytes, other: bytes) -> bytes:
    """The registers of a sketch that saw everybody whom either saw.

    All registers at once, in integers of 16 KiB: with the high bit of each byte set in `one`, subtracting `other`
    leaves that bit standing exactly where `one` is not lower; no byte borrows from its neighbour.
    """
    if one == other or other == EMPTY:
        return one
    left, right = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    not_lower = (((left | _HIGH_BITS) - right) & _HIGH_BITS) >> 7
    chosen = (not_lower << 8) - not_lower
    return (right ^ ((left ^ right) & chosen)).to_bytes(SIZE, "little")


def estimate(registers: bytes) -> Estimate:
    """How many users a sketch saw. Each register that is not empty saw one at least: that bound is certain."""
    users = _estimate(registers)
    certain = SIZE - registers.count(0)
    margin = _DEVIATIONS * STANDARD_ERROR
    return Estimate(
        users=max(round(users), certain),
        low=max(math.floor(users / (1 + margin)), certain),
        high=max(math.ceil(users / (1 - margin)), certain),
    )


def encode(registers: bytes) -> bytes:
    """The form that is sent and stored: version, precision, the registers deflated (adler32 at the end)."""
    packer = zlib.compressobj(level=6, strategy=zlib.Z_RLE)
    return _HEADER + packer.compress(registers) + packer.flush()


def decode(data: bytes) -> bytes:
    """The registers of an encoded sketch. Whatever the bytes are, this takes bounded time and memory.

    Raises:
        SketchInvalidError: they are too many, of another version, damaged, or hold a rank that there is not.
    """
    if len(data) > MOST_BYTES:
        raise SketchInvalidError(f"a sketch has at most {MOST_BYTES} bytes, this one {len(data)}")
    if data[:2] != _HEADER:
        raise SketchInvalidError(
            f"a sketch of this version begins with the bytes {_HEADER.hex()}: upgrade the gateway or the control plane"
        )
    unpacker = zlib.decompressobj()
    try:
        registers = unpacker.decompress(data[2:], SIZE + 1)
    except zlib.error as error:
        raise SketchInvalidError(f"the sketch is damaged: {error}") from error
    if not unpacker.eof or unpacker.unused_data or len(registers) != SIZE:
        raise SketchInvalidError(f"the sketch is damaged: it is cut off, or does not hold {SIZE} registers")
    if registers.translate(None, _RANKS):
        raise SketchInvalidError(f"the sketch is damaged: a rank is above {HIGHEST_RANK}")
    return registers


def _estimate(registers: bytes) -> float:
    counts = dict.fromkeys(range(HIGHEST_RANK + 1), 0) | {rank: registers.count(rank) for rank in set(registers)}
    if counts[0] == SIZE:
        return 0.0
    harmonic = SIZE * _tau(1 - counts[HIGHEST_RANK] / SIZE)
    for rank in range(_RANK_BITS, 0, -1):
        harmonic = 0.5 * (harmonic + counts[rank])
    harmonic += SIZE * _sigma(counts[0] / SIZE)
    return min(_ALPHA * SIZE * SIZE / harmonic, _MOST_USERS) if harmonic else _MOST_USERS


def _sigma(share: float) -> float:
    """Correction for empty registers: x + sum of x^(2^k) * 2^(k-1), for a share below 1."""
    total, weight = share, 1.0
    while True:
        share *= share
        before = total
        total += share * weight
        weight += weight
        if total == before:
            return total


def _tau(share: float) -> float:
    """Correction for saturated registers: (1 - x - sum of (1 - x^(2^-k))^2 * 2^-k) / 3."""
    if share in (0.0, 1.0):
        return 0.0
    total, weight = 1 - share, 1.0
    while True:
        share = math.sqrt(share)
        before = total
        weight *= 0.5
        total -= (1 - share) ** 2 * weight
        if total == before:
            return total / 3
