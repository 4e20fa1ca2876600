"""Packed records are the same records."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.policy.documents import Acceptance
from paddock_core.policy.packed import Packed
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change, ReceivedSnapshot, Snapshot

IDS = [f"acc-{number}" for number in range(6)]


def acceptance(name: str, entity: str, *, state: str = "active") -> Acceptance:
    return Acceptance(id=name, entity=entity, license="l", role="deployer", canonical="c" * 64, at=1.5, state=state)


# As in the control plane, a record stays its entity's as long as it lives.
ITEMS = st.builds(
    lambda number, state: acceptance(IDS[number], f"e{number % 3}", state=state),
    st.integers(0, len(IDS) - 1),
    st.sampled_from(["active", "revoked"]),
)
NEWS = st.dictionaries(st.sampled_from(IDS), st.none() | st.sampled_from(["active", "terminated"]), max_size=4)


def packed(items: dict[str, Acceptance]) -> Packed[Acceptance]:
    return Packed.from_raw(Acceptance, [msgspec.Raw(msgspec.json.encode(item)) for item in items.values()])


@settings(deadline=None)
@given(st.lists(ITEMS), st.lists(NEWS, max_size=4))
def test_it_is_the_mapping_that_it_was_made_from_through_every_change(start: list[Acceptance], steps: list) -> None:  # type: ignore[type-arg]
    plain = {item.id: item for item in start}
    small = packed(plain)
    for step in steps:
        before = dict(small)
        news = {
            name: None if state is None else acceptance(name, f"e{IDS.index(name) % 3}", state=state)
            for name, state in step.items()
        }
        changed = small.changed(news)
        assert dict(small) == before, "the old one is not touched"
        plain = {name: item for name, item in {**plain, **news}.items() if item is not None}
        small = changed
        assert dict(small) == plain
        assert len(small) == len(plain)
        for entity in ("e0", "e1", "e2", "nobody"):
            mine = {item.id: item for item in small.of(entity)}
            assert mine == {name: item for name, item in plain.items() if item.entity == entity}
    with pytest.raises(KeyError):
        small["nothing"]


def test_bodies_that_do_not_fit_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        Packed.from_raw(Acceptance, [msgspec.Raw(b'{"entity": "e", "id": 7}')])


def test_a_view_of_packed_records_says_what_a_view_of_plain_ones_says() -> None:
    bodies = {name: msgspec.to_builtins(acceptance(name, "e")) for name in IDS}
    objects = {
        "acceptance": bodies,
        "tenant": {"t": {"id": "t", "entity": "e"}},
        "of a newer version": {"x": {"id": "x"}},
    }
    plain = Snapshot(revision=3, max_age_seconds=1, at=0, objects=objects)
    received = msgspec.json.decode(msgspec.json.encode(plain), type=ReceivedSnapshot)
    views = PolicyView.from_snapshot(plain), PolicyView.from_received(received)
    ending = Change(revision=4, kind="acceptance", id="acc-0", body={**bodies["acc-0"], "state": "revoked"})
    gone = Change(revision=5, kind="acceptance", id="acc-1", body=None)
    for changes in ((), (ending,), (ending, gone)):
        first, second = (view.apply(changes) for view in views)
        assert dict(first.acceptances) == dict(second.acceptances)
        assert (first.revision, first.tenants) == (second.revision, second.tenants)
    assert isinstance(views[1].facts().acceptances, Packed)
