"""What holds of every decision: nothing taken away allows, nothing that ends allows, each reason can come up."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.decide import decide
from paddock_core.licensing.types import Decision, Facts, Reason, Request, Role, Verb
from paddock_core.policy.documents import Entity, RegisteredModel

from tests.core.licensing.test_decide import (
    DAY,
    NOW,
    REQUESTS,
    SHARED,
    changed,
    established,
    grant,
    without,
    worlds,
)


def _decide(request: Request, facts: Facts, catalog: Catalog) -> Decision:
    return decide(request=request, facts=facts, catalog=catalog)


def _entities(world: Facts, change: Callable[[Entity], Entity]) -> Facts:
    return replace(world, entities={name: change(entity) for name, entity in world.entities.items()})


def _models(world: Facts, change: Callable[[RegisteredModel], RegisteredModel]) -> Facts:
    return replace(world, models={name: change(model) for name, model in world.models.items()})


TAKEN_AWAY: dict[str, Callable[[Facts], Facts]] = {
    "places of establishment": lambda world: _entities(
        world, lambda entity: replace(entity, principal_place_of_business="", domicile="")
    ),
    "the exemption of integrated products": lambda world: _entities(
        world, lambda entity: replace(entity, receives_integrated_product=False)
    ),
    "the operator": lambda world: replace(world, operator=""),
    "every entity": lambda world: replace(world, entities={}),
    "every registered model": lambda world: replace(world, models={}),
    "public names": lambda world: _models(world, lambda model: replace(model, public_name=None)),
    "privacy of models": lambda world: _models(world, lambda model: replace(model, published=None)),
    "promises to pass the terms on": lambda world: replace(
        world, acceptances=tuple(replace(item, flow_down=False) for item in world.acceptances)
    ),
    "when texts were imported": lambda world: replace(
        world, texts=tuple(replace(text, at=None) for text in world.texts)
    ),
}


@pytest.mark.parametrize("what", TAKEN_AWAY)
@SHARED
@given(data=st.data(), request_=REQUESTS)
def test_what_is_not_known_is_never_assumed(
    data: st.DataObject, request_: Request, what: str, facts: Facts, catalog: Catalog
) -> None:
    world = data.draw(worlds(facts))
    if _decide(request_, TAKEN_AWAY[what](world), catalog).allowed:
        assert _decide(request_, world, catalog).allowed


ENDED: dict[str, Callable[[Facts, int], Facts]] = {
    "an acceptance is revoked": lambda world, at: _ended(world, at, "revoked"),
    "an acceptance is suspended": lambda world, at: _ended(world, at, "suspended"),
    "an acceptance is terminated": lambda world, at: _ended(world, at, "terminated"),
    "an acceptance is stale": lambda world, at: _ended(world, at, "stale"),
    "a grant is withdrawn": lambda world, at: replace(
        world, grants=_but_one(world.grants, at, lambda item: replace(item, state="withdrawn"))
    ),
    "a grant has ended": lambda world, at: replace(
        world, grants=_but_one(world.grants, at, lambda item: replace(item, valid_to=NOW))
    ),
    "a statement says more users": lambda world, at: replace(
        world, statements=_but_one(world.statements, at, lambda item: replace(item, band="gt_700m"))
    ),
}


def _but_one(items: Any, at: int, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The items, one of them changed."""
    index = at % len(items) if items else 0
    return tuple(change(item) if number == index else item for number, item in enumerate(items))


def _ended(world: Facts, at: int, state: str) -> Facts:
    return replace(world, acceptances=_but_one(world.acceptances, at, lambda item: replace(item, state=state)))


@pytest.mark.parametrize("what", ENDED)
@SHARED
@given(data=st.data(), request_=REQUESTS, at=st.integers(min_value=0, max_value=30))
def test_nothing_that_ends_allows(
    data: st.DataObject, request_: Request, at: int, what: str, facts: Facts, catalog: Catalog
) -> None:
    world = data.draw(worlds(facts))
    if _decide(request_, ENDED[what](world, at), catalog).allowed:
        assert _decide(request_, world, catalog).allowed


@SHARED
@given(data=st.data(), request_=REQUESTS, chance=st.randoms(use_true_random=False))
def test_the_order_of_tenants_and_models_does_not_matter(
    data: st.DataObject, request_: Request, chance: Any, facts: Facts, catalog: Catalog
) -> None:
    world = data.draw(worlds(facts))
    shuffled = {}
    for kind in ("tenants", "models", "entities"):
        items = list(getattr(world, kind).items())
        chance.shuffle(items)
        shuffled[kind] = dict(items)
    assert _decide(request_, replace(world, **shuffled), catalog) == _decide(request_, world, catalog)


@SHARED
@given(data=st.data(), request_=REQUESTS)
def test_what_a_decision_names_is_there(data: st.DataObject, request_: Request, facts: Facts, catalog: Catalog) -> None:
    """Clauses of the catalogue (or a license where none of it was reached), acceptances on record."""
    world = data.draw(worlds(facts))
    decision = _decide(request_, world, catalog)
    known = {f"{entry.id}#{clause.id}" for entry in catalog.licenses.values() for clause in entry.clauses}
    assert set(decision.clauses) <= known | set(catalog.licenses) | {"catalogue#model"}
    mine = {item.id for item in world.acceptances if item.entity == request_.entity and item.state == "active"}
    assert set(decision.acceptances) <= mine


@SHARED
@given(data=st.data(), request_=REQUESTS, later=st.floats(min_value=0, max_value=60 * DAY))
def test_an_answer_that_is_kept_is_the_answer_that_would_be_given(
    data: st.DataObject, request_: Request, later: float, facts: Facts, catalog: Catalog
) -> None:
    """Until `valid_until`, and for ever without one, as long as no fact changes: gateways rely on it."""
    world = data.draw(worlds(facts))
    first = _decide(request_, world, catalog)
    if first.valid_until is None or NOW + later < first.valid_until:
        again = _decide(replace(request_, at=NOW + later), world, catalog)
        assert (again.allowed, again.reason) == (first.allowed, first.reason)


Told = tuple[dict[str, Any], Callable[[Facts], Facts]]


def _as_is(facts: Facts) -> Facts:
    return facts


REACHED: dict[Reason, Told] = {
    Reason.ALLOWED: ({}, _as_is),
    Reason.MODEL_UNKNOWN: ({"model": "nothing"}, _as_is),
    Reason.LICENSE_UNKNOWN: ({"model": "strange"}, _as_is),
    Reason.LICENSE_MISMATCH: ({"claimed_license": "second"}, _as_is),
    Reason.TEXT_NOT_IMPORTED: ({}, lambda facts: replace(facts, texts=())),
    Reason.OPERATOR_NOT_LICENSED: ({}, lambda facts: without(facts, "acceptances", "op")),
    Reason.ACCEPTANCE_MISSING: ({}, lambda facts: without(facts, "acceptances", "acme")),
    Reason.ACCEPTANCE_STALE: ({}, lambda facts: changed(facts, "acceptances", "acme", canonical="sha256:" + "e" * 64)),
    Reason.THRESHOLD_STATEMENT_MISSING: ({}, lambda facts: without(facts, "statements", "acme")),
    Reason.THRESHOLD_GRANT_REQUIRED: ({}, lambda facts: changed(facts, "statements", "acme", band="gt_700m")),
    Reason.GRANT_EXPIRED: (
        {},
        lambda facts: replace(changed(facts, "statements", "acme", band="gt_700m"), grants=(grant(valid_to=NOW - 1),)),
    ),
    Reason.TERRITORY_DENIED: ({"model": "vision"}, lambda facts: established(facts, "acme", "DE")),
    Reason.NAME_PREFIX_REQUIRED: ({"verb": Verb.FINE_TUNE, "public_name": "AcmeGPT"}, _as_is),
    Reason.PURPOSE_DENIED: ({"model": "study"}, _as_is),
    Reason.OUTPUT_TRAINING_DENIED: ({"model": "teacher", "verb": Verb.DISTILL}, _as_is),
    Reason.FLOW_DOWN_MISSING: (
        {"entity": "globex", "role": Role.CONSUMER, "verb": Verb.INVOKE},
        lambda facts: changed(facts, "acceptances", "globex", flow_down=False),
    ),
    Reason.SUSPENDED: ({}, lambda facts: changed(facts, "acceptances", "acme", state="suspended")),
    Reason.TERMINATED: ({}, lambda facts: changed(facts, "acceptances", "acme", state="terminated")),
}
NOT_OF_DECIDE = {Reason.POLICY_EXPIRED}
"""Gateways and the operator say it themselves, when there are no facts to decide by."""


def test_each_reason_can_come_up() -> None:
    assert set(REACHED) | NOT_OF_DECIDE == set(Reason)


@pytest.mark.parametrize("reason", REACHED)
def test_the_reason_comes_up(reason: Reason, ask: Any, facts: Facts, catalog: Catalog) -> None:
    question, change = REACHED[reason]
    assert _decide(ask(**question), change(facts), catalog).reason is reason
