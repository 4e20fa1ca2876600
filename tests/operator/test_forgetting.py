"""Books forget what nobody asks for any more, and nothing that is asked for."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from paddock_operator.forgetting import LOOKS_IN_A_LIFE, Remembered

SECONDS = 600.0


@dataclass
class Item:
    asked_at: float


@given(asked=st.lists(st.tuples(st.integers(0, 5), st.floats(0, 2000)), max_size=30))
def test_what_is_asked_for_stays_and_the_rest_goes(asked: list[tuple[int, float]]) -> None:
    book: Remembered[int, Item] = Remembered(seconds=SECONDS)
    last: dict[int, float] = {}
    for key, at in sorted(asked, key=lambda item: item[1]):
        book[key], last[key] = Item(asked_at=at), at
        book.forget(now=at)
        kept = {name for name, then in last.items() if at - then <= SECONDS}
        known = {name for name, then in last.items() if at - then <= SECONDS * (1 + 1 / LOOKS_IN_A_LIFE)}
        assert kept <= set(book) <= known
