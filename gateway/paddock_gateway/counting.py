"""How many tokens an answer has: the engine's own count while that can be true, else the gateway's.

An engine may be anybody's model repository. What it counts decides what budgets get back and what is billed, so a count
below zero, or one that takes the answer past the cap that the engine was given, is not believed, and none after it.
"""

import logging
from collections.abc import Callable, Sequence

from paddock_gateway.engine_events import Chunk

_log = logging.getLogger(__name__)
SLACK = 64
"""Our count of pieces may be above the engine's of the whole: an answer may look so much longer than its cap, or twice
as long, before the engine counts as one that does not stop."""


class Counting:
    """The tokens of one answer, of which at most `cap` count."""

    __slots__ = ("_beyond", "_cap", "_doubt", "_ours", "_total", "doubted", "exact")

    def __init__(self, *, cap: int, ours: Callable[[str], int], doubt: Callable[[], None]) -> None:
        """`ours` counts a text; `doubt` is called once, when the engine is no longer believed."""
        self.exact = True
        """True while every count is the engine's."""
        self.doubted = False
        self._cap = cap
        self._ours = ours
        self._doubt = doubt
        self._total = 0
        self._beyond = 0

    @property
    def endless(self) -> bool:
        """True if the answer goes on far behind its cap."""
        return self._beyond > max(self._cap, SLACK)

    def read(self, chunks: Sequence[Chunk]) -> None:
        """Set each chunk's count to what it is taken for; together they never pass the cap."""
        for chunk in chunks:
            tokens, room = chunk.num_output_tokens, self._cap - self._total
            if tokens is None or self.doubted or not 0 <= tokens <= room:
                tokens = self._count(chunk, room)
            self._total += tokens
            chunk.num_output_tokens = tokens

    def _count(self, chunk: Chunk, room: int) -> int:
        if chunk.num_output_tokens is not None and not self.doubted:
            self.doubted = True
            self._doubt()
        self.exact = False
        tokens = self._ours(chunk.text_output)
        self._beyond += max(0, tokens - room)
        return min(tokens, room)
