"""The audit chain: what verifying finds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.audit.chain import FIRST, Entry, Verifier, commitment, head_of

KEY = b"a key for tests"


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for seq in range(1, length + 1):
        entry = Entry(
            seq=seq,
            at="2026-11-22T00:00:00.000000+00:00",
            actor="platform",
            action="key.issue",
            subject=f"k{seq}",
            tenant="acme",
            entity=None,
            detail="{}",
            commitments="[]",
            prev=entries[-1].digest if entries else FIRST,
        )
        entries.append(entry.sealed())
    return entries


@given(st.integers(0, 12), st.integers(1, 5))
def test_a_whole_chain_holds_in_pages_of_any_size(length: int, size: int) -> None:
    entries, verifier = chain(length), Verifier()
    assert all(verifier.check(entries[start : start + size]) for start in range(0, length, size))
    assert verifier.seq == length


@given(st.data())
def test_one_removed_changed_or_moved_entry_is_found(data: st.DataObject) -> None:
    entries = chain(8)
    at = data.draw(st.integers(0, 6))
    how = data.draw(st.sampled_from(["remove", "change", "swap", "reseal"]))
    if how == "remove":
        del entries[at]
    elif how == "change":
        entries[at] = replace(entries[at], subject="other")
    elif how == "reseal":
        entries[at] = replace(entries[at], subject="other").sealed()
    else:
        entries[at], entries[at + 1] = entries[at + 1], entries[at]
    verifier = Verifier()
    assert not verifier.check(entries)
    assert verifier.breach is not None
    assert verifier.breach.seq in (at + 1, at + 2)


def test_a_commitment_hides_and_binds() -> None:
    personal = {"name": "Jo", "email": "jo@a.example"}
    made = commitment(salt=b"1" * 32, personal=personal)
    assert made == commitment(salt=b"1" * 32, personal=dict(reversed(personal.items())))
    assert made != commitment(salt=b"2" * 32, personal=personal)
    assert made != commitment(salt=b"1" * 32, personal={**personal, "name": "Jon"})


def verified(entries: list[Entry], *, heads: dict[int, str] | None = None) -> Verifier:
    verifier = Verifier(heads=heads or {})
    verifier.check(entries)
    verifier.finish()
    return verifier


def test_a_cut_tail_shows_against_an_exported_head() -> None:
    entries = chain(8)
    head = head_of(key=KEY, seq=8, digest=entries[-1].digest)
    assert verified(entries, heads={head.seq: head.digest}).breach is None
    cut = verified(entries[:5], heads={head.seq: head.digest}).breach
    assert cut is not None
    assert (cut.seq, "cut off" in cut.what) == (6, True)
    assert verified(entries[:5]).breach is None


def test_a_chain_written_anew_shows_against_an_exported_head() -> None:
    old, anew = chain(8), []
    for entry in old:
        anew.append(replace(entry, actor="other", prev=anew[-1].digest if anew else FIRST).sealed())
    assert verified(anew).breach is None
    breach = verified(anew, heads={6: old[5].digest}).breach
    assert breach is not None
    assert (breach.seq, "written anew" in breach.what) == (6, True)


@pytest.mark.parametrize("change", [{"seq": 9}, {"digest": "0" * 64}, {"signature": "0" * 64}])
def test_a_head_is_known_by_its_signature(change: dict[str, object]) -> None:
    head = head_of(key=KEY, seq=8, digest="f" * 64)
    assert head.signed_by(KEY)
    assert not head.signed_by(b"another key")
    assert not replace(head, **change).signed_by(KEY)
