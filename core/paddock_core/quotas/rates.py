"""A rate limit as one integer: the Generic Cell Rate Algorithm in its leaky-bucket form (ITU-T I.371, annex A).

The bucket's level drains at `limit` units a minute; a cost conforms if it fits on top of the level without passing
`limit`. So a full minute's allowance may come at once, there is no window edge to crowd at, and a refund is a
subtraction. Everything is an integer: levels are units times `MINUTE`, times are nanoseconds of a steady clock.
"""

from dataclasses import dataclass

MINUTE = 60_000_000_000
"""Nanoseconds in a minute, and the scale of `Bucket.level`."""


@dataclass(slots=True)
class Bucket:
    """How full one limit is. A new bucket is empty."""

    level: int = 0
    """Units used and not yet drained, times `MINUTE`."""
    at: int = 0
    """When `level` was true, in nanoseconds."""

    def drain(self, limit: int, now: int) -> None:
        """Bring the level to `now`. A clock that runs backwards drains nothing."""
        if now > self.at:
            self.level = max(0, self.level - limit * (now - self.at))
            self.at = now

    def room(self, limit: int) -> int:
        """Whole units that still fit. Call `drain` first."""
        return max(0, (limit * MINUTE - self.level) // MINUTE)

    def fits(self, limit: int, cost: int) -> bool:
        """True if the cost conforms. Call `drain` first."""
        return self.level + cost * MINUTE <= limit * MINUTE

    def wait(self, limit: int, cost: int) -> int | None:
        """Nanoseconds until the cost fits, 0 if it does, None if it never will. Call `drain` first."""
        if cost > limit or limit <= 0:
            return None if cost else 0
        return max(0, -(-(self.level + (cost - limit) * MINUTE) // limit))

    def reset(self, limit: int) -> int:
        """Nanoseconds until the bucket is empty. Call `drain` first."""
        return -(-self.level // limit) if limit > 0 else 0

    def add(self, cost: int) -> None:
        """Take the cost."""
        self.level += cost * MINUTE

    def give_back(self, cost: int) -> None:
        """Return what was taken and not used. What has already drained cannot come back as credit."""
        self.level = max(0, self.level - cost * MINUTE)
