"""How much of a growing text may be shown already: never half a character, never the start of a stop word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

REPLACEMENT: Final = "\ufffd"
"""What a detokenizer writes for bytes that are not a whole character yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The first `length` characters may be shown; `stopped` is true if a stop word follows them."""

    length: int
    stopped: bool


def showable(text: str, *, stop: Sequence[str], complete: bool) -> Shown:
    """Tell how much of `text` may be shown.

    A stop word ends the text before it. While the text still grows, a tail that may become a stop word or is an
    unfinished character stays back; an unfinished character at the very end is never shown.
    """
    found = [index for word in stop if (index := text.find(word)) >= 0]
    if found:
        return Shown(length=len(text[: min(found)].rstrip(REPLACEMENT)), stopped=True)
    settled = text if complete else text[: len(text) - _possible_start(text, stop)]
    return Shown(length=len(settled.rstrip(REPLACEMENT)), stopped=False)


def _possible_start(text: str, stop: Sequence[str]) -> int:
    """Length of the longest tail of `text` with which a stop word begins."""
    longest = max((len(word) for word in stop), default=0)
    for size in range(min(longest, len(text)), 0, -1):
        if any(word.startswith(text[-size:]) for word in stop):
            return size
    return 0
