"""The hash chain of the audit log, without a database: each entry's digest covers its content and its predecessor's."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode

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
        # In the order of `canonical`, whose text this is; a million of them are checked, so nothing is sorted again.
        document = {
            "action": self.action,
            "actor": self.actor,
            "at": self.at,
            "commitments": self.commitments,
            "detail": self.detail,
            "entity": self.entity,
            "prev": self.prev,
            "seq": self.seq,
            "subject": self.subject,
            "tenant": self.tenant,
        }
        return hashlib.sha256(_encode(document)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first place where a chain does not hold."""

    seq: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the chain ended when it was issued. `signature` is HMAC-SHA256 under the audit key, which the operator
    holds. Kept outside the database, it shows a tail that was cut off, and a chain that was written anew."""

    seq: int
    digest: str
    signature: str

    def signed_by(self, key: bytes) -> bool:
        """True if the holder of this key issued it."""
        return hmac.compare_digest(self.signature, head_signature(key=key, seq=self.seq, digest=self.digest))


def head_of(*, key: bytes, seq: int, digest: str) -> Head:
    """The signed head of a chain that ends there."""
    return Head(seq=seq, digest=digest, signature=head_signature(key=key, seq=seq, digest=digest))


@dataclass(slots=True, kw_only=True)
class Verifier:
    """Checks entries in order, a page at a time, against each other and against exported heads.

    `breach` is the first break found.
    """

    seq: int = 0
    digest: str = FIRST
    breach: Break | None = field(default=None)
    heads: Mapping[int, str] = field(default_factory=dict)
    """Digests of exported heads, by sequence number."""

    def check(self, entries: Iterable[Entry]) -> bool:
        """True as long as every entry follows its predecessor and is unchanged."""
        for entry in entries:
            if self.breach is None:
                self.breach = self._judge(entry)
            self.seq, self.digest = entry.seq, entry.digest
        return self.breach is None

    def finish(self) -> bool:
        """True if all held and every exported head was reached. Call it after the last page."""
        beyond = [seq for seq in self.heads if seq > self.seq]
        if self.breach is None and beyond:
            self.breach = Break(seq=self.seq + 1, what=f"cut off: an exported head ends at {max(beyond)}")
        return self.breach is None

    def _judge(self, entry: Entry) -> Break | None:
        if entry.seq != self.seq + 1:
            return Break(seq=self.seq + 1, what=f"missing: the entry after {self.seq} is {entry.seq}")
        if entry.prev != self.digest:
            return Break(seq=entry.seq, what="does not follow its predecessor")
        if entry.computed() != entry.digest:
            return Break(seq=entry.seq, what="changed: its content does not give its digest")
        if self.heads.get(entry.seq, entry.digest) != entry.digest:
            return Break(seq=entry.seq, what="written anew: an exported head has another digest here")
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
