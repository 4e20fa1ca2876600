"""The nuances of the licenses, one test each, on the packaged catalogue and with facts as people exchange them.

The number in a test's name is that of the nuance in the facts sheet.
"""

from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.decide import decide
from paddock_core.licensing.facts_file import read_facts
from paddock_core.licensing.types import Decision, Reason, Request, Role, Verb

CATALOG = packaged_catalog()
AT = "2026-11-22T00:00:00Z"
ACCEPTED = "2026-10-01T00:00:00Z"
WINDOWS = {
    "llama2": "2023-06",
    "llama3": "2024-03",
    "llama3.1": "2024-06",
    "llama3.2": "2024-08",
    "llama3.3": "2024-11",
    "llama4": "2025-03",
}
OF = {
    "llama1": "llama-7b",
    "llama2": "llama-2-7b-chat",
    "llama3": "llama-3-8b-instruct",
    "llama3.1": "llama-3.1-8b-instruct",
    "llama3.2": "llama-3.2-1b-instruct",
    "llama3.3": "llama-3.3-70b-instruct",
    "llama4": "llama-4-scout-17b-16e-instruct",
    "bloom": "bloom-176b",
}
VISION = ("llama-3.2-11b-vision-instruct", "llama-3.2-90b-vision-instruct", OF["llama4"], "llama-guard-4-12b")
TEXT = "llama-3.1-8b-instruct"
LICENSES = [name for name in CATALOG.licenses if name not in ("paddock-demo", "apache-2.0")]


def pin(license_id: str, role: str = "agreement") -> str:
    found = CATALOG.licenses[license_id].text(role)
    assert found is not None
    return found.canonical


def text(license_id: str, **other: Any) -> dict[str, Any]:
    policy = {"aup": pin(license_id, "aup")} if CATALOG.licenses[license_id].text("aup") else {}
    return {"license": license_id, "canonical": pin(license_id), **policy, **other}


def acceptance(entity: str, role: str, license_id: str, **other: Any) -> dict[str, Any]:
    return {
        "entity": entity,
        "license": license_id,
        "role": role,
        "at": ACCEPTED,
        "canonical": pin(license_id),
        "state": "active",
        "flow_down": True,
        **other,
    }


def world(*, licenses: list[str] | None = None, **other: Any) -> dict[str, Any]:
    """Facts under which the operator `host`, the deployer `acme` and the consumer `user` hold every license."""
    parties = (("host", "operator"), ("acme", "deployer"), ("user", "consumer"))
    held = LICENSES if licenses is None else licenses
    document: dict[str, Any] = {
        "at": AT,
        "operator": "host",
        "entities": [{"id": name, "principal_place_of_business": "US"} for name, _ in parties],
        "tenants": [{"id": f"{name}-1", "entity": name, "plan": {"priced": False}} for name, _ in parties],
        "texts": [text(name) for name in held],
        "acceptances": [acceptance(entity, role, name) for entity, role in parties for name in held],
        "statements": [
            {"entity": entity, "license": name, "band": "le_700m", "at": ACCEPTED}
            for entity, _ in parties
            for name in held
        ],
    }
    return {**document, **other}


def edited(document: dict[str, Any], kind: str, entity: str, license_id: str | None = None, **change: Any) -> Any:
    """The facts with the entity's facts of a kind changed; with no change they are taken away."""

    def meant(item: dict[str, Any]) -> bool:
        of = item["id"] if kind == "entities" else item["entity"]
        return of == entity and license_id in (None, item.get("license"))

    kept = [({**item, **change} if meant(item) else item) for item in document[kind] if change or not meant(item)]
    return {**document, kind: kept}


def ask(document: dict[str, Any], model: str = TEXT, verb: str = "deploy", **other: Any) -> Decision:
    """What `acme` is told, as deployer unless said otherwise."""
    case = read_facts(document, catalog=CATALOG, now=0.0)
    values: dict[str, Any] = {"entity": "acme", "role": "deployer", "at": case.at, **other}
    request = Request(**{**values, "role": Role(values["role"]), "verb": Verb(verb), "model": model})
    return decide(request=request, facts=case.facts, catalog=CATALOG)


def place(document: dict[str, Any], entity: str, country: str) -> Any:
    return edited(document, "entities", entity, principal_place_of_business=country)


@pytest.mark.parametrize("name", [name for name in OF if name != "llama1"])
def test_00_with_every_fact_every_family_is_allowed(name: str) -> None:
    assert ask(world(), OF[name]).allowed


def test_01_the_threshold_is_frozen_and_conservative_is_the_platforms_choice() -> None:
    grown = edited(world(), "statements", "acme", "llama3.1", value=700_000_000, current=900_000_000)
    careful = {**grown, "policy": {"threshold": "conservative"}}
    assert ask(grown).allowed
    assert ask(careful).reason is Reason.THRESHOLD_GRANT_REQUIRED
    assert ask({**world(), "policy": {"threshold": "conservative"}}).allowed
    aged = edited(careful, "statements", "acme", "llama3.1", current=1, at="2025-10-01")
    assert ask(aged).reason is Reason.THRESHOLD_STATEMENT_MISSING
    assert ask({**aged, "policy": {"threshold": "literal"}}).allowed


@pytest.mark.parametrize(("license_id", "window"), WINDOWS.items())
def test_02_six_dates_and_six_statements(license_id: str, window: str) -> None:
    clause = next(item for item in CATALOG.licenses[license_id].clauses if item.type == "scale_threshold")
    assert (clause.params["window"], clause.params["value"]) == (window, 700_000_000)
    over = edited(world(), "statements", "acme", license_id, band="gt_700m")
    denied = {name for name in WINDOWS if not ask(over, OF[name]).allowed}
    assert denied == {license_id}
    exactly = edited(world(), "statements", "acme", license_id, value=700_000_000)
    more = edited(world(), "statements", "acme", license_id, value=700_000_001)
    assert ask(exactly, OF[license_id]).allowed
    assert ask(more, OF[license_id]).reason is Reason.THRESHOLD_GRANT_REQUIRED


def test_03_what_counts_is_stated_and_not_measured() -> None:
    unstated = edited(world(), "statements", "acme", "llama3.1")
    decision = ask(unstated)
    assert (decision.reason, decision.mendable) == (Reason.THRESHOLD_STATEMENT_MISSING, True)
    assert "2024-06" in decision.message
    assert ask(edited(world(), "statements", "acme", "llama3.1", current=2_000_000_000)).allowed


def test_04_affiliates_of_today_and_of_the_month_both_catch() -> None:
    giant = {"entity": "giant", "license": "llama3.1", "band": "gt_700m", "at": ACCEPTED}
    stated = {**world(), "statements": [*world()["statements"], giant]}
    assert ask(stated).allowed
    today = edited(stated, "entities", "acme", affiliates=["giant"])
    then = edited(stated, "statements", "acme", "llama3.1", affiliates=["giant"])
    declared_by_it = {**stated, "entities": [*stated["entities"], {"id": "giant", "affiliates": ["acme"]}]}
    for caught in (today, then, declared_by_it):
        assert ask(caught).reason is Reason.THRESHOLD_GRANT_REQUIRED
        assert ask(caught, OF["llama3.3"]).allowed


def test_04_the_affiliates_of_affiliates_catch_whoever_declared_whom() -> None:
    giant = {"entity": "giant", "license": "llama3.1", "band": "gt_700m", "at": ACCEPTED}
    plain = {**world(), "statements": [*world()["statements"], giant]}

    def declared(*entities: dict[str, Any], acme: tuple[str, ...] = ("between",)) -> Any:
        found = edited(plain, "entities", "acme", affiliates=list(acme))
        return {**found, "entities": [*found["entities"], *entities]}

    assert ask(declared({"id": "between"}, {"id": "giant"})).allowed
    between = declared({"id": "between", "affiliates": ["giant"]})
    from_above = declared({"id": "giant", "affiliates": ["between"]})
    far = declared({"id": "one", "affiliates": ["between", "two"]}, {"id": "giant", "affiliates": ["two"]})
    then = edited(declared({"id": "between", "affiliates": ["giant"]}, acme=()), "statements", "acme", "llama3.1",
                  affiliates=["between"])  # fmt: skip
    for caught in (between, from_above, far, then):
        for order in (1, -1):
            assert ask({**caught, "entities": caught["entities"][::order]}).reason is Reason.THRESHOLD_GRANT_REQUIRED


def test_05_what_was_stated_above_the_line_stands_whatever_is_stated_later() -> None:
    later = [{"entity": "acme", "license": "llama3.1", "band": "le_700m", "at": "2026-11-01"},
             {"entity": "acme", "license": "llama3.1", "band": "le_700m", "current": 1}]  # fmt: skip
    for above in ({"band": "gt_700m"}, {"value": 700_000_001}):
        over = edited(world(), "statements", "acme", "llama3.1", **above)
        for more in (later[:1], later[1:], later):
            stated = {**over, "statements": [*over["statements"], *more]}
            assert ask(stated).reason is Reason.THRESHOLD_GRANT_REQUIRED
            grant = {"entity": "acme", "licenses": ["llama3.1"], "valid_from": "2026-01-01", "valid_to": "2026-12-31"}
            assert ask({**stated, "grants": [{**grant, "state": "active"}]}).allowed
    assert ask({**world(), "statements": [*world()["statements"], *later]}).allowed


def test_05_a_statement_without_a_time_does_not_outrank_one_that_says_more() -> None:
    careful = {**edited(world(), "statements", "acme", "llama3.1", current=900_000_000)}
    careful["policy"] = {"threshold": "conservative"}
    timeless = {"entity": "acme", "license": "llama3.1", "band": "le_700m", "current": 1, "value": 650_000_000}
    for statements in ([*careful["statements"], timeless], [timeless, *careful["statements"]]):
        assert ask({**careful, "statements": statements}).reason is Reason.THRESHOLD_GRANT_REQUIRED
    newer = {**timeless, "at": "2026-11-01"}
    assert ask({**careful, "statements": [*careful["statements"], newer]}).allowed


def test_05_a_statement_of_another_month_or_without_affiliates_states_nothing() -> None:
    for change in ({"month": "2024-03"}, {"month": "2026-10"}, {"affiliates_included": False}):
        assert ask(edited(world(), "statements", "acme", "llama3.1", **change)).reason is (
            Reason.THRESHOLD_STATEMENT_MISSING
        )
    for change in ({"month": "2024-06"}, {"affiliates_included": True}):
        assert ask(edited(world(), "statements", "acme", "llama3.1", **change)).allowed
    above = edited(world(), "statements", "acme", "llama3.1", band="gt_700m", affiliates_included=False)
    assert ask(above).reason is Reason.THRESHOLD_GRANT_REQUIRED


@pytest.mark.parametrize("verb", [verb.value for verb in Verb])
@pytest.mark.parametrize("purpose", ["commercial", "evaluation", "noncommercial_research"])
def test_05_over_the_line_there_are_no_rights_at_all(verb: str, purpose: str) -> None:
    over = edited(world(), "statements", "acme", "llama3.1", band="gt_700m")
    decision = ask(over, verb=verb, purpose=purpose, public_name="Llama-Acme")
    assert decision.reason is Reason.THRESHOLD_GRANT_REQUIRED


def test_06_a_grant_is_for_its_versions_entities_models_and_time() -> None:
    over = edited(world(), "statements", "acme", band="gt_700m")
    grant = {
        "entity": "giant",
        "affiliates": ["acme"],
        "licenses": ["llama3.1"],
        "models": [],
        "valid_from": "2026-01-01",
        "valid_to": "2026-12-31",
        "state": "active",
    }
    assert ask({**over, "grants": [grant]}).allowed
    assert ask({**over, "grants": [grant]}, OF["llama3.3"]).reason is Reason.THRESHOLD_GRANT_REQUIRED
    others = {
        "models": (["llama-3.1-70b-instruct"], Reason.THRESHOLD_GRANT_REQUIRED),
        "affiliates": ([], Reason.THRESHOLD_GRANT_REQUIRED),
        "state": ("pending_review", Reason.THRESHOLD_GRANT_REQUIRED),
        "valid_from": ("2026-12-01", Reason.THRESHOLD_GRANT_REQUIRED),
        "valid_to": ("2026-06-30", Reason.GRANT_EXPIRED),
    }
    for field, (value, reason) in others.items():
        assert ask({**over, "grants": [{**grant, field: value}]}).reason is reason
    waiting = edited(over, "acceptances", "acme", "llama3.1", state="pending_grant")
    assert ask(waiting).reason is Reason.THRESHOLD_GRANT_REQUIRED
    assert ask({**waiting, "grants": [grant]}).allowed


@pytest.mark.parametrize("kind", ["acceptances", "statements"])
def test_07_the_operator_is_a_licensee_before_the_first_download(kind: str) -> None:
    bare = edited(world(), kind, "host", "llama3.1")
    for verb in ("download", "deploy", "invoke"):
        assert ask(bare, verb=verb).reason is Reason.OPERATOR_NOT_LICENSED
    assert ask(bare, verb="download", entity="host", role="operator").reason is Reason.OPERATOR_NOT_LICENSED
    assert ask(world(), verb="download", entity="host", role="operator").allowed


def test_08_a_deployer_accepts_directly_and_nobody_covers_another() -> None:
    assert ask(edited(world(), "acceptances", "acme", "llama3.1")).reason is Reason.ACCEPTANCE_MISSING
    assert ask(edited(world(), "acceptances", "host", "llama3.1")).reason is Reason.OPERATOR_NOT_LICENSED
    own_as_operator = edited(world(), "acceptances", "acme", "llama3.1", role="operator")
    assert ask(own_as_operator).reason is Reason.ACCEPTANCE_MISSING


def test_09_a_consumer_promises_the_terms_of_use_and_states_its_users_unless_the_platform_asks_less() -> None:
    as_consumer = {"verb": "invoke", "entity": "user", "role": "consumer"}
    silent = edited(world(), "acceptances", "user", "llama3.1", flow_down=False)
    unstated = edited(world(), "statements", "user", "llama3.1")
    assert ask(world(), **as_consumer).allowed
    assert ask(silent, **as_consumer).reason is Reason.FLOW_DOWN_MISSING
    assert ask(unstated, **as_consumer).reason is Reason.THRESHOLD_STATEMENT_MISSING
    assert ask({**unstated, "policy": {"consumers": "terms_of_use"}}, **as_consumer).allowed
    for verb in ("download", "deploy", "fine_tune", "export", "publish", "register_adapter"):
        assert (
            ask(world(), **{**as_consumer, "verb": verb}, public_name="Llama-User").reason is Reason.ACCEPTANCE_MISSING
        )


def test_10_the_integrated_product_is_attested_and_off_by_default() -> None:
    over = edited(world(), "statements", "acme", "llama3.1", band="gt_700m")
    assert not ask(over).allowed
    attested = edited(over, "entities", "acme", receives_integrated_product=True)
    assert ask(attested).allowed
    host = edited(over, "statements", "host", "llama3.1", band="gt_700m")
    host = edited(host, "entities", "host", receives_integrated_product=True)
    assert ask(host).reason is Reason.OPERATOR_NOT_LICENSED


def test_11_llama_3_binds_what_uses_it_and_later_versions_what_contains_it() -> None:
    for license_id, binds_consumer in (("llama3", True), ("llama3.1", False), ("llama4", False)):
        shown = {f"{license_id}#1bi-A", f"{license_id}#1bi-B"}
        consuming = ask(world(), OF[license_id], "invoke", entity="user", role="consumer")
        assert shown <= set(ask(world(), OF[license_id]).clauses)
        # The operator's own part names the clause as well; what the consumer is asked is judged on its own.
        only_consumer = [
            clause.params.get("when", {}).get("roles", ["consumer"])
            for clause in CATALOG.licenses[license_id].clauses
            if f"{license_id}#{clause.id}" in shown
        ]
        assert consuming.allowed
        assert all(("consumer" in roles) is binds_consumer for roles in only_consumer)


def test_12_the_bar_is_the_unions_and_the_counterparty_the_areas() -> None:
    meta = CATALOG.licenses["llama4"]
    ireland, america = "Meta Platforms Ireland Limited", "Meta Platforms, Inc."
    cases = {
        "DE": (False, ireland),
        "IE": (False, ireland),
        "NO": (True, ireland),
        "IS": (True, ireland),
        "LI": (True, ireland),
        "CH": (True, ireland),
        "GB": (True, america),
        "US": (True, america),
    }
    for country, (allowed, party) in cases.items():
        decision = ask(place(world(), "acme", country), OF["llama4"])
        assert decision.allowed is allowed
        assert decision.reason is (Reason.ALLOWED if allowed else Reason.TERRITORY_DENIED)
        assert meta.licensor_of(country) == party
    domiciled = edited(world(), "entities", "acme", domicile="FR")
    assert ask(domiciled, OF["llama4"]).reason is Reason.TERRITORY_DENIED


@pytest.mark.parametrize("code", ["GF", "GP", "MF", "MQ", "RE", "YT", "AX"])
def test_12_parts_of_the_union_with_codes_of_their_own_are_of_the_union(code: str) -> None:
    assert ask(place(world(), "acme", code), OF["llama4"]).reason is Reason.TERRITORY_DENIED
    assert CATALOG.licenses["llama4"].licensor_of(code) == "Meta Platforms Ireland Limited"


@pytest.mark.parametrize("code", ["UK", "EU", "XX", "EL", "ZZ"])
def test_12_a_code_that_names_no_country_is_no_place(code: str) -> None:
    for change in ({"principal_place_of_business": code}, {"domicile": code}):
        decision = ask(edited(world(), "entities", "acme", **change), OF["llama4"])
        assert decision.reason is Reason.TERRITORY_DENIED
        assert code in decision.message
        assert ask(edited(world(), "entities", "acme", **change)).allowed
    for code_outside in ("NC", "GL", "CH", "GB", "JE"):
        assert ask(place(world(), "acme", code_outside), OF["llama4"]).allowed


@pytest.mark.parametrize("model", VISION)
def test_13_a_european_operator_cannot_host_at_all_and_europeans_may_consume(model: str) -> None:
    european_host = place(world(), "host", "FR")
    for verb in ("download", "deploy", "fine_tune"):
        decision = ask(european_host, model, verb)
        assert (decision.reason, decision.mendable) == (Reason.TERRITORY_DENIED, False)
    for role in ("consumer", "end_user"):
        assert ask(place(world(), "user", "FR"), model, "invoke", entity="user", role=role).allowed
    signer = edited(place(world(), "acme", "US"), "entities", "acme", affiliates=["acme-sas"])
    signer = {**signer, "entities": [*signer["entities"], {"id": "acme-sas", "principal_place_of_business": "FR"}]}
    assert ask(signer, model).allowed


@pytest.mark.parametrize(
    "model", ["llama-3.2-1b-instruct", "llama-3.2-3b-instruct", "llama-3.3-70b-instruct", "llama-guard-3-1b"]
)
def test_14_text_models_are_free_of_the_bar_and_what_is_made_from_vision_is_not(model: str) -> None:
    european = place(place(world(), "acme", "DE"), "host", "DE")
    assert ask(european, model).allowed
    cut = {**european, "models": [{"id": "cut", "base": VISION[0], "public_name": "Llama-Cut", "published": True}]}
    assert ask(cut, "cut").reason is Reason.TERRITORY_DENIED


def test_15_a_new_version_is_a_new_agreement() -> None:
    one = edited(world(), "acceptances", "acme", "llama3.3")
    assert ask(one).allowed
    assert ask(one, OF["llama3.3"]).reason is Reason.ACCEPTANCE_MISSING


def test_16_new_words_make_acceptances_stale_after_a_grace_and_the_same_words_are_silent() -> None:
    older = edited(world(), "acceptances", "acme", "llama3.1", aup="e" * 64)
    assert ask(older).reason is Reason.ACCEPTANCE_STALE
    imported = {**older, "texts": [text("llama3.1", imported_at="2026-11-01")]}
    held = ask(imported)
    assert held.allowed
    assert held.warnings
    assert held.valid_until is not None
    assert ask({**imported, "at": "2026-12-02"}).reason is Reason.ACCEPTANCE_STALE
    assert ask({**imported, "policy": {"grace_days": 0}}).reason is Reason.ACCEPTANCE_STALE
    after = edited(imported, "acceptances", "acme", "llama3.1", at="2026-11-10", aup="e" * 64)
    assert ask(after).reason is Reason.ACCEPTANCE_STALE
    agreement = edited(world(), "acceptances", "acme", "llama3.1", canonical="e" * 64)
    assert ask(agreement).reason is Reason.ACCEPTANCE_STALE
    assert ask(edited(world(), "acceptances", "acme", "llama3.1", state="stale")).reason is Reason.ACCEPTANCE_STALE
    same_words = CATALOG.licenses["llama2"].texts[0]
    other_bytes = edited(world(), "acceptances", "acme", "llama2", canonical=same_words.raw[1])
    curated = edited(world(), "acceptances", "acme", "llama2", canonical=same_words.equivalent_to[0])
    assert ask(other_bytes, OF["llama2"]).allowed
    assert ask(curated, OF["llama2"]).allowed


def test_17_the_date_is_that_of_the_license_and_not_of_the_artefact() -> None:
    dates = {name: CATALOG.licenses[name].dated for name in WINDOWS}
    assert dates == {
        "llama2": "2023-07-18",
        "llama3": "2024-04-18",
        "llama3.1": "2024-07-23",
        "llama3.2": "2024-09-25",
        "llama3.3": "2024-12-06",
        "llama4": "2025-04-05",
    }
    quantized = [{"id": "q", "base": OF["llama3.2"], "kind": "quantization", "public_name": "Llama-3.2-1B-q"}]
    over_later = edited(world(models=quantized), "statements", "acme", "llama3.3", band="gt_700m")
    assert ask(over_later, "q").allowed
    # Code Llama 70B was trained in 2024; its license, and so its month, are those of Llama 2.
    assert (
        ask(edited(world(), "statements", "acme", "llama2", band="gt_700m"), "code-llama-70b-instruct").reason
        is Reason.THRESHOLD_GRANT_REQUIRED
    )


STUDENTS = {"llama2": OF["llama2"], "codellama": "code-llama-7b-instruct", "guard2": "llama-guard-2-8b"} | OF


@pytest.mark.parametrize(
    ("teacher", "student", "allowed"),
    [
        ("llama2", "llama2", True),
        ("llama2", "codellama", True),
        ("codellama", "llama2", True),
        ("llama2", "llama3", False),
        ("codellama", "llama3.1", False),
        ("llama3", "llama3", True),
        ("llama3", "guard2", True),
        ("llama3", "llama3.1", False),
        ("llama3", "bloom", False),
        ("llama3.1", "llama3.1", True),
        ("llama3.1", "llama2", True),
        ("llama3.3", "bloom", True),
        ("llama4", "llama2", True),
        ("bloom", "llama2", True),
        ("llama1", "llama2", False),
    ],
)
def test_18_whose_outputs_may_train_whom(teacher: str, student: str, allowed: bool) -> None:
    made = {
        "id": "made",
        "base": STUDENTS[student],
        "kind": "distillation",
        "public_name": "Llama 3 Made" if student != "bloom" else "Llama-Made",
        "teachers": [STUDENTS[teacher]],
        "published": True,
    }
    facts = world(models=[made])
    decision = ask(facts, "made", "publish")
    assert decision.allowed is allowed, decision
    if not allowed:
        denied = Reason.PURPOSE_DENIED if teacher == "llama1" else Reason.OUTPUT_TRAINING_DENIED
        assert (decision.reason, decision.mendable) == (denied, False)
    distilling = ask(facts, STUDENTS[teacher], "distill", student=STUDENTS[student])
    assert distilling.allowed is allowed


def test_18_outputs_of_later_versions_bind_the_name_and_bloom_its_restrictions() -> None:
    def student(**other: Any) -> dict[str, Any]:
        return {"id": "made", "base": OF["bloom"], "public_name": "AcmeGPT", "published": True, **other}

    assert ask(world(models=[student()]), "made", "publish").allowed
    taught = world(models=[student(teachers=[TEXT])])
    assert ask(taught, "made", "publish").reason is Reason.NAME_PREFIX_REQUIRED
    named = world(models=[student(teachers=[TEXT], public_name="Llama-Acme")])
    assert ask(named, "made", "publish").allowed
    by_bloom = world(models=[student(base=OF["llama2"], teachers=[OF["bloom"]])])
    assert ask(by_bloom, "made").allowed
    unbound = edited(by_bloom, "acceptances", "acme", "bigscience-bloom-rail-1.0", flow_down=False)
    assert ask(unbound, "made").reason is Reason.FLOW_DOWN_MISSING
    # A teacher at one remove still binds: lineage is followed through registered models.
    chain = [student(id="first", base=OF["llama2"], teachers=[OF["llama3"]]), student(id="made", base="first")]
    assert ask(world(models=chain), "made").reason is Reason.OUTPUT_TRAINING_DENIED
    unknown = world(models=[student(teachers=["somebody-elses"])])
    assert ask(unknown, "made").reason is Reason.MODEL_UNKNOWN


def test_19_a_private_adapter_is_warned_and_a_shown_one_denied() -> None:
    adapter = {"id": "made", "base": TEXT, "kind": "adapter", "public_name": "AcmeGPT"}
    private = world(models=[{**adapter, "published": False}])
    for verb in ("register_adapter", "deploy", "invoke"):
        decision = ask(private, "made", verb)
        assert decision.allowed
        assert "begins with “Llama”" in decision.warnings[0]
    assert ask(private, "made", "publish").reason is Reason.NAME_PREFIX_REQUIRED
    for shown in (world(models=[{**adapter, "published": True}]), world(models=[adapter])):
        decision = ask(shown, "made", "deploy")
        assert (decision.reason, decision.mendable) == (Reason.NAME_PREFIX_REQUIRED, False)
    assert ask(world(), verb="deploy", public_name="AcmeGPT").allowed
    assert ask(world(models=[{**adapter, "base": OF["llama2"], "published": True}]), "made").allowed
    third = world(models=[{**adapter, "base": OF["llama3"], "published": True, "public_name": "Llama-Acme"}])
    assert ask(third, "made").reason is Reason.NAME_PREFIX_REQUIRED


def test_20_a_field_of_a_manifest_is_not_consent() -> None:
    bare = edited(world(), "acceptances", "acme", "llama3.1")
    assert ask(bare, claimed_license="llama3.1").reason is Reason.ACCEPTANCE_MISSING
    decision = ask(world(), claimed_license="llama3.3")
    assert (decision.reason, decision.mendable) == (Reason.LICENSE_MISMATCH, False)


def test_21_a_termination_reaches_everything_that_was_made() -> None:
    made = [{"id": "made", "base": TEXT, "kind": "merge", "public_name": "Llama-Acme", "published": True}]
    ended = edited(world(models=made), "acceptances", "acme", "llama3.1", state="terminated")
    for model in (TEXT, "llama-3.1-405b-instruct", "made"):
        for verb in ("download", "deploy", "invoke", "export"):
            assert ask(ended, model, verb, public_name="Llama-Acme").reason is Reason.TERMINATED
    again = {**ended, "acceptances": [*ended["acceptances"], acceptance("acme", "deployer", "llama3.1")]}
    assert ask(again).reason is Reason.TERMINATED
    assert ask(ended, OF["llama3.3"]).allowed


def test_22_llama_1_is_for_one_entity_that_researches_and_hosts_itself() -> None:
    research = {"purpose": "noncommercial_research"}
    hosted = ask(world(), OF["llama1"], **research)
    assert (hosted.reason, hosted.mendable) == (Reason.PURPOSE_DENIED, False)
    assert "personal" in hosted.message
    assert not {"host", "user", "user-1", "guest"} & set(hosted.message.replace(",", " ").replace(";", " ").split())
    lab = world(
        operator="acme",
        entities=[{"id": "acme", "principal_place_of_business": "US"}],
        tenants=[{"id": "lab", "entity": "acme", "plan": {"priced": False}}],
        acceptances=[acceptance("acme", role, "llama1") for role in ("operator", "deployer")],
    )
    assert ask(lab, OF["llama1"], **research).allowed
    assert ask(lab, OF["llama1"]).reason is Reason.PURPOSE_DENIED
    for tenants in (
        [{"id": "lab", "entity": "acme", "plan": {"priced": True}}],
        [{"id": "lab", "entity": "acme"}],
        [*lab["tenants"], {"id": "guest", "entity": "guest", "plan": {"priced": False}}],
    ):
        denied = ask({**lab, "tenants": tenants}, OF["llama1"], **research)
        assert denied.reason is Reason.PURPOSE_DENIED
        assert "guest" not in denied.message


def test_23_blooms_restrictions_flow_down_through_everybody() -> None:
    bloom = "bigscience-bloom-rail-1.0"
    for entity, reason in (("acme", Reason.FLOW_DOWN_MISSING), ("host", Reason.OPERATOR_NOT_LICENSED)):
        unbound = edited(world(), "acceptances", entity, bloom, flow_down=False)
        assert ask(unbound, OF["bloom"]).reason is reason
    unbound = edited(world(), "acceptances", "user", bloom, flow_down=False)
    consuming = ask(unbound, OF["bloom"], "invoke", entity="user", role="consumer")
    assert consuming.reason is Reason.FLOW_DOWN_MISSING
    assert len(CATALOG.restrictions_of(bloom)) == 13


def test_24_restrictions_have_our_own_ids_whatever_is_printed() -> None:
    ids = {name: {item.id for item in CATALOG.restrictions_of(name)} for name in WINDOWS}
    assert (len(ids["llama2"]), len(ids["llama4"])) == (20, 22)
    assert ids["llama2"] == ids["llama3"] == ids["llama3.1"]
    assert ids["llama3.2"] == ids["llama3.3"] == ids["llama4"]
    assert ids["llama4"] - ids["llama2"] == {"L1h", "L5"}
    names = [clause.id for clause in CATALOG.licenses["llama4"].clauses]
    assert len(names) == len(set(names))


def test_two_licenses_of_one_model_both_bind() -> None:
    for model, (one, other) in (
        ("llama-guard-2-8b", ("llama2", "llama3")),
        ("llama-guard-3-8b", ("llama3.1", "llama3.2")),
    ):
        assert ask(world(), model).allowed
        for name in (one, other):
            assert ask(edited(world(), "acceptances", "acme", name), model).reason is Reason.ACCEPTANCE_MISSING
            over = edited(world(), "statements", "acme", name, band="gt_700m")
            assert ask(over, model).reason is Reason.THRESHOLD_GRANT_REQUIRED
    strictest = {"id": "made", "base": "llama-guard-2-8b", "public_name": "Llama-Guard-Acme", "published": True}
    assert ask(world(models=[strictest]), "made").reason is Reason.NAME_PREFIX_REQUIRED


def test_a_merge_in_a_file_is_bound_by_every_parent() -> None:
    merge = {"id": "made", "base": OF["llama2"], "kind": "merge", "merged_with": [TEXT], "public_name": "Llama-Acme"}
    facts = world(models=[{**merge, "published": True}])
    assert ask(facts, "made").allowed
    for name in ("llama2", "llama3.1"):
        assert ask(edited(facts, "acceptances", "acme", name), "made").reason is Reason.ACCEPTANCE_MISSING
    assert ask(world(models=[{**merge, "public_name": "AcmeGPT"}]), "made").reason is Reason.NAME_PREFIX_REQUIRED


def test_a_lineage_that_leads_to_itself_is_denied() -> None:
    loop = [{"id": "a", "base": "b"}, {"id": "b", "base": "a"}]
    decision = ask(world(models=loop), "a")
    assert (decision.reason, decision.clauses) == (Reason.MODEL_UNKNOWN, ("catalogue#model",))
    assert "made from itself" in decision.message


def test_the_apache_license_asks_for_no_acceptance() -> None:
    entry = CATALOG.licenses["apache-2.0"]
    assert not [clause for clause in entry.clauses if clause.type == "acceptance"]
