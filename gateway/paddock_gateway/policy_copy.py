"""The policy's copy on disk, for a start without control plane: the snapshot as it came, and the changes after it.

What came is written as it came: nothing is encoded again, and a change costs its own bytes, however large the platform
is. The note that confirms the copy goes first and comes last, so that a crash leaves the copy of before, a whole new
one, or none; then everything is denied until the control plane answers.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
from paddock_core.policy.freshness import Freshness
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Changes, ReceivedSnapshot

SNAPSHOT, CHANGES, CONFIRMED = "policy.json", "policy-changes.jsonl", "policy-confirmed.json"
MOST_CHANGES_BYTES = 32 * 2**20
"""A longer tail of changes than this is replaced by a new snapshot."""


class _Confirmed(msgspec.Struct, frozen=True):
    freshness: Freshness
    revision: int
    """What the files must lead to: a line that a crash cut off would be a revocation that is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A usable copy."""

    view: PolicyView
    freshness: Freshness


class PolicyCopy:
    """The files in a folder. Its methods block: call them in a thread. They raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def crowded(self) -> bool:
        """True if the changes are so long that a new snapshot is due."""
        try:
            return (self._folder / CHANGES).stat().st_size > MOST_CHANGES_BYTES
        except OSError:
            return False

    def load(self) -> Loaded | None:
        """The copy, None if there is none. Raises OSError or msgspec.DecodeError if it cannot be used."""
        try:
            confirmed = msgspec.json.decode((self._folder / CONFIRMED).read_bytes(), type=_Confirmed)
        except FileNotFoundError:
            return None
        snapshot = msgspec.json.decode((self._folder / SNAPSHOT).read_bytes(), type=ReceivedSnapshot)
        view = PolicyView.from_received(snapshot)
        for line in (self._folder / CHANGES).read_bytes().splitlines():
            changes = msgspec.json.decode(line, type=Changes)
            view = view.apply(changes.changes, revision=changes.revision)
        if view.revision != confirmed.revision:
            raise msgspec.DecodeError(f"it ends at revision {view.revision}, not at {confirmed.revision}")
        return Loaded(view=view, freshness=confirmed.freshness)

    def begin(self, snapshot: bytes | bytearray) -> None:
        """Keep a snapshot, as it came, instead of all that was before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / CONFIRMED).unlink(missing_ok=True)
        self._replace(CHANGES, b"")
        self._replace(SNAPSHOT, snapshot)

    def append(self, changes: bytes) -> None:
        """Keep an answer with changes, as it came."""
        descriptor = os.open(self._folder / CHANGES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(changes.replace(b"\n", b" ") + b"\n")

    def confirm(self, freshness: Freshness, *, revision: int) -> None:
        """Say that what was kept is of this moment."""
        self._replace(CONFIRMED, msgspec.json.encode(_Confirmed(freshness=freshness, revision=revision)))

    def _replace(self, name: str, content: bytes | bytearray) -> None:
        """Put a file whole, readable by its owner alone (key digests are in it)."""
        temporary = self._folder / f".{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(self._folder / name)
