"""The book of denials: it counts, and it is bounded whatever comes."""

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.audit.denials import OTHER, DenialBook

CALLS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["m", "n"]), st.floats(0, 1e9)), max_size=60)


@given(calls=CALLS, limit=st.integers(1, 5))
def test_every_denial_is_counted_once_and_kinds_are_bounded(calls: list[tuple[str, str, float]], limit: int) -> None:
    book = DenialBook(limit=limit)
    for entity, model, at in calls:
        book.add(entity=entity, role="deployer", verb="invoke", model=model, reason="Terminated", at=at)
    taken = book.take()
    assert sum(item.count for item in taken) == len(calls)
    assert len(taken) <= limit + 1
    assert len(book) == 0
    if calls:
        assert min(item.first_at for item in taken) == min(at for _, _, at in calls)
        assert max(item.last_at for item in taken) == max(at for _, _, at in calls)
    book.put_back(taken)
    assert sum(item.count for item in book.take()) == len(calls)


def test_what_does_not_fit_is_one_more_kind() -> None:
    book = DenialBook(limit=1)
    for entity in ("acme", "acme", "globex", "initech"):
        book.add(entity=entity, role="deployer", verb="invoke", model="m", reason="Terminated", at=1.0)
    assert [(item.entity, item.count) for item in book.take()] == [("acme", 2), (OTHER, 2)]
