"""How each revision answered lately, as it is told to the operator: sums over the last minute."""

from bisect import bisect_left

from paddock_core.signals import TTFT_BOUNDS_MS, WINDOW_SECONDS, RevisionSignal

SLOT_SECONDS = 10
SLOTS = WINDOW_SECONDS // SLOT_SECONDS


class Window:
    """How one revision answered lately, in slots of time that are used again and again."""

    __slots__ = ("_slots", "_stamps")

    def __init__(self) -> None:
        self._stamps = [-1] * SLOTS
        self._slots = [[0] * (4 + len(TTFT_BOUNDS_MS) + 1) for _ in range(SLOTS)]

    def add(self, *, now: float, failed: bool, ttft_ms: float | None, tokens: int, output_ms: float) -> None:
        """Count one answer that ended. `now` is in seconds of a steady clock; `ttft_ms` None: there was no token."""
        stamp = int(now) // SLOT_SECONDS
        place = stamp % SLOTS
        slot = self._slots[place]
        if self._stamps[place] != stamp:
            self._stamps[place] = stamp
            slot[:] = [0] * len(slot)
        slot[0] += 1
        slot[1] += failed
        slot[2] += tokens
        slot[3] += int(output_ms)
        if ttft_ms is not None:
            slot[4 + bisect_left(TTFT_BOUNDS_MS, ttft_ms)] += 1

    def told(self, revision: str, *, now: float) -> RevisionSignal | None:
        """The sums of the window; None if nothing ended in it."""
        oldest = int(now) // SLOT_SECONDS - SLOTS
        slots = [slot for slot, stamp in zip(self._slots, self._stamps, strict=True) if stamp > oldest]
        if not slots:
            return None
        requests, errors, tokens, milliseconds, *ttft = map(sum, zip(*slots, strict=True))
        return RevisionSignal(
            revision=revision,
            requests=requests,
            errors=errors,
            output_tokens=tokens,
            output_ms=milliseconds,
            ttft_ms=tuple(ttft) if any(ttft) else (),
        )
