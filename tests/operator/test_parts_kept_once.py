"""What documents say alike is kept once, and nothing about them is another for it."""

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from paddock_operator.sharing import Sharing

WORDS = st.sampled_from(["name", "http", "1", "", "é", "x" * 300])
VALUES = st.recursive(
    WORDS | st.integers(-1, 2) | st.booleans() | st.none() | st.sampled_from([0.0, 1.0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.builds(lambda meta, spec: {"metadata": meta, "spec": spec}, st.dictionaries(WORDS, VALUES), VALUES)


def pod(name: str) -> dict[str, Any]:
    labels = {"app": "".join(["pad", "dock"]), "copy": name}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"ports": [{"port": 8000}], "message": name * 300}}


@given(st.lists(DOCUMENTS, max_size=5), st.integers(1, 5))
def test_a_shared_document_says_what_it_said_to_the_letter(documents: list[dict[str, Any]], most: int) -> None:
    sharing, before = Sharing(most=most), copy.deepcopy(documents)
    made = [sharing.shared(item) for item in documents]
    # True, 1 and 1.0 are equal in Python, and not in a manifest.
    assert json.dumps(made) == json.dumps(before) == json.dumps(documents)


def test_equal_parts_are_one_and_the_metadata_is_of_each_its_own() -> None:
    sharing = Sharing()
    one, other = sharing.shared(pod("a")), sharing.shared(pod("b"))
    assert one["spec"]["ports"] is other["spec"]["ports"]
    assert one["metadata"]["labels"]["app"] is other["metadata"]["labels"]["app"]
    again = sharing.shared(pod("a"))
    assert again["metadata"] is not one["metadata"], "its revision is written into it"
    assert again["metadata"]["labels"] is one["metadata"]["labels"]
    assert again["spec"] is not one["spec"], "what is long is looked at in its parts"
    assert again["spec"]["message"] is one["spec"]["message"]


def test_no_more_is_remembered_than_was_asked_for() -> None:
    sharing = Sharing(most=10)
    first = sharing.shared(pod("first"))
    for number in range(100):
        sharing.shared(pod(str(number)))
        assert len(sharing._parts) <= 10
    assert sharing.shared(pod("first")) == first
