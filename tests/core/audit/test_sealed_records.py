"""Records against the chain that binds them."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.audit.chain import FIRST, Entry, canonical
from paddock_core.audit.records import Seals, Stored, seal

SALT = b"s" * 32


def _entry(seq: int, *commitments: str, action: str = "license.accept", subject: str = "acc-a") -> Entry:
    return Entry(
        seq=seq,
        at="2026-11-22T00:00:00.000000+00:00",
        actor="signatory:x",
        action=action,
        subject=subject,
        tenant=None,
        entity="acme",
        detail="{}",
        commitments=canonical(list(commitments)),
        prev=FIRST,
    ).sealed()


def _seal(body: dict[str, object]) -> str:
    return seal(kind="acceptance", record_id="acc-a", salt=SALT, body=body)


def _stored(text: str | None, entry: Entry) -> Stored:
    return Stored(kind="acceptance", id="acc-a", seal=text, audit_seq=entry.seq, audit_digest=entry.digest)


@given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=4), st.integers())
def test_the_newest_entry_of_a_record_counts(body: dict[str, object], other: int) -> None:
    changed = {**body, "state": other}
    first = _entry(1, "a-commitment-to-a-person", _seal(body))
    second = _entry(2, _seal(changed), action="license.revoke")
    seals = Seals()
    seals.read([first])
    assert seals.differences([_stored(_seal(body), first)]) == []
    seals.read([second])
    assert seals.differences([_stored(_seal(changed), first)]) == []
    if changed != body:
        assert seals.differences([_stored(_seal(body), first)]) == ["acceptance:acc-a is not what entry 2 wrote"]


def test_a_record_that_is_gone_or_was_put_there_is_found() -> None:
    entry = _entry(1, _seal({}))
    seals = Seals()
    seals.read([entry])
    assert seals.differences([]) == ["acceptance:acc-a is gone; entry 1 wrote it"]
    forged = replace(_stored(None, entry), id="acc-b")
    assert seals.differences([_stored(_seal({}), entry), forged]) == [
        "acceptance:acc-b does not name the entry of its signature"
    ]
    assert seals.differences([_stored(None, entry)]) == ["acceptance:acc-a is not what entry 1 wrote"]
