"""The audit chain."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_controlplane.audit.chain import FIRST, Entry, Verifier, commitment, head_signature


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


@pytest.mark.postgres
async def test_the_chain_is_linear_however_many_write_at_once(licensed: Any) -> None:
    keys = [licensed("POST", "/v1/tenants/acme/keys", {}, by="acme", status=201) for _ in range(15)]
    spaces = [licensed("PUT", f"/v1/tenants/globex/namespaces/g{n}", status=200) for n in range(15)]
    await asyncio.gather(*keys, *spaces, licensed.accept("acme", "deployer"))
    verifier, after, head = Verifier(), 0, {}
    while True:
        page = await licensed("GET", f"/v1/audit?after={after}&limit=7", status=200)
        assert verifier.check(Entry(**item) for item in page["items"])
        head = page["head"]
        if page["next"] is None:
            break
        after = page["next"]
    assert (verifier.seq, verifier.digest) == (head["seq"], head["digest"])
    key = licensed.state.audit_key
    assert head["signature"] == head_signature(key=key, seq=head["seq"], digest=head["digest"])
    assert verifier.seq > 30


@pytest.mark.postgres
async def test_a_change_in_the_database_is_found(licensed: Any, server: Any, database: str) -> None:
    connection = await server.connect(database)
    await connection.execute("UPDATE audit_log SET actor = 'somebody' WHERE seq = 3")
    await connection.close()
    page = await licensed("GET", "/v1/audit?limit=1000", status=200)
    verifier = Verifier()
    assert not verifier.check(Entry(**item) for item in page["items"])
    assert verifier.breach is not None
    assert verifier.breach.seq == 3


@pytest.mark.postgres
async def test_a_refused_request_leaves_no_trace(licensed: Any) -> None:
    before = (await licensed("GET", "/v1/audit", status=200))["head"]
    await licensed("POST", "/v1/tenants", {"id": "acme", "entity": "acme"}, status=409)
    await licensed("DELETE", f"/v1/tenants/acme/keys/{'a' * 12}", status=404)
    assert (await licensed("GET", "/v1/audit", status=200))["head"] == before
