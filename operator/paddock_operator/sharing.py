"""What many documents say alike is kept once: a thousand objects of one kind differ in a few words of thousands."""

import sys
from typing import Any

import msgspec

from paddock_operator.ports import Manifest

MOST_PARTS = 8192
"""So many parts are remembered; then all are forgotten, and what is kept elsewhere stays as it is."""
LONGEST_PART = 256
"""Bytes of JSON. What is longer names its object somewhere, as a rule, and its own parts are looked at."""


class Sharing:
    """Remembers parts of documents. Whoever gets a shared document changes nothing below its metadata."""

    def __init__(self, *, most: int = MOST_PARTS) -> None:
        self._most = most
        self._parts: dict[bytes, Any] = {}

    def shared(self, manifest: Manifest) -> Manifest:
        """An equal document, whose parts are those of documents that were shared before, where they are equal. The
        document and its metadata are its own."""
        own, part = self._fields, self._part
        return {sys.intern(name): (own if name == "metadata" else part)(value) for name, value in manifest.items()}

    def _part(self, value: Any) -> Any:
        if type(value) is str:
            return sys.intern(value)
        if not isinstance(value, dict | list):
            return value
        text = msgspec.json.encode(value)
        if len(text) > LONGEST_PART:
            return self._own(value)
        known = self._parts.get(text)
        if known is None:
            if len(self._parts) >= self._most:
                self._parts.clear()
            known = self._parts[text] = self._own(value)
        return known

    def _own(self, value: Any) -> Any:
        return self._fields(value) if isinstance(value, dict) else [self._part(item) for item in value]

    def _fields(self, value: dict[str, Any]) -> dict[str, Any]:
        return {sys.intern(name): self._part(item) for name, item in value.items()}
