"""The policy's copy on disk leads to where the gateway was, or to nothing."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from paddock_core.policy.freshness import Freshness
from paddock_core.policy.wire import Change, Changes, Snapshot
from paddock_gateway import policy_copy
from paddock_gateway.policy_copy import CHANGES, CONFIRMED, SNAPSHOT, PolicyCopy

FRESH = Freshness(max_age_seconds=900, renewed_at=1, boot_id="b", ahead_seconds=2)


def snapshot(revision: int, **tenants: str) -> bytes:
    bodies = {name: {"id": name, "entity": entity} for name, entity in tenants.items()}
    return msgspec.json.encode(Snapshot(revision=revision, max_age_seconds=9, at=0, objects={"tenant": bodies}))


def changes(revision: int, name: str, entity: str | None) -> bytes:
    body: Any = None if entity is None else {"id": name, "entity": entity}
    change = Change(revision=revision, kind="tenant", id=name, body=body)
    return msgspec.json.encode(Changes(revision=revision, max_age_seconds=9, at=0, changes=(change,)))


@pytest.fixture
def kept(tmp_path: Path) -> PolicyCopy:
    """A snapshot and two changes after it."""
    copy = PolicyCopy(tmp_path)
    copy.begin(snapshot(5, acme="acme-inc", globex="globex-ltd"))
    copy.append(changes(6, "acme", "acme-again"))
    copy.append(changes(7, "globex", None))
    copy.confirm(FRESH, revision=7)
    return copy


def test_it_is_where_the_gateway_was(kept: PolicyCopy) -> None:
    loaded = kept.load()
    assert loaded is not None
    assert (loaded.view.revision, loaded.freshness) == (7, FRESH)
    assert {name: tenant.entity for name, tenant in loaded.view.tenants.items()} == {"acme": "acme-again"}


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert PolicyCopy(tmp_path / "none").load() is None


@pytest.mark.parametrize("cut", [1, 40])
def test_a_change_that_a_crash_cut_off_makes_it_useless(kept: PolicyCopy, tmp_path: Path, cut: int) -> None:
    """The change may be a revocation."""
    whole = (tmp_path / CHANGES).read_bytes()
    (tmp_path / CHANGES).write_bytes(whole[: len(whole) // 2 - cut])
    with pytest.raises(msgspec.DecodeError):
        kept.load()


def test_a_change_that_never_reached_the_disk_makes_it_useless(kept: PolicyCopy) -> None:
    kept.confirm(FRESH, revision=8)
    with pytest.raises(msgspec.DecodeError, match="revision 7, not at 8"):
        kept.load()


def test_a_crash_while_a_snapshot_takes_its_place_leaves_none(kept: PolicyCopy, monkeypatch: Any) -> None:
    def crash(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(PolicyCopy, "_replace", crash)
    with pytest.raises(OSError, match="full"):
        kept.begin(snapshot(3))
    assert kept.load() is None


def test_a_new_snapshot_forgets_what_was_before(kept: PolicyCopy) -> None:
    """Also one of an earlier revision: the control plane may have been restored."""
    kept.begin(snapshot(3, initech="initech-inc"))
    kept.confirm(FRESH, revision=3)
    loaded = kept.load()
    assert loaded is not None
    assert set(loaded.view.tenants) == {"initech"}


def test_only_its_owner_reads_it_and_a_long_tail_is_told(kept: PolicyCopy, tmp_path: Path, monkeypatch: Any) -> None:
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in (SNAPSHOT, CHANGES, CONFIRMED)} == {0o600}
    assert not kept.crowded
    monkeypatch.setattr(policy_copy, "MOST_CHANGES_BYTES", 10)
    assert kept.crowded
