"""The hash chain of the audit log, without a database: each entry's digest covers its content and its predecessor's."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

FIRST = "0" * 64
"""What the first entry carries as its predecessor's digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the chain. `detail` and `commitments` are canonical JSON; `at` is ISO 8601 in UTC, microseconds."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    tenant: str | None
    entity: str | None
    detail: str
    commitments: str
    prev: str
    digest: str = ""

    def sealed(self) -> "Entry":
        """The entry with its digest."""
        return replace(self, digest=self.computed())

    def computed(self) -> str:
        """SHA-256 in hex over everything but the digest itself."""
        document = msgspec.to_builtins(self)
        del document["digest"]
        return hashlib.sha256(canonical(document).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first place where a chain does not hold."""

    seq: int
    what: str


@dataclass(slots=True, kw_only=True)
class Verifier:
    """Checks entries in order, a page at a time; `breach` is the first break found."""

    seq: int = 0
    digest: str = FIRST
    breach: Break | None = field(default=None)

    def check(self, entries: Iterable[Entry]) -> bool:
        """True as long as every entry follows its predecessor and is unchanged."""
        for entry in entries:
            if self.breach is None:
                self.breach = self._judge(entry)
            self.seq, self.digest = entry.seq, entry.digest
        return self.breach is None

    def _judge(self, entry: Entry) -> Break | None:
        if entry.seq != self.seq + 1:
            return Break(seq=self.seq + 1, what=f"missing: the entry after {self.seq} is {entry.seq}")
        if entry.prev != self.digest:
            return Break(seq=entry.seq, what="does not follow its predecessor")
        if entry.computed() != entry.digest:
            return Break(seq=entry.seq, what="changed: its content does not give its digest")
        return None


def canonical(value: Mapping[str, Any] | list[Any]) -> str:
    """JSON with sorted keys and no white space: equal values give equal text."""
    return msgspec.json.encode(value, order="sorted").decode()


def commitment(*, salt: bytes, personal: Mapping[str, str]) -> str:
    """A salted digest of personal data. Once data and salt are erased, nobody can tell what it stood for."""
    return hashlib.sha256(salt + canonical(dict(personal)).encode()).hexdigest()


def head_signature(*, key: bytes, seq: int, digest: str) -> str:
    """HMAC-SHA256 in hex by which the key's holder recognises a head as the one it issued."""
    return hmac.new(key, f"audit-head:{seq}:{digest}".encode(), hashlib.sha256).hexdigest()
