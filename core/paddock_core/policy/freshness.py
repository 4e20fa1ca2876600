"""How long a copy of the policy may be trusted when the control plane cannot be reached, and what time it is there."""

from dataclasses import dataclass

from paddock_core.policy.wire import Changes, ReceivedSnapshot, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """When the copy was last confirmed. Times are CLOCK_BOOTTIME seconds, never the wall clock.

    That clock counts through suspend and cannot be set, so neither a changed wall clock nor a restart of the process
    stretches the copy's life. It starts again at a boot: a copy persisted under another `boot_id` is therefore expired.
    """

    max_age_seconds: float
    renewed_at: float
    boot_id: str
    ahead_seconds: float
    """The control plane's Unix time less CLOCK_BOOTTIME, as of its last answer."""

    @classmethod
    def renewed(
        cls, answer: Snapshot | ReceivedSnapshot | Changes, *, asked: float, now: float, boot_id: str
    ) -> "Freshness":
        """Of a copy that an answer confirms, as of the moment of asking: one that lay unread for an hour proves nothing
        newer."""
        return cls(
            max_age_seconds=answer.max_age_seconds, renewed_at=asked, boot_id=boot_id, ahead_seconds=answer.at - now
        )

    def expired(self, *, now: float, boot_id: str) -> bool:
        """True if the copy must no longer be used. A clock that ran backwards is not to be trusted either."""
        age = now - self.renewed_at
        return boot_id != self.boot_id or not 0 <= age <= self.max_age_seconds

    def unix(self, *, now: float) -> float:
        """The control plane's Unix time at `now`. What ends on a day ends for every follower at once: a wall clock that
        is an hour off, or is set back, neither prolongs a grant nor refuses an acceptance."""
        return now + self.ahead_seconds
