"""The file of facts: what it may say, and that an absent fact is missing."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.decide import decide
from paddock_core.licensing.facts_document import facts_schema
from paddock_core.licensing.facts_file import FactsError, moment, read_facts
from paddock_core.licensing.types import Decision, Reason, Request, Role, Verb

ROOT = Path(__file__).parents[3]
CATALOG = packaged_catalog()
LLAMA = CATALOG.licenses["llama3.1"]
AGREEMENT, POLICY = LLAMA.texts

EXAMPLE = f"""
at: 2026-11-22T00:00:00Z
operator: platform-inc
policy: {{threshold: literal}}
entities:
  - id: acme
    legal_name: Acme Inc.
    principal_place_of_business: US
    affiliates: [acme-eu]
    receives_integrated_product: false
  - {{id: platform-inc, legal_name: Platform Inc., principal_place_of_business: us}}
tenants: [{{id: acme-prod, entity: acme, plan: {{priced: true}}}}]
texts:
  - license: llama3.1
    agreement: "sha256:{AGREEMENT.raw[0]}"
    aup: "sha256:{POLICY.raw[0]}"
    canonical: "sha256:{AGREEMENT.canonical}"
acceptances:
  - entity: acme
    license: llama3.1
    role: deployer
    at: 2026-10-01T00:00:00Z
    canonical: "sha256:{AGREEMENT.canonical}"
    state: active
    flow_down: true
  - entity: platform-inc
    license: llama3.1
    role: operator
    at: 2026-10-01
    canonical: "{AGREEMENT.canonical}"
    state: active
statements:
  - {{entity: acme, license: llama3.1, band: le_700m, value: 700000000, current: 900000000}}
  - {{entity: platform-inc, license: llama3.1, band: le_700m}}
grants:
  - entity: acme
    licenses: [llama3.1]
    models: []
    valid_from: 2026-01-01
    valid_to: 2026-12-31
    state: active
models:
  - id: acme-chat
    base: llama-3.1-8b-instruct
    kind: fine_tune
    public_name: Llama-Acme-Chat
    teachers: [llama-3-70b-instruct]
    published: true
"""


def example() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(EXAMPLE)
    return document


def judge(document: Any, *, model: str = "llama-3.1-8b-instruct", at: float | None = None) -> Decision:
    case = read_facts(document, catalog=CATALOG, now=0.0, at=at)
    request = Request(entity="acme", role=Role.DEPLOYER, verb=Verb.DEPLOY, model=model, at=case.at)
    return decide(request=request, facts=case.facts, catalog=CATALOG)


def test_the_example_is_read_and_decided() -> None:
    assert judge(example()).allowed
    assert judge(json.loads(json.dumps(example(), default=lambda value: value.isoformat()))).allowed
    assert judge(example(), model="acme-chat").reason is Reason.OUTPUT_TRAINING_DENIED


@pytest.mark.parametrize(
    ("kind", "field", "reason"),
    [
        ("texts", None, Reason.TEXT_NOT_IMPORTED),
        ("texts", "aup", Reason.TEXT_NOT_IMPORTED),
        ("acceptances", None, Reason.ACCEPTANCE_MISSING),
        ("acceptances", "at", Reason.ACCEPTANCE_MISSING),
        ("acceptances", "state", Reason.ACCEPTANCE_MISSING),
        ("acceptances", "canonical", Reason.ACCEPTANCE_STALE),
        ("statements", None, Reason.THRESHOLD_STATEMENT_MISSING),
        ("statements", "band", Reason.THRESHOLD_STATEMENT_MISSING),
        ("entities", None, Reason.ACCEPTANCE_MISSING),
    ],
)
def test_an_absent_fact_is_missing(kind: str, field: str | None, reason: Reason) -> None:
    document = example()
    if field is None:
        del document[kind][0]
    else:
        del document[kind][0][field]
    assert judge(document).reason is reason


@pytest.mark.parametrize("field", ["valid_from", "valid_to", "state", "licenses"])
def test_a_grant_that_does_not_say_grants_nothing(field: str) -> None:
    document = example()
    document["statements"][0] = {"entity": "acme", "license": "llama3.1", "band": "gt_700m"}
    assert judge(document).allowed
    if field == "licenses":
        document["grants"][0]["licenses"] = ["llama3.3"]
    else:
        del document["grants"][0][field]
    assert judge(document).reason in (Reason.THRESHOLD_GRANT_REQUIRED, Reason.GRANT_EXPIRED)


def test_a_date_at_the_end_counts_wholly() -> None:
    document = example()
    document["statements"][0] = {"entity": "acme", "license": "llama3.1", "band": "gt_700m"}
    assert judge(document, at=moment("2026-12-31T23:59:59Z")).allowed
    assert judge(document, at=moment("2027-01-01")).reason is Reason.GRANT_EXPIRED


def test_an_ended_acceptance_counts_without_a_time() -> None:
    document = example()
    document["acceptances"].append({"entity": "acme", "license": "llama3.1", "role": "deployer", "state": "suspended"})
    assert judge(document).reason is Reason.SUSPENDED


def test_a_tenant_without_a_plan_is_not_known_to_be_unpriced() -> None:
    document = example()
    assert (
        read_facts({**document, "tenants": [{"id": "t", "entity": "acme"}]}, catalog=CATALOG, now=0.0)
        .facts.tenants["t"]
        .priced
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"acceptence": []}, "acceptence"),
        ({"entities": [{"id": "a", "affilates": ["b"]}]}, "affilates"),
        ({"statements": [{"entity": "a", "license": "l", "band": "few"}]}, "band"),
        ({"texts": [{"license": "l", "agreement": "sha256:short"}]}, "agreement"),
        ({"at": "yesterday"}, "no moment"),
        ({"entities": [{"id": "a"}, {"id": "a"}]}, "there twice"),
        ({"entities": [{"id": "a", "is_operator": True}]}, "more than one operator"),
        ({"models": [{"id": "llama-7b", "base": "llama-13b"}]}, "is a model of the catalogue"),
    ],
)
def test_what_is_misspelt_is_refused_and_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(FactsError, match=said):
        read_facts({**example(), **change}, catalog=CATALOG, now=0.0)


@pytest.mark.parametrize("role", ["agreement", "aup"])
def test_two_digests_of_one_text_are_refused_in_either_order(role: str) -> None:
    first = example()["texts"][0]
    same = {"license": "llama3.1", "canonical": first["canonical"], "aup": first["aup"]}
    read_facts({**example(), "texts": [first, same]}, catalog=CATALOG, now=0.0)
    other = {**same, "canonical" if role == "agreement" else "aup": "e" * 64}
    for texts in ([first, other], [other, first], [first, {**same, "imported_at": "2026-11-01"}]):
        with pytest.raises(FactsError, match="there twice"):
            read_facts({**example(), "texts": texts}, catalog=CATALOG, now=0.0)


@pytest.mark.parametrize("document", [None, [], "text", 3, {"at": True}])
def test_what_is_no_document_is_refused(document: Any) -> None:
    with pytest.raises(FactsError):
        read_facts(document, catalog=CATALOG, now=0.0)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_in_the_file_does_not_matter(chance: Any) -> None:
    document = example()
    for kind in ("entities", "acceptances", "statements"):
        chance.shuffle(document[kind])
    assert judge(document) == judge(example())


def test_the_schema_in_the_docs_is_that_of_the_loader() -> None:
    kept = json.loads((ROOT / "docs" / "facts.schema.json").read_text(encoding="utf-8"))
    assert kept == facts_schema(), "run `paddock license schema > docs/facts.schema.json`"
    assert set(example()) == set(facts_schema()["$defs"]["Document"]["properties"])
    assert facts_schema()["$defs"]["AcceptanceFact"]["additionalProperties"] is False
