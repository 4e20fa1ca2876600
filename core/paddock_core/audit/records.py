"""Records bound into the audit chain: an entry names each record that it writes, with a salted digest of all of it.

Whoever changes a stored record beside the chain leaves a record that is not the one of its newest entry.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from paddock_core.audit.chain import Entry, canonical

KINDS = ("entity", "acceptance", "statement")
_NONE = "[]"
_ACCEPT = "license.accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A record as it is stored now. `seal` is None for one from before records were bound."""

    kind: str
    id: str
    seal: str | None
    audit_seq: int | None = None
    """Of an acceptance: the entry that it names as the one of its signature, and that entry's digest."""
    audit_digest: str | None = None


def seal(*, kind: str, record_id: str, salt: bytes, body: Mapping[str, Any]) -> str:
    """`kind:id:digest`; the digest is SHA-256 over the salt and the canonical JSON of the whole record."""
    return f"{kind}:{record_id}:{hashlib.sha256(salt + canonical(dict(body)).encode()).hexdigest()}"


@dataclass(slots=True)
class Seals:
    """What a chain says of records: the newest seal of each, and which entry is the signature of an acceptance."""

    newest: dict[str, tuple[int, str]] = field(default_factory=dict)
    signed: dict[str, tuple[int, str]] = field(default_factory=dict)

    def read(self, entries: Iterable[Entry]) -> None:
        """Take in more entries, in order."""
        for entry in entries:
            if entry.action == _ACCEPT:
                self.signed[entry.subject] = (entry.seq, entry.digest)
            if entry.commitments == _NONE:
                continue
            for text in msgspec.json.decode(entry.commitments, type=list[str]):
                key, found, _ = text.rpartition(":")
                if found:
                    self.newest[key] = (entry.seq, text)

    def differences(self, stored: Iterable[Stored]) -> list[str]:
        """Records that are not what the chain says of them, and records of the chain that are gone; in words."""
        found: list[str] = []
        left = {key for key in self.newest if key.partition(":")[0] in KINDS}
        for record in stored:
            key = f"{record.kind}:{record.id}"
            left.discard(key)
            found += self._of(key, record)
        return found + [f"{key} is gone; entry {self.newest[key][0]} wrote it" for key in sorted(left)]

    def _of(self, key: str, record: Stored) -> list[str]:
        seq, text = self.newest.get(key, (0, None))
        if text is not None and text != record.seal:
            return [f"{key} is not what entry {seq} wrote"]
        if record.kind != "acceptance":
            return []
        if self.signed.get(record.id) != (record.audit_seq, record.audit_digest):
            return [f"{key} does not name the entry of its signature"]
        return []
