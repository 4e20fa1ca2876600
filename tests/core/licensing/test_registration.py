"""What was made from a model: its lineage, whether it may be registered, and who may deploy it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.catalog.types import WeightFile, WeightSet
from paddock_core.licensing.index import index_of, with_models
from paddock_core.licensing.kinds import MODEL_KINDS
from paddock_core.licensing.lineage import Lineage, LineageCycleError, LineageError, resolve, trace
from paddock_core.licensing.registration import RegistrationError, judge, may_deploy, unserved
from paddock_core.licensing.types import Facts, Reason
from paddock_core.policy.documents import RegisteredModel, Tenant

NOW = 1_800_000_000.0
NAMED = "Llama-Acme"


def made(name: str = "mine", base: str = "text", **other: Any) -> RegisteredModel:
    return RegisteredModel(**{"id": name, "base": base, "public_name": NAMED, "owner": "acme-prod", **other})


def weights(digest: str = "1" * 64, *, form: str = "gguf", name: str = "w.gguf") -> WeightSet:
    files = (WeightFile(name=name, bytes=1, sha256=digest), WeightFile(name="tokenizer.json", sha256="f" * 64))
    return WeightSet(format=form, bytes=10, source={"kind": "local"}, files=files)


def without_acceptances(facts: Facts, entity: str) -> Facts:
    assert isinstance(facts.acceptances, tuple)
    return replace(facts, acceptances=tuple(item for item in facts.acceptances if item.entity != entity))


def following_outputs(catalog: Catalog, name: str) -> Catalog:
    """The catalogue in which every clause of a license also binds what was made with outputs."""
    entry = catalog.licenses[name]
    clauses = tuple(replace(item, params={**item.params, "inputs": ["materials", "outputs"]}) for item in entry.clauses)
    return replace(catalog, licenses={**catalog.licenses, name: replace(entry, clauses=clauses)})


def refused(facts: Facts, catalog: Catalog, model: RegisteredModel) -> str:
    with pytest.raises(RegistrationError) as caught:
        judge(model=model, facts=facts, catalog=catalog, at=NOW)
    return caught.value.code


@pytest.mark.parametrize("kind", [kind for kind, rule in MODEL_KINDS.items() if not rule.taught])
def test_a_model_made_and_named_as_its_license_asks_is_registered(facts: Facts, catalog: Catalog, kind: str) -> None:
    others = ("vision",) if MODEL_KINDS[kind].merged else ()
    decision = judge(model=made(kind=kind, merged_with=others), facts=facts, catalog=catalog, at=NOW)
    assert decision.allowed
    assert decision.acceptances


def test_a_merge_is_bound_by_all_its_parents(facts: Facts, catalog: Catalog) -> None:
    for base, other in (("text", "study"), ("study", "text")):
        merge = made(base=base, kind="merge", merged_with=(other,))
        lineage = trace(model="mine", registered={"mine": merge}, catalog=catalog)
        assert set(lineage.licenses) == {"llama", "research"}
        assert lineage.ids == {"mine", "text", "study"}
        denied = judge(model=merge, facts=facts, catalog=catalog, at=NOW)
        assert (denied.reason, denied.clauses) == (Reason.PURPOSE_DENIED, ("research#8",))
    seeing = trace(model="mine", registered={"mine": made(merged_with=("vision",))}, catalog=catalog).model
    assert set(seeing.modality) == {"text", "image"}
    assert seeing.dimensions == catalog.models["text"].dimensions
    barred = replace(facts, entities={name: replace(item, principal_place_of_business="DE") if name == "acme" else item
                                      for name, item in facts.entities.items()})  # fmt: skip
    merge = made(kind="merge", merged_with=("vision",))
    assert judge(model=merge, facts=barred, catalog=catalog, at=NOW).reason is Reason.TERRITORY_DENIED
    assert judge(model=merge, facts=facts, catalog=catalog, at=NOW).allowed


def test_a_merge_has_the_teachers_of_all_its_parents_and_the_family_that_all_share(
    facts: Facts, catalog: Catalog
) -> None:
    taught = made("pupil", "text", teachers=("teacher",))
    more = replace(catalog.models["both"], family="another")
    catalog = replace(catalog, models={**catalog.models, "both": more})
    models = with_models(facts, taught, made(kind="merge", merged_with=("pupil", "both"))).models
    lineage = trace(model="mine", registered=models, catalog=catalog)
    assert lineage.output_licenses == ("old",)
    assert lineage.families == frozenset()
    assert trace(model="pupil", registered=models, catalog=catalog).families == {"test"}


def test_bytes_of_a_merge_are_registered_again_only_with_its_parents(facts: Facts, catalog: Catalog) -> None:
    merge = made("other", "text", kind="merge", merged_with=("both",), owner=None, weights=weights())
    known = with_models(facts, merge)
    assert refused(known, catalog, made(weights=weights())) == "WeightsOfAnother"
    assert judge(model=made(base="other", weights=weights()), facts=known, catalog=catalog, at=NOW).allowed


def test_the_platform_registers_for_itself(facts: Facts, catalog: Catalog) -> None:
    assert judge(model=made(owner=None), facts=facts, catalog=catalog, at=NOW).allowed
    unlicensed = without_acceptances(facts, "op")
    denied = judge(model=made(owner=None), facts=unlicensed, catalog=catalog, at=NOW)
    assert denied.reason is Reason.OPERATOR_NOT_LICENSED


def test_a_name_that_breaks_the_license_is_denied_for_good_and_a_private_one_is_warned(
    facts: Facts, catalog: Catalog
) -> None:
    denied = judge(model=made(public_name="AcmeGPT"), facts=facts, catalog=catalog, at=NOW)
    assert (denied.reason, denied.mendable) == (Reason.NAME_PREFIX_REQUIRED, False)
    assert denied.clauses == ("llama#4",)
    private = judge(model=made(public_name="AcmeGPT", published=False), facts=facts, catalog=catalog, at=NOW)
    assert private.allowed
    assert private.warnings


def test_what_was_taught_by_a_model_whose_outputs_must_not_teach_is_denied_at_any_remove(
    facts: Facts, catalog: Catalog
) -> None:
    catalog = following_outputs(catalog, "old")
    taught = made(kind="distillation", teachers=("teacher",))
    denied = judge(model=taught, facts=facts, catalog=catalog, at=NOW)
    assert (denied.reason, denied.mendable) == (Reason.OUTPUT_TRAINING_DENIED, False)
    known = with_models(facts, taught)
    later = judge(model=made("later", "mine"), facts=known, catalog=catalog, at=NOW)
    assert later.reason is Reason.OUTPUT_TRAINING_DENIED
    student = judge(model=made("pupil", teachers=("mine",)), facts=known, catalog=catalog, at=NOW)
    assert student.reason is Reason.OUTPUT_TRAINING_DENIED


def test_an_entity_without_acceptance_registers_nothing(facts: Facts, catalog: Catalog) -> None:
    bare = without_acceptances(facts, "acme")
    denied = judge(model=made(), facts=bare, catalog=catalog, at=NOW)
    assert (denied.reason, denied.mendable) == (Reason.ACCEPTANCE_MISSING, True)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (made("text"), "IdTaken"),
        (made(kind="dream"), "KindUnknown"),
        (made(kind="distillation"), "TeacherMissing"),
        (made(kind="merge"), "ParentMissing"),
        (made(kind="merge", merged_with=("nothing",)), "BaseUnknown"),
        (made(kind="merge", merged_with=("private",)), "BaseUnknown"),
        (made(kind="merge", merged_with=("mine",)), "LineageCycle"),
        (made(owner="nobody"), "OwnerUnknown"),
        (made(base="nothing"), "BaseUnknown"),
        (made(teachers=("nothing",)), "BaseUnknown"),
        (made(base="mine"), "LineageCycle"),
        (made(teachers=("mine",)), "LineageCycle"),
        (made(base="private"), "BaseUnknown"),
        (made(teachers=("private",)), "BaseUnknown"),
    ],
)
def test_registrations_that_make_no_sense(facts: Facts, catalog: Catalog, model: RegisteredModel, code: str) -> None:
    assert refused(with_models(facts, made("private", owner="other")), catalog, model) == code


def test_a_model_of_somebody_else_looks_as_if_it_were_not_there(facts: Facts, catalog: Catalog) -> None:
    known = with_models(facts, made("private", owner="other"))
    messages = []
    for base in ("private", "absent"):
        with pytest.raises(RegistrationError) as caught:
            judge(model=made(base=base), facts=known, catalog=catalog, at=NOW)
        messages.append(str(caught.value).replace(base, "X"))
    assert messages[0] == messages[1]


def test_bytes_that_are_known_under_a_license_are_not_registered_without_it(facts: Facts, catalog: Catalog) -> None:
    known = with_models(facts, made("studied", "study", public_name=None, owner=None, weights=weights()))
    assert refused(known, catalog, made(weights=weights())) == "WeightsOfAnother"
    assert judge(model=made(weights=weights("2" * 64)), facts=known, catalog=catalog, at=NOW).allowed
    honest = judge(model=made(base="studied", weights=weights()), facts=known, catalog=catalog, at=NOW)
    assert honest.reason is Reason.PURPOSE_DENIED
    both = with_models(facts, made("under-both", "both", weights=weights()))
    assert refused(both, catalog, made(weights=weights())) == "WeightsOfAnother"


def test_bytes_of_a_model_of_the_catalogue_keep_its_license(facts: Facts) -> None:
    catalog = packaged_catalog()
    entry = catalog.models["smollm2-135m-instruct"]
    base = next(name for name, model in catalog.models.items() if model.licenses != entry.licenses)
    own = entry.weights[entry.default_precision]
    assert refused(facts, catalog, made(base=base, precision="q", weights=own)) == "WeightsOfAnother"


def test_a_known_source_keeps_its_license_where_no_digest_is_known(facts: Facts) -> None:
    catalog = packaged_catalog()
    entry = catalog.models["llama-3.1-8b-instruct"]
    own = entry.weights[entry.default_precision]
    assert not own.files, "the catalogue knows no digest of it: its source is all there is"
    for place in (own.source["repository"], own.source["repository"].lower(), own.source["repository"] + "/"):
        taken = replace(weights(), source={"kind": own.source["kind"], "repository": place, "more": "x"})
        assert refused(facts, catalog, made(base="llama-2-7b-chat", weights=taken)) == "WeightsOfAnother"
    judge(
        model=made(base=entry.id, weights=replace(weights(), source=own.source)), facts=facts, catalog=catalog, at=NOW
    )
    other = replace(weights(), source={"kind": own.source["kind"], "repository": "acme/own"})
    judge(model=made(base="llama-2-7b-chat", weights=other), facts=facts, catalog=catalog, at=NOW)


def test_the_source_of_a_registered_model_keeps_its_license_too(facts: Facts, catalog: Catalog) -> None:
    there = replace(weights("3" * 64), source={"kind": "hub", "repository": "acme/own"})
    known = with_models(facts, made("studied", "study", public_name=None, owner=None, weights=there))
    assert refused(known, catalog, made(weights=replace(there, files=weights("4" * 64).files))) == "WeightsOfAnother"
    nowhere = replace(weights("4" * 64), source={"kind": "local"})
    known = with_models(facts, made("studied", "study", public_name=None, owner=None, weights=nowhere))
    assert judge(model=made(weights=weights("5" * 64)), facts=known, catalog=catalog, at=NOW).allowed


@pytest.mark.parametrize("name", ["w.gguf", "w.json", "tokenizer.json", "noise"])
@pytest.mark.parametrize("form", ["gguf", "safetensors"])
def test_another_name_or_format_of_a_known_file_hides_nothing(
    facts: Facts, catalog: Catalog, name: str, form: str
) -> None:
    known = with_models(facts, made("studied", "study", public_name=None, owner=None, weights=weights()))
    hidden_file = replace(weights("2" * 64), format=form)
    hidden_file = replace(hidden_file, files=(*hidden_file.files, WeightFile(name=name, sha256="1" * 64)))
    assert refused(known, catalog, made(weights=hidden_file)) == "WeightsOfAnother"
    large = replace(weights(), files=(WeightFile(name="w.json", bytes=2**30, sha256="1" * 64),))
    known = with_models(facts, made("studied", "study", public_name=None, owner=None, weights=large))
    assert refused(known, catalog, made(weights=hidden_file)) == "WeightsOfAnother"


def test_a_teachers_license_does_not_make_bytes_ours(facts: Facts, catalog: Catalog) -> None:
    known = with_models(facts, made("other", "second-model", owner=None, weights=weights()))
    more = replace(catalog, models={**catalog.models, "second-model": replace(catalog.models["text"], id="second-model",
                                                                             licenses=("second",))})  # fmt: skip
    taught = made(teachers=("second-model",), weights=weights())
    assert "second" in trace(model="mine", registered={"mine": taught}, catalog=more).output_licenses
    assert refused(known, more, taught) == "WeightsOfAnother"
    honest = made(base="second-model", weights=weights())
    assert judge(model=honest, facts=known, catalog=more, at=NOW).allowed


def test_bytes_that_were_taught_or_that_see_stay_so(facts: Facts, catalog: Catalog) -> None:
    taught = with_models(facts, made("pupil", teachers=("study",), owner=None, weights=weights()))
    assert refused(taught, catalog, made(weights=weights())) == "WeightsOfAnother"
    broken = with_models(facts, made("broken", "gone", owner=None, weights=weights()))
    assert refused(broken, catalog, made(weights=weights())) == "WeightsOfAnother"
    seeing = with_models(facts, made("seeing", "vision", owner=None, weights=weights()))
    assert refused(seeing, catalog, made(weights=weights())) == "WeightsOfAnother"


def test_the_tables_are_made_once_for_facts_that_differ_in_models(facts: Facts) -> None:
    more = with_models(facts, made())
    assert index_of(more) is index_of(facts)
    assert set(more.models) == {*facts.models, "mine"}
    assert replace(more, models=facts.models) == facts


def test_a_made_model_has_its_roots_dimensions_and_weights_of_its_own(facts: Facts, catalog: Catalog) -> None:
    models = with_models(facts, made(precision="q5", weights=weights()), made("next", "mine")).models
    mine = resolve(model="mine", registered=models, catalog=catalog)
    root = catalog.models["text"]
    assert mine is not None
    assert (mine.id, mine.public_name, mine.dimensions, mine.licenses) == (
        "mine",
        NAMED,
        root.dimensions,
        root.licenses,
    )
    assert (set(mine.weights), mine.default_precision) == ({"q5"}, "q5")
    nothing = resolve(model="next", registered=models, catalog=catalog)
    assert nothing is not None
    assert nothing.weights == {}, "the weights of its base are not its own"
    assert resolve(model="text", registered=models, catalog=catalog) is root
    assert resolve(model="absent", registered=models, catalog=catalog) is None


def test_the_engine_is_one_that_loads_the_format(facts: Facts, catalog: Catalog) -> None:
    models = with_models(facts, made(precision="bf16", weights=weights(form="safetensors"))).models
    found = resolve(model="mine", registered=models, catalog=catalog)
    assert found is not None
    assert (catalog.models["text"].default_engine, found.default_engine) == ("LlamaCpp", "LLMAPI")


def test_what_cannot_be_served_says_so(facts: Facts, catalog: Catalog) -> None:
    models = (
        made("adapter", kind="adapter", precision="bf16", weights=weights()),
        made("bare"),
        made("whole", precision="q4", weights=weights()),
    )
    known = with_models(facts, *models)
    reasons = {}
    for model in models:
        entry = resolve(model=model.id, registered=known.models, catalog=catalog)
        assert entry is not None
        told = unserved(model=model.id, facts=known, entry=entry)
        reasons[model.id] = None if told is None else told[0]
    assert reasons == {"adapter": "AdapterNotServed", "bare": "WeightsNotRegistered", "whole": None}
    assert unserved(model="text", facts=known, entry=catalog.models["text"]) is None


def test_who_may_deploy_a_registered_model(facts: Facts) -> None:
    models = (made("mine"), made("shared", published=True), made("private", published=False), made("ours", owner=None))
    known = with_models(facts, *models)
    own, other, platform = (Tenant(id=name, entity=entity) for name, entity in
                            (("acme-prod", "acme"), ("globex", "globex"), ("house", "op")))  # fmt: skip

    def allowed(tenant: Tenant) -> set[str]:
        return {name for name in known.models if may_deploy(model=name, tenant=tenant, facts=known)}

    assert allowed(own) == set(known.models)
    assert allowed(platform) == set(known.models)
    assert allowed(other) == {"shared", "ours"}
    assert may_deploy(model="text", tenant=other, facts=known)


IDS = [f"m{n}" for n in range(8)]
ROOTS = ["text", "vision", "both", "teacher", "study"]
WORLDS = st.dictionaries(
    st.sampled_from(IDS),
    st.tuples(*([st.lists(st.sampled_from(IDS + ROOTS), max_size=2)] * 2)).flatmap(
        lambda rest: st.sampled_from(IDS + ROOTS).map(lambda base: (base, *rest))
    ),
)
"""Base, teachers, and what was merged with the base, by id."""


def traced(world: dict[str, Any], catalog: Catalog) -> dict[str, Lineage | None]:
    """Every lineage of a world; None where it cannot be followed."""
    models = {
        name: RegisteredModel(id=name, base=base, teachers=tuple(taught), merged_with=tuple(merged))
        for name, (base, taught, merged) in world.items()
    }
    found: dict[str, Lineage | None] = {}
    for name in (*models, *catalog.models):
        try:
            found[name] = trace(model=name, registered=models, catalog=catalog)
        except LineageError:
            found[name] = None
    return found


@given(world=WORLDS)
def test_every_lineage_ends_and_inherits_everything(world: dict[str, Any], catalog: Catalog) -> None:
    found = traced(world, catalog)
    for name, (base, taught, merged) in world.items():
        lineage, parents = found[name], [found.get(parent) for parent in (base, *merged)]
        teachers = [found.get(teacher) for teacher in taught]
        if lineage is None:
            assert None in (*parents, *teachers), "only what has a parent that cannot be followed cannot be followed"
            continue
        known = [parent for parent in parents if parent is not None]
        assert len(known) == len(parents)
        assert set(lineage.licenses) == {license_id for parent in known for license_id in parent.licenses}
        assert lineage.ids == {name}.union(*(parent.ids for parent in known))
        assert lineage.model.dimensions == known[0].model.dimensions
        for parent in known:
            assert set(parent.output_licenses) <= set(lineage.output_licenses)
            assert set(parent.model.modality) <= set(lineage.model.modality)
            assert lineage.families <= parent.families
        for teacher in teachers:
            assert teacher is not None
            assert {*teacher.licenses, *teacher.output_licenses} <= set(lineage.output_licenses)


@given(world=WORLDS, more=WORLDS)
def test_naming_more_teachers_never_takes_a_license_away(
    world: dict[str, Any], more: dict[str, Any], catalog: Catalog
) -> None:
    taught = {
        name: (base, [*teachers, *more.get(name, ("", [], []))[1]], merged)
        for name, (base, teachers, merged) in world.items()
    }
    before, after = traced(world, catalog), traced(taught, catalog)
    for name, lineage in after.items():
        former = before[name]
        if lineage is None:
            continue
        assert former is not None
        assert set(former.output_licenses) <= set(lineage.output_licenses)
        assert former.licenses == lineage.licenses


def test_a_wide_and_deep_lineage_is_refused_quickly(catalog: Catalog) -> None:
    """Each generation doubles the number of roads back: they are not all walked."""
    models = {"g0": RegisteredModel(id="g0", base="text")}
    for n in range(1, 16):
        models[f"g{n}"] = RegisteredModel(id=f"g{n}", base=f"g{n - 1}", teachers=(f"g{n - 1}",) * 8)
    assert trace(model="g15", registered=models, catalog=catalog).licenses == ("llama",)
    models["g16"] = RegisteredModel(id="g16", base="g15")
    with pytest.raises(LineageCycleError):
        trace(model="g16", registered=models, catalog=catalog)
