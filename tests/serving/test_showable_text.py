from hypothesis import example, given
from hypothesis import strategies as st
from paddock_serving.text import REPLACEMENT, showable

ALPHABET = st.text(alphabet="abc" + REPLACEMENT, max_size=30)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


def test_a_stop_word_cuts_the_text_before_it() -> None:
    shown = showable("one two STOP three", stop=["STOP"], complete=False)
    assert (shown.length, shown.stopped) == (8, True)


def test_the_start_of_a_stop_word_stays_back() -> None:
    assert showable("one ST", stop=["STOP"], complete=False).length == 4
    assert showable("one ST", stop=["STOP"], complete=True).length == 6
    assert showable("one STO!", stop=["STOP"], complete=False).length == 8


def test_half_a_character_stays_back_for_ever() -> None:
    assert showable("ab" + REPLACEMENT, stop=[], complete=False).length == 2
    assert showable("ab" + REPLACEMENT, stop=[], complete=True).length == 2
    assert showable(REPLACEMENT + "ab", stop=[], complete=False).length == 3


@given(text=ALPHABET, stop=STOPS)
@example(text=REPLACEMENT + "aa", stop=["aa"])
def test_what_was_shown_is_never_taken_back(text: str, stop: list[str]) -> None:
    """Growing by one character at a time, the shown part only grows, and never holds a stop word."""
    before = 0
    for end in range(len(text) + 1):
        shown = showable(text[:end], stop=stop, complete=False)
        assert shown.length >= before
        assert not any(word in text[: shown.length] for word in stop)
        before = shown.length
        if shown.stopped:
            return
    assert showable(text, stop=stop, complete=True).length >= before
