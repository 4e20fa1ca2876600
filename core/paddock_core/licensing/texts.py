"""License texts: the digest of the bytes a person saw, and the digest of their words.

The same words are published under many byte sequences (line ends, quotes, Markdown, a moved space), so a text is
recognised by its canonical digest; the raw digest is kept as evidence of what was shown.
"""

import hashlib
import re
from dataclasses import dataclass

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_CHARACTERS = str.maketrans(
    {
        "\ufeff": None,
        "\r": None,
        "*": None,
        "\\": None,
        "`": None,
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u00a0": " ",
        "\u2013": "-",
        "\u2014": "-",
    }
)
_HYPHEN_AT_LINE_END = re.compile(r"-[ \t]*\n\s*")
_EXCERPT_WORDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two texts first part: the number of equal words before it, and a few words of each from there on."""

    after_words: int
    expected: str
    found: str


def canonical_text(text: str) -> str:
    """The words of a text without its typography: what `canonical_digest` is computed over."""
    plain = _TAG.sub("", _LINK.sub(r"\1", text.translate(_CHARACTERS)))
    return " ".join(_HYPHEN_AT_LINE_END.sub("-", plain).split())


def canonical_digest(text: str) -> str:
    """`sha256:<hex>` of the canonical words in UTF-8."""
    return _digest(canonical_text(text).encode())


def raw_digest(content: bytes) -> str:
    """`sha256:<hex>` of a file's bytes."""
    return _digest(content)


def first_difference(*, expected: str, found: str) -> Difference | None:
    """Where the words of two texts first differ, or None if they are the same words."""
    ours, theirs = canonical_text(expected).split(), canonical_text(found).split()
    if ours == theirs:
        return None
    at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return Difference(
        after_words=at,
        expected=" ".join(ours[at : at + _EXCERPT_WORDS]),
        found=" ".join(theirs[at : at + _EXCERPT_WORDS]),
    )


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
