"""What a weights Job left when it ended, taken apart."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """What a weights Job left: `<reason>: <words>`, and in a last line how long to wait."""

    reason: str
    text: str
    retry_after_seconds: float | None


class _Tail(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: float


def parse_last_words(words: str) -> LastWords:
    """Taken apart; a Job that was ended from outside leaves other words, or none, and says nothing of waiting."""
    text, _, tail = words.rstrip().rpartition("\n")
    try:
        wait: float | None = msgspec.json.decode(tail, type=_Tail).retry_after_seconds
    except msgspec.DecodeError:
        text, wait = words, None
    return LastWords(reason=text.partition(":")[0], text=text.strip(), retry_after_seconds=wait)
