"""A follower's copy: snapshot and changes lead to the same."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.policy.documents import KINDS, Namespace, Tenant
from paddock_core.policy.view import FIELDS, PolicyView
from paddock_core.policy.wire import Change, Snapshot

BODIES: dict[str, dict[str, Any]] = {
    "tenant": {"id": "acme", "entity": "acme-inc", "limits": {"requests_per_minute": 5}},
    "namespace": {"id": "acme-ns", "tenant": "acme"},
    "entity": {"id": "acme-inc", "legal_name": "Acme Inc.", "principal_place_of_business": "US"},
}


def _change(revision: int, kind: str, name: str, *, gone: bool = False) -> Change:
    body = None if gone else {**BODIES[kind], "id": name}
    return Change(revision=revision, kind=kind, id=name, body=body)


def test_every_kind_has_its_place() -> None:
    assert set(FIELDS) == set(KINDS)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(BODIES)), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=20
    ),
    st.integers(0, 20),
)
def test_batches_in_any_cut_lead_to_the_same_view_as_a_snapshot(steps: list[tuple[str, str, bool]], cut: int) -> None:
    changes = [_change(n + 1, kind, name, gone=gone) for n, (kind, name, gone) in enumerate(steps)]
    objects: dict[str, dict[str, Any]] = {}
    for change in changes:
        kind = objects.setdefault(change.kind, {})
        kind.pop(change.id, None)
        if change.body is not None:
            kind[change.id] = change.body
    view = PolicyView.empty().apply(changes[:cut]).apply(changes)
    assert view == PolicyView.from_snapshot(Snapshot(revision=len(steps), max_age_seconds=1, at=0, objects=objects))


def test_what_a_batch_does_not_touch_is_shared() -> None:
    first = PolicyView.empty().apply([_change(1, "tenant", "acme"), _change(2, "namespace", "acme-ns")])
    second = first.apply([_change(3, "namespace", "other")])
    assert second.tenants is first.tenants
    assert set(first.namespaces) == {"acme-ns"}
    assert second.revision == 3


def test_a_namespace_leads_to_its_tenant() -> None:
    view = PolicyView.empty().apply([_change(1, "tenant", "acme"), _change(2, "namespace", "acme-ns")])
    owner = view.namespace_tenant("acme-ns")
    assert isinstance(owner, Tenant)
    assert owner.limits.requests_per_minute == 5
    assert view.namespace_tenant("nobodys") is None
    orphan = view.apply([_change(3, "tenant", "acme", gone=True)])
    assert isinstance(orphan.namespaces["acme-ns"], Namespace)
    assert orphan.namespace_tenant("acme-ns") is None


def test_a_kind_of_a_newer_control_plane_is_passed_over() -> None:
    news = Change(revision=7, kind="from-the-future", id="x", body={"a": 1})
    assert PolicyView.empty().apply([news]).revision == 7


def test_the_revision_of_an_answer_without_changes_counts() -> None:
    assert PolicyView.empty().apply([], revision=5).revision == 5


def test_a_body_that_does_not_fit_is_refused_whole() -> None:
    broken = Change(revision=1, kind="tenant", id="x", body={"id": "x"})
    with pytest.raises(msgspec.ValidationError):
        PolicyView.empty().apply([broken])


def test_facts_are_made_once_and_name_the_operator() -> None:
    body = {**BODIES["entity"], "id": "op", "is_operator": True}
    view = PolicyView.empty().apply([Change(revision=1, kind="entity", id="op", body=body)])
    assert view.facts() is view.facts()
    assert view.facts().operator == "op"
    assert PolicyView.empty().facts().operator == ""
