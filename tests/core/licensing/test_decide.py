"""The decision, clause by clause and by its properties."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.clauses import CHECKS
from paddock_core.licensing.decide import decide
from paddock_core.licensing.types import Decision, Facts, Reason, Request, Role, Verb
from paddock_core.policy.documents import Acceptance, Entity, Grant, LicensePolicy, RegisteredModel, Statement, Tenant

NOW = 1_800_000_000.0
DAY = 86_400.0
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def without(facts: Facts, kind: str, entity: str, license_id: str = "llama") -> Facts:
    kept = tuple(item for item in getattr(facts, kind) if (item.entity, item.license) != (entity, license_id))
    return replace(facts, **{kind: kept})


def changed(facts: Facts, kind: str, entity: str, license_id: str = "llama", **values: Any) -> Facts:
    items = tuple(
        replace(item, **values) if (item.entity, item.license) == (entity, license_id) else item
        for item in getattr(facts, kind)
    )
    return replace(facts, **{kind: items})


def established(facts: Facts, entity: str, place: str) -> Facts:
    moved = replace(facts.entities[entity], principal_place_of_business=place)
    return replace(facts, entities={**facts.entities, entity: moved})


def grant(**other: Any) -> Grant:
    values: dict[str, Any] = {
        "id": "grant",
        "entity": "acme",
        "licenses": ("llama",),
        "models": (),
        "valid_from": NOW - DAY,
        "valid_to": NOW + DAY,
    }
    return Grant(**{**values, **other})


def test_the_whole_chain_allows(ask: Any, facts: Facts, catalog: Catalog) -> None:
    decision = decide(request=ask(), facts=facts, catalog=catalog)
    assert decision.allowed
    assert decision.acceptances == ("acme-deployer-llama",)
    assert "llama#1" in decision.clauses


def test_nothing_known_denies(ask: Any, catalog: Catalog) -> None:
    nothing = Facts(operator="", entities={}, tenants={})
    assert decide(request=ask(), facts=nothing, catalog=catalog).reason is Reason.TEXT_NOT_IMPORTED


def test_an_unknown_model_may_still_come(ask: Any, facts: Facts, catalog: Catalog) -> None:
    decision = decide(request=ask(model="nothing"), facts=facts, catalog=catalog)
    assert (decision.reason, decision.mendable) == (Reason.MODEL_UNKNOWN, True)


def test_naming_another_license_cannot_be_mended(ask: Any, facts: Facts, catalog: Catalog) -> None:
    decision = decide(request=ask(claimed_license="second"), facts=facts, catalog=catalog)
    assert (decision.reason, decision.mendable) == (Reason.LICENSE_MISMATCH, False)
    assert decide(request=ask(claimed_license="llama"), facts=facts, catalog=catalog).allowed


def test_a_text_with_other_words_is_not_imported(ask: Any, facts: Facts, catalog: Catalog) -> None:
    texts = tuple(replace(text, canonical="sha256:" + "f" * 64) for text in facts.texts)
    decision = decide(request=ask(), facts=replace(facts, texts=texts), catalog=catalog)
    assert decision.reason is Reason.TEXT_NOT_IMPORTED
    assert "paddock license import llama" in decision.message


@pytest.mark.parametrize("kind", ["acceptances", "statements"])
def test_operator_and_deployer_accept_separately(kind: str, ask: Any, facts: Facts, catalog: Catalog) -> None:
    missing = {"acceptances": Reason.ACCEPTANCE_MISSING, "statements": Reason.THRESHOLD_STATEMENT_MISSING}[kind]
    operator = decide(request=ask(), facts=without(facts, kind, "op"), catalog=catalog)
    deployer = decide(request=ask(), facts=without(facts, kind, "acme"), catalog=catalog)
    assert operator.reason is Reason.OPERATOR_NOT_LICENSED
    assert deployer.reason is missing
    assert "--entity acme" in deployer.message


def test_only_the_registered_operator_operates(ask: Any, facts: Facts, catalog: Catalog) -> None:
    own = decide(request=ask(entity="op", role=Role.OPERATOR, verb=Verb.DOWNLOAD), facts=facts, catalog=catalog)
    other = decide(request=ask(role=Role.OPERATOR), facts=facts, catalog=catalog)
    nobody = decide(request=ask(), facts=replace(facts, operator=""), catalog=catalog)
    assert own.allowed
    assert own.acceptances == ("op-operator-llama",)
    assert other.reason is nobody.reason is Reason.OPERATOR_NOT_LICENSED


def test_a_role_is_not_another_role(ask: Any, facts: Facts, catalog: Catalog) -> None:
    deploying = decide(request=ask(entity="globex"), facts=facts, catalog=catalog)
    consuming = decide(request=ask(role=Role.CONSUMER, verb=Verb.INVOKE), facts=facts, catalog=catalog)
    assert deploying.reason is Reason.ACCEPTANCE_MISSING
    assert consuming.allowed


def test_an_unregistered_entity_has_accepted_nothing(ask: Any, facts: Facts, catalog: Catalog) -> None:
    assert decide(request=ask(entity="stranger"), facts=facts, catalog=catalog).reason is Reason.ACCEPTANCE_MISSING


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("revoked", Reason.ACCEPTANCE_MISSING),
        ("superseded", Reason.ACCEPTANCE_MISSING),
        ("suspended", Reason.SUSPENDED),
        ("terminated", Reason.TERMINATED),
        ("pending_grant", Reason.THRESHOLD_GRANT_REQUIRED),
        ("a word of a newer version", Reason.ACCEPTANCE_MISSING),
    ],
)
def test_only_an_active_acceptance_counts(state: str, reason: Reason, ask: Any, facts: Facts, catalog: Catalog) -> None:
    ended = changed(facts, "acceptances", "acme", state=state)
    assert decide(request=ask(), facts=ended, catalog=catalog).reason is reason


def test_a_new_acceptance_does_not_undo_a_termination(ask: Any, facts: Facts, catalog: Catalog) -> None:
    first = next(item for item in facts.acceptances if item.entity == "acme" and item.license == "llama")
    again = replace(first, id="again", at=NOW)
    both = replace(
        changed(facts, "acceptances", "acme", state="terminated"),
        acceptances=(*changed(facts, "acceptances", "acme", state="terminated").acceptances, again),
    )
    assert decide(request=ask(), facts=both, catalog=catalog).reason is Reason.TERMINATED


def test_accepting_another_text_is_stale(ask: Any, facts: Facts, catalog: Catalog) -> None:
    old = changed(facts, "acceptances", "acme", canonical="sha256:" + "e" * 64)
    assert decide(request=ask(), facts=old, catalog=catalog).reason is Reason.ACCEPTANCE_STALE


def test_an_acceptance_does_not_reach_back(ask: Any, facts: Facts, catalog: Catalog) -> None:
    late = changed(facts, "acceptances", "acme", at=NOW + DAY)
    decision = decide(request=ask(), facts=late, catalog=catalog)
    assert decision.reason is Reason.ACCEPTANCE_MISSING
    assert decision.valid_until is not None
    assert decide(request=ask(at=decision.valid_until), facts=late, catalog=catalog).allowed


def test_exactly_the_threshold_passes_and_one_more_does_not(ask: Any, facts: Facts, catalog: Catalog) -> None:
    exact = changed(facts, "statements", "acme", value=700_000_000)
    above = changed(facts, "statements", "acme", value=700_000_001)
    assert decide(request=ask(), facts=exact, catalog=catalog).allowed
    assert decide(request=ask(), facts=above, catalog=catalog).reason is Reason.THRESHOLD_GRANT_REQUIRED


def test_what_is_counted_now_does_not_matter(ask: Any, facts: Facts, catalog: Catalog) -> None:
    grown = changed(facts, "statements", "acme", current=900_000_000)
    assert decide(request=ask(), facts=grown, catalog=catalog).allowed


@pytest.mark.parametrize("verb", list(Verb))
def test_above_the_threshold_nothing_is_permitted(verb: Verb, ask: Any, facts: Facts, catalog: Catalog) -> None:
    above = changed(facts, "statements", "acme", band="gt_700m")
    request = ask(verb=verb, public_name="Llama-Acme")
    assert decide(request=request, facts=above, catalog=catalog).reason is Reason.THRESHOLD_GRANT_REQUIRED


@pytest.mark.parametrize("declared_by", ["acme", "globex"])
def test_an_affiliate_above_the_threshold_catches(declared_by: str, ask: Any, facts: Facts, catalog: Catalog) -> None:
    other = {"acme": "globex", "globex": "acme"}[declared_by]
    group = replace(facts.entities[declared_by], affiliates=(other,))
    statements = (*facts.statements, Statement(id="s", entity="globex", license="llama", band="gt_700m", at=NOW))
    caught = replace(facts, entities={**facts.entities, declared_by: group}, statements=statements)
    assert decide(request=ask(), facts=caught, catalog=catalog).reason is Reason.THRESHOLD_GRANT_REQUIRED
    apart = replace(facts, statements=statements)
    assert decide(request=ask(), facts=apart, catalog=catalog).allowed


def test_a_statement_is_for_one_license(ask: Any, facts: Facts, catalog: Catalog) -> None:
    above = changed(facts, "statements", "acme", "second", band="gt_700m")
    assert decide(request=ask(), facts=above, catalog=catalog).allowed
    assert not decide(request=ask(model="both"), facts=above, catalog=catalog).allowed


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, Reason.ALLOWED),
        ({"models": ("text",)}, Reason.ALLOWED),
        ({"models": ("vision",)}, Reason.THRESHOLD_GRANT_REQUIRED),
        ({"licenses": ("second",)}, Reason.THRESHOLD_GRANT_REQUIRED),
        ({"state": "withdrawn"}, Reason.THRESHOLD_GRANT_REQUIRED),
        ({"valid_to": NOW}, Reason.GRANT_EXPIRED),
        ({"valid_from": NOW + 1}, Reason.THRESHOLD_GRANT_REQUIRED),
        ({"entity": "globex"}, Reason.THRESHOLD_GRANT_REQUIRED),
    ],
)
def test_a_grant_helps_within_its_scope_and_time(
    values: dict[str, Any], reason: Reason, ask: Any, facts: Facts, catalog: Catalog
) -> None:
    above = replace(changed(facts, "statements", "acme", band="gt_700m"), grants=(grant(**values),))
    assert decide(request=ask(), facts=above, catalog=catalog).reason is reason


def test_an_allowance_by_grant_lasts_as_long_as_the_grant(ask: Any, facts: Facts, catalog: Catalog) -> None:
    above = replace(changed(facts, "statements", "acme", band="gt_700m"), grants=(grant(),))
    assert decide(request=ask(), facts=above, catalog=catalog).valid_until == NOW + DAY
    assert not decide(request=ask(at=NOW + DAY), facts=above, catalog=catalog).allowed


def test_a_consumer_promises_to_pass_the_terms_on(ask: Any, facts: Facts, catalog: Catalog) -> None:
    request = ask(entity="globex", role=Role.CONSUMER, verb=Verb.INVOKE)
    silent = changed(facts, "acceptances", "globex", flow_down=False)
    assert decide(request=request, facts=facts, catalog=catalog).allowed
    assert decide(request=request, facts=silent, catalog=catalog).reason is Reason.FLOW_DOWN_MISSING


def test_an_end_user_only_invokes(ask: Any, facts: Facts, catalog: Catalog) -> None:
    invoking = ask(entity="globex", role=Role.END_USER, verb=Verb.INVOKE)
    assert decide(request=invoking, facts=without(facts, "acceptances", "globex"), catalog=catalog).allowed
    assert not decide(request=replace(invoking, verb=Verb.DEPLOY), facts=facts, catalog=catalog).allowed


@pytest.mark.parametrize(
    ("place", "model", "allowed"),
    [
        ("DE", "vision", False),
        ("DE", "text", True),
        ("NO", "vision", True),
        ("GB", "vision", True),
        ("", "vision", False),
    ],
)
def test_the_european_bar_is_multimodal_and_of_the_union(
    place: str, model: str, *, allowed: bool, ask: Any, facts: Facts, catalog: Catalog
) -> None:
    moved = established(facts, "acme", place)
    decision = decide(request=ask(model=model), facts=moved, catalog=catalog)
    assert decision.allowed is allowed
    if not allowed:
        assert (decision.reason, decision.mendable) == (Reason.TERRITORY_DENIED, False)


def test_a_european_operator_cannot_host_but_europeans_may_consume(ask: Any, facts: Facts, catalog: Catalog) -> None:
    host = decide(request=ask(model="vision"), facts=established(facts, "op", "FR"), catalog=catalog)
    request = ask(entity="globex", role=Role.CONSUMER, verb=Verb.INVOKE, model="vision")
    assert host.reason is Reason.TERRITORY_DENIED
    assert decide(request=request, facts=established(facts, "globex", "FR"), catalog=catalog).allowed


def test_what_nobody_can_mend_is_told_first(ask: Any, facts: Facts, catalog: Catalog) -> None:
    worse = without(established(facts, "acme", "DE"), "acceptances", "acme")
    decision = decide(request=ask(model="vision"), facts=worse, catalog=catalog)
    assert (decision.reason, decision.mendable) == (Reason.TERRITORY_DENIED, False)


@pytest.mark.parametrize(
    ("verb", "name", "allowed"),
    [
        (Verb.FINE_TUNE, "AcmeGPT", False),
        (Verb.FINE_TUNE, "Llama-Acme", True),
        (Verb.FINE_TUNE, None, True),
        (Verb.PUBLISH, None, True),
        (Verb.PUBLISH, "AcmeGPT", True),
        (Verb.EXPORT, None, True),
        (Verb.EXPORT, "AcmeGPT", True),
        (Verb.REGISTER_ADAPTER, "llama-acme", False),
        (Verb.DEPLOY, "AcmeGPT", True),
    ],
)
def test_what_was_made_with_it_carries_its_name(
    verb: Verb, name: str | None, *, allowed: bool, ask: Any, facts: Facts, catalog: Catalog
) -> None:
    decision = decide(request=ask(verb=verb, public_name=name), facts=facts, catalog=catalog)
    assert decision.allowed is allowed
    assert decision.reason is (Reason.ALLOWED if allowed else Reason.NAME_PREFIX_REQUIRED)


BADLY_NAMED = RegisteredModel(id="made", base="text", public_name="AcmeGPT", published=False, owner="acme-prod")


@pytest.mark.parametrize(
    ("owner", "asked", "seen"),
    [
        ("acme-prod", {"verb": Verb.INVOKE}, False),
        ("acme-prod", {"verb": Verb.DEPLOY}, False),
        ("acme-prod", {"verb": Verb.EXPORT}, True),
        ("acme-prod", {"verb": Verb.PUBLISH}, True),
        ("acme-prod", {"verb": Verb.INVOKE, "role": Role.CONSUMER, "entity": "globex"}, True),
        ("acme-prod", {"verb": Verb.INVOKE, "role": Role.OPERATOR, "entity": "op"}, False),
        ("gone", {"verb": Verb.INVOKE}, True),
        (None, {"verb": Verb.INVOKE}, True),
        ("", {"verb": Verb.INVOKE}, False),
        ("", {"verb": Verb.INVOKE, "role": Role.CONSUMER, "entity": "globex"}, True),
    ],
)
def test_a_private_name_is_warned_until_others_get_to_see_it(
    owner: str | None, asked: dict[str, Any], *, seen: bool, ask: Any, facts: Facts, catalog: Catalog
) -> None:
    named = replace(BADLY_NAMED, owner=owner)
    for model, denied in ((named, seen), (replace(named, public_name="Llama-Acme"), False)):
        known = replace(facts, models={"made": model})
        decision = decide(request=ask(model="made", **asked), facts=known, catalog=catalog)
        assert decision.reason is (Reason.NAME_PREFIX_REQUIRED if denied else Reason.ALLOWED)
        assert bool(decision.warnings) is (not denied and model.public_name == "AcmeGPT")


def test_outputs_do_not_train_others(ask: Any, facts: Facts, catalog: Catalog) -> None:
    assert decide(request=ask(model="teacher"), facts=facts, catalog=catalog).allowed
    decision = decide(request=ask(model="teacher", verb=Verb.DISTILL), facts=facts, catalog=catalog)
    assert decision.reason is Reason.OUTPUT_TRAINING_DENIED


def test_research_is_neither_commerce_nor_priced(ask: Any, facts: Facts, catalog: Catalog) -> None:
    research = ask(model="study", purpose="noncommercial_research")
    priced = replace(facts, tenants={"paid": Tenant(id="paid", entity="acme", priced=True)})
    assert decide(request=research, facts=facts, catalog=catalog).allowed
    assert decide(request=ask(model="study"), facts=facts, catalog=catalog).reason is Reason.PURPOSE_DENIED
    assert decide(request=research, facts=priced, catalog=catalog).reason is Reason.PURPOSE_DENIED


def test_two_licenses_mean_both(ask: Any, facts: Facts, catalog: Catalog) -> None:
    decision = decide(request=ask(model="both"), facts=facts, catalog=catalog)
    assert decision.acceptances == ("acme-deployer-llama", "acme-deployer-second")
    missing = decide(request=ask(model="both"), facts=without(facts, "acceptances", "acme", "second"), catalog=catalog)
    assert missing.reason is Reason.ACCEPTANCE_MISSING
    assert missing.clauses == ("second#1",)


def test_a_clause_that_nobody_can_judge_denies(ask: Any, facts: Facts, catalog: Catalog) -> None:
    decision = decide(request=ask(model="strange"), facts=facts, catalog=catalog)
    assert not decision.allowed
    assert decision.clauses == ("odd#9",)


def test_every_clause_of_the_catalogue_can_be_judged() -> None:
    types = {clause.type for entry in packaged_catalog().licenses.values() for clause in entry.clauses}
    assert types <= set(CHECKS)


ROLES = st.sampled_from(list(Role))
REQUESTS = st.builds(
    Request,
    entity=st.sampled_from(["acme", "globex", "op", "stranger"]),
    role=ROLES,
    verb=st.sampled_from(list(Verb)),
    model=st.sampled_from(["text", "vision", "both", "teacher", "study", "strange", "made", "taught"]),
    at=st.just(NOW),
    purpose=st.sampled_from(["commercial", "noncommercial_research"]),
    public_name=st.sampled_from([None, "Llama-x", "AcmeGPT"]),
)
ENTITIES = st.sampled_from(["acme", "globex", "op"])
LICENSES = st.sampled_from(["llama", "second", "old", "research", "odd"])
ACCEPTANCES = st.builds(
    Acceptance,
    id=st.uuids().map(str),
    entity=ENTITIES,
    license=LICENSES,
    role=st.sampled_from(["operator", "deployer", "consumer"]),
    canonical=st.sampled_from(["sha256:" + "a" * 64, "sha256:" + "e" * 64]),
    at=st.sampled_from([NOW - DAY, NOW, NOW + DAY]),
    state=st.sampled_from(
        ["active", "active", "active", "revoked", "suspended", "terminated", "pending_grant", "stale"]
    ),
    flow_down=st.booleans(),
    aup=st.sampled_from(["", "sha256:" + "b" * 64, "sha256:" + "e" * 64]),
)
STATEMENTS = st.builds(
    Statement,
    id=st.uuids().map(str),
    entity=ENTITIES,
    license=LICENSES,
    band=st.sampled_from(["le_700m", "le_700m", "gt_700m"]),
    at=st.sampled_from([NOW - DAY, NOW - 400 * DAY]),
    current=st.sampled_from([None, 1, 800_000_000]),
)
POLICIES = st.builds(
    LicensePolicy,
    id=st.just("platform"),
    threshold=st.sampled_from(["literal", "conservative"]),
    consumers=st.sampled_from(["full", "terms_of_use"]),
    grace_days=st.sampled_from([0.0, 30.0]),
)
MODELS = st.fixed_dictionaries(
    {
        "made": st.builds(RegisteredModel, id=st.just("made"), base=st.sampled_from(["text", "both"])),
        "taught": st.builds(
            RegisteredModel,
            id=st.just("taught"),
            base=st.sampled_from(["made", "vision"]),
            teachers=st.sampled_from([(), ("teacher",), ("study", "text")]),
            public_name=st.sampled_from([None, "Llama-x", "AcmeGPT"]),
            published=st.sampled_from([None, True, False]),
        ),
    }
)
GRANTS = st.builds(
    Grant,
    id=st.uuids().map(str),
    entity=ENTITIES,
    licenses=st.just(("llama", "second")),
    models=st.just(()),
    valid_from=st.sampled_from([NOW - DAY, NOW + 1]),
    valid_to=st.sampled_from([NOW, NOW + DAY]),
)
PLACES = st.fixed_dictionaries({name: st.sampled_from(["US", "DE", ""]) for name in ("acme", "globex", "op")})


@st.composite
def worlds(draw: st.DrawFn, facts: Facts) -> Facts:
    """Facts that are sometimes whole, sometimes with holes, sometimes with more."""
    places = draw(PLACES)
    entities = {
        name: Entity(id=name, legal_name=name, principal_place_of_business=place, is_operator=name == "op")
        for name, place in places.items()
    }
    kept = draw(st.lists(st.sampled_from(facts.acceptances), unique=True)) if draw(st.booleans()) else facts.acceptances
    return replace(
        facts,
        entities=entities,
        acceptances=(*kept, *draw(st.lists(ACCEPTANCES, max_size=3))),
        statements=(*facts.statements, *draw(st.lists(STATEMENTS, max_size=2))),
        grants=tuple(draw(st.lists(GRANTS, max_size=2))),
        models=draw(MODELS),
        policy=draw(POLICIES),
        texts=tuple(replace(text, at=draw(st.sampled_from([None, NOW - DAY / 2]))) for text in facts.texts),
    )


def _decide(request: Request, facts: Facts, catalog: Catalog) -> Decision:
    return decide(request=request, facts=facts, catalog=catalog)


@SHARED
@given(data=st.data(), request_=REQUESTS)
def test_taking_away_what_enables_never_allows(
    data: st.DataObject, request_: Request, facts: Facts, catalog: Catalog
) -> None:
    world = data.draw(worlds(facts))
    enabling = {
        "texts": world.texts,
        "acceptances": tuple(item for item in world.acceptances if item.state == "active"),
        "statements": tuple(item for item in world.statements if item.band == "le_700m" and not item.current),
        "grants": world.grants,
    }
    kind = data.draw(st.sampled_from([name for name, items in enabling.items() if items]))
    gone = data.draw(st.sampled_from(enabling[kind]))
    less = replace(world, **{kind: tuple(item for item in getattr(world, kind) if item != gone)})
    if _decide(request_, less, catalog).allowed:
        assert _decide(request_, world, catalog).allowed


@SHARED
@given(data=st.data(), request_=REQUESTS, state=st.sampled_from(["revoked", "suspended", "terminated"]))
def test_ending_an_acceptance_never_allows(
    data: st.DataObject, request_: Request, state: str, facts: Facts, catalog: Catalog
) -> None:
    world = data.draw(worlds(facts))
    ending = replace(data.draw(ACCEPTANCES), state=state)
    more = replace(world, acceptances=(*world.acceptances, ending))
    if _decide(request_, more, catalog).allowed:
        assert _decide(request_, world, catalog).allowed


@SHARED
@given(data=st.data(), request_=REQUESTS, chance=st.randoms(use_true_random=False))
def test_the_order_of_facts_does_not_matter(
    data: st.DataObject, request_: Request, chance: Any, facts: Facts, catalog: Catalog
) -> None:
    world = data.draw(worlds(facts))
    shuffled = {}
    for kind in ("texts", "acceptances", "statements", "grants"):
        items = list(getattr(world, kind))
        chance.shuffle(items)
        shuffled[kind] = tuple(items)
    names = list(world.entities)
    chance.shuffle(names)
    other = replace(world, entities={name: world.entities[name] for name in names}, **shuffled)
    assert _decide(request_, other, catalog) == _decide(request_, world, catalog)


CONTRADICTIONS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "texts": {
        "canonical": st.sampled_from(["sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "e" * 64]),
        "at": st.sampled_from([None, NOW - DAY, NOW - DAY / 2]),
        "raw": st.sampled_from(["sha256:1", "sha256:2"]),
    },
    "acceptances": {
        "state": st.sampled_from(["active", "revoked", "stale", "suspended"]),
        "canonical": st.sampled_from(["sha256:" + "a" * 64, "sha256:" + "e" * 64]),
        "aup": st.sampled_from(["", "sha256:" + "b" * 64, "sha256:" + "e" * 64]),
        "role": st.sampled_from(["operator", "deployer", "consumer"]),
    },
    "statements": {
        "band": st.sampled_from(["le_700m", "gt_700m", "not_stated"]),
        "value": st.sampled_from([None, 1, 800_000_000]),
        "current": st.sampled_from([None, 1, 800_000_000]),
        "affiliates": st.sampled_from([(), ("globex",), ("op",)]),
        "stated_at": st.sampled_from([None, NOW - 400 * DAY]),
    },
    "grants": {
        "state": st.sampled_from(["active", "withdrawn"]),
        "valid_from": st.sampled_from([NOW - DAY, NOW + 1]),
        "models": st.sampled_from([(), ("text",)]),
    },
}
"""What two records with one id and one time may differ in."""


@SHARED
@given(data=st.data(), request_=REQUESTS, chance=st.randoms(use_true_random=False))
def test_the_order_of_facts_that_contradict_each_other_does_not_matter(
    data: st.DataObject, request_: Request, chance: Any, facts: Facts, catalog: Catalog
) -> None:
    world = data.draw(worlds(facts))
    given_, shuffled = {}, {}
    for kind, fields in CONTRADICTIONS.items():
        items = list(getattr(world, kind))
        again = data.draw(st.lists(st.sampled_from(items), max_size=2)) if items else []
        items += [replace(item, **data.draw(st.fixed_dictionaries(fields))) for item in again]
        given_[kind] = tuple(items)
        chance.shuffle(items)
        shuffled[kind] = tuple(items)
    one, other = (replace(world, **kinds) for kinds in (given_, shuffled))
    assert _decide(request_, other, catalog) == _decide(request_, one, catalog)


def test_two_texts_in_one_place_with_other_words_are_no_text(ask: Any, facts: Facts, catalog: Catalog) -> None:
    first = facts.texts[0]
    same, other = replace(first, raw="sha256:1"), replace(first, canonical="sha256:" + "e" * 64)
    assert _decide(ask(), replace(facts, texts=(*facts.texts, same)), catalog).allowed
    for texts in ((*facts.texts, other), (other, *facts.texts)):
        assert _decide(ask(), replace(facts, texts=texts), catalog).reason is Reason.TEXT_NOT_IMPORTED


@SHARED
@given(data=st.data(), request_=REQUESTS)
def test_a_denial_names_what_it_rests_on_and_what_to_do(
    data: st.DataObject, request_: Request, facts: Facts, catalog: Catalog
) -> None:
    decision = _decide(request_, data.draw(worlds(facts)), catalog)
    assert decision.clauses
    if not decision.allowed:
        assert decision.reason is not Reason.ALLOWED
        assert len(decision.message) > 20
        assert not decision.acceptances
