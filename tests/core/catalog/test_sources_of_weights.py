"""Which sources make sense, and which a tenant's model may name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.sources import SOURCES, forbidden, problem, with_scheme

WORD = st.text(alphabet="abcdefghij.-/:", min_size=1, max_size=30)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_with_all_that_it_needs_has_no_problem(kind: str) -> None:
    source = {"kind": kind, **dict.fromkeys(SOURCES[kind], "x")}
    assert problem(source) is None
    for name in SOURCES[kind]:
        assert f"needs {name}, for example {{kind: {kind}" in str(problem({**source, name: ""}))


@given(kind=st.sampled_from([*SOURCES]), parameters=st.dictionaries(st.sampled_from(["url", "endpoint"]), WORD))
def test_the_platforms_own_models_are_not_asked_about(kind: str, parameters: dict[str, str]) -> None:
    assert forbidden({"kind": kind, **parameters}, owner="", endpoints=()) is None


@given(address=WORD, allowed=st.lists(WORD, max_size=3))
def test_an_address_is_allowed_only_below_an_allowed_one(address: str, allowed: list[str]) -> None:
    answer = forbidden({"kind": "http", "url": address}, owner="acme", endpoints=allowed)
    below = any(
        with_scheme(address) == with_scheme(item) or with_scheme(address).startswith(f"{with_scheme(item)}/")
        for item in allowed
    )
    assert (answer is None) == below


@pytest.mark.parametrize(
    "address",
    [
        "https://good.example.evil.example/m",
        "https://good.example@evil.example/m",
        "http://good.example/m",
        "https://good.example:8443/m",
        "https://evil.example/good.example",
    ],
)
def test_what_only_looks_like_an_allowed_server_is_not(address: str) -> None:
    told = forbidden({"kind": "http", "url": address}, owner="acme", endpoints=["https://good.example"])
    assert told is not None
    assert "sourceEndpoints" in told
