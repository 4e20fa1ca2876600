"""Decisions that are kept: never another one than would be made, and made once as long as nothing changes."""

from dataclasses import fields, replace
from typing import Any

import paddock_core.licensing.kept as keeping
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.decide import decide
from paddock_core.licensing.kept import kept_decision
from paddock_core.licensing.types import Facts, Request, Role, Verb

from tests.core.licensing.test_decide import DAY, NOW, REQUESTS, SHARED, changed, worlds

OTHERS: dict[str, Any] = {
    "entity": "globex",
    "role": Role.OPERATOR,
    "verb": Verb.INVOKE,
    "model": "nothing",
    "purpose": "research",
    "public_name": "Other",
    "claimed_license": "second",
    "student": "nothing",
}


@SHARED
@given(data=st.data(), request_=REQUESTS, ats=st.lists(st.floats(min_value=-30 * DAY, max_value=60 * DAY), max_size=4))
def test_whenever_it_is_asked_the_answer_is_the_one_that_would_be_given(
    data: st.DataObject, request_: Request, ats: list[float], facts: Facts, catalog: Catalog
) -> None:
    """Also where the clock was set back between two questions."""
    world = data.draw(worlds(facts))
    for at in (0.0, *ats):
        asked = replace(request_, at=NOW + at)
        found = kept_decision(request=asked, facts=world, catalog=catalog)
        made = decide(request=asked, facts=world, catalog=catalog)
        assert (found.allowed, found.reason, found.valid_until) == (made.allowed, made.reason, made.valid_until)


def test_what_ends_is_decided_anew_from_that_moment_on(ask: Any, facts: Facts, catalog: Catalog) -> None:
    late = changed(facts, "acceptances", "acme", at=NOW + DAY)
    early = kept_decision(request=ask(), facts=late, catalog=catalog)
    assert not early.allowed
    assert early.valid_until is not None
    assert kept_decision(request=ask(at=early.valid_until - 1.0), facts=late, catalog=catalog) is early
    assert kept_decision(request=ask(at=early.valid_until), facts=late, catalog=catalog).allowed
    assert not kept_decision(request=ask(at=NOW), facts=late, catalog=catalog).allowed, "the clock was set back"


def test_other_facts_and_another_catalog_are_other_questions(ask: Any, facts: Facts, catalog: Catalog) -> None:
    assert kept_decision(request=ask(), facts=facts, catalog=catalog).allowed
    ended = changed(facts, "acceptances", "acme", state="terminated")
    assert not kept_decision(request=ask(), facts=ended, catalog=catalog).allowed
    assert not kept_decision(request=ask(), facts=facts, catalog=replace(catalog, licenses={})).allowed
    assert kept_decision(request=ask(), facts=facts, catalog=catalog).allowed


@pytest.mark.parametrize("name", [field.name for field in fields(Request) if field.name != "at"])
def test_whatever_is_asked_otherwise_is_another_question(name: str, ask: Any, facts: Facts, catalog: Catalog) -> None:
    first = kept_decision(request=ask(), facts=facts, catalog=catalog)
    other = kept_decision(request=replace(ask(), **{name: OTHERS[name]}), facts=facts, catalog=catalog)
    assert other is not first
    assert kept_decision(request=ask(at=NOW + 1), facts=facts, catalog=catalog) is first


def test_of_one_set_of_facts_only_so_many_are_kept(
    ask: Any, facts: Facts, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST_KEPT", 2)
    first = kept_decision(request=ask(), facts=facts, catalog=catalog)
    for name in ("one", "two"):
        kept_decision(request=replace(ask(), entity=name), facts=facts, catalog=catalog)
    again = kept_decision(request=ask(), facts=facts, catalog=catalog)
    assert again is not first
    assert again == first
