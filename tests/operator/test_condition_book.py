"""How many deployments show which condition: kept by rounds, in a known set of words, and shown as long as it is so."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources.llamadeployment import Condition
from paddock_operator.condition_book import OTHER, ConditionBook
from paddock_operator.ports import Key
from paddock_operator.telemetry import Telemetry
from prometheus_client import generate_latest

KEYS = [Key("acme", name) for name in ("a", "b", "c")]
SERIES = st.tuples(
    st.sampled_from(["Serving", "Routable", "Progressing"]),
    st.sampled_from(["True", "False", "Unknown"]),
    st.sampled_from(["Serving", "Loading", "anything else", "EngineOOM"]),
)


def conditions(series: Iterable[tuple[str, str, str]]) -> list[Condition]:
    return [
        Condition(type=kind, status=status, reason=why, message="", observed_generation=1, last_transition_time="")
        for kind, status, why in series
    ]


@given(steps=st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.lists(SERIES, max_size=3, unique=True))))
def test_it_is_as_if_all_were_counted_anew(steps: list[tuple[Key, list[tuple[str, str, str]] | None]]) -> None:
    book, now = ConditionBook(), dict[Key, list[tuple[str, str, str]]]()
    for key, series in steps:
        if series is None:
            book.forget(key)
            now.pop(key, None)
        else:
            book.note(key, conditions(series))
            now[key] = series
    expected: dict[tuple[str, ...], float] = {}
    for found in now.values():
        for kind, status, reason in found:
            word = OTHER if reason == "anything else" else reason
            expected[kind, status, word] = expected.get((kind, status, word), 0.0) + 1.0
    assert {tuple(labels.values()): value for value, labels in book.counts()} == expected


def test_what_is_no_more_is_shown_no_more() -> None:
    telemetry, book = Telemetry(), ConditionBook()
    telemetry.gauges("paddock_test_conditions", "Of a test", book.counts)
    try:
        book.note(KEYS[0], conditions([("Serving", "False", "Loading")]))
        book.note(KEYS[1], conditions([("Serving", "False", "Loading")]))
        assert lines() == ['reason="Loading",status="False",type="Serving"} 2.0']
        book.note(KEYS[0], conditions([("Serving", "True", "Serving")]))
        book.forget(KEYS[1])
        assert lines() == ['reason="Serving",status="True",type="Serving"} 1.0']
    finally:
        telemetry.close()


def lines() -> list[str]:
    """What Prometheus is told, without the names of the library."""
    told = generate_latest().decode().splitlines()
    return [line[line.index("reason=") :] for line in told if line.startswith("paddock_test_conditions{")]
