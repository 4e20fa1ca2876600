"""A catalogue with every type of clause, and facts under which everything is allowed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from paddock_core.catalog.loader import Catalog, load_catalog
from paddock_core.licensing.types import Facts, Request, Role, Verb
from paddock_core.policy.documents import Acceptance, Entity, LicenseText, Statement, Tenant

WORDS = "a" * 64
TERMS = "b" * 64
NOW = 1_800_000_000.0

_DUTY = {"duty": "as the text says"}
ACCEPT = {"id": "1", "type": "acceptance", **_DUTY, "consumer": "aup_flow_down"}
USERS = {"id": "2", "type": "scale_threshold", **_DUTY, "value": 700_000_000, "window": "2024-06"}
USE = {"id": "3", "type": "acceptable_use", **_DUTY, "flow_down": True}
NAME = {"id": "4", "type": "model_name_prefix", **_DUTY, "prefix": "Llama"}
SHOW = {"id": "5", "type": "display", **_DUTY, "text": "Built with Llama"}
PLACE = {"id": "6", "type": "territory", **_DUTY, "not_in": ["EU"], "when": {"modality": ["image"]}}
OUTPUTS = {"id": "7", "type": "output_training", **_DUTY}
PURPOSE = {"id": "8", "type": "purpose", **_DUTY, "allowed": ["noncommercial_research"]}
UNHEARD = {"id": "9", "type": "unheard_of", **_DUTY}


def license_file(name: str, *clauses: dict[str, Any]) -> bytes:
    document = {
        "id": name,
        "title": name.title(),
        "spdx": f"LicenseRef-{name}",
        "dated": "2024-07-23",
        "licensor": "the licensor",
        "texts": [{"role": "agreement", "canonical": WORDS}, {"role": "aup", "canonical": TERMS}],
        "clauses": list(clauses),
    }
    return yaml.safe_dump(document).encode()


def model_file(name: str, licenses: list[str], *, modality: tuple[str, ...] = ("text",)) -> bytes:
    size = {"layers": 1, "hidden": 8, "heads": 1, "kv_heads": 1, "head_dim": 8, "ffn": 8, "vocab": 8}
    document = {
        "id": name,
        "title": name,
        "public_name": name,
        "family": "test",
        "architecture": "LlamaForCausalLM",
        "parameters": 1,
        "dimensions": size,
        "context_length": 8,
        "licenses": licenses,
        "default_engine": "LlamaCpp",
        "default_precision": "q4",
        "weights": {"q4": {"format": "gguf", "bytes": 1, "source": {"kind": "none"}}},
        "modality": list(modality),
    }
    return yaml.safe_dump(document).encode()


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    licenses = {
        "llama": license_file("llama", ACCEPT, USERS, USE, NAME, SHOW, PLACE),
        "second": license_file("second", ACCEPT, USERS, USE),
        "old": license_file("old", ACCEPT, OUTPUTS),
        "research": license_file("research", ACCEPT, PURPOSE),
        "odd": license_file("odd", ACCEPT, UNHEARD),
    }
    models = {
        "text": model_file("text", ["llama"]),
        "vision": model_file("vision", ["llama"], modality=("text", "image")),
        "both": model_file("both", ["llama", "second"]),
        "teacher": model_file("teacher", ["old"]),
        "study": model_file("study", ["research"]),
        "strange": model_file("strange", ["odd"]),
    }
    return load_catalog(models=models, licenses=licenses)


def acceptance(entity: str, role: str, license_id: str = "llama", **other: Any) -> Acceptance:
    values: dict[str, Any] = {
        "id": f"{entity}-{role}-{license_id}",
        "entity": entity,
        "license": license_id,
        "role": role,
        "canonical": f"sha256:{WORDS}",
        "at": NOW - 1000,
        "flow_down": True,
    }
    return Acceptance(**{**values, **other})


def statement(entity: str, license_id: str = "llama", band: str = "le_700m", **other: Any) -> Statement:
    values: dict[str, Any] = {
        "id": f"{entity}-{license_id}",
        "entity": entity,
        "license": license_id,
        "band": band,
        "at": NOW - 1000,
    }
    return Statement(**{**values, **other})


@pytest.fixture(scope="session")
def facts(catalog: Catalog) -> Facts:
    """The operator `op`, the deployer `acme` and the consumer `globex`, licensed for everything."""
    entities = {
        name: Entity(id=name, legal_name=name, principal_place_of_business="US", is_operator=name == "op")
        for name in ("op", "acme", "globex")
    }
    texts, acceptances, statements = [], [], []
    for name in catalog.licenses:
        texts += [
            LicenseText(id=f"{name}:{role}", license=name, role=role, raw="sha256:0", canonical=f"sha256:{words}")
            for role, words in (("agreement", WORDS), ("aup", TERMS))
        ]
        acceptances += [
            acceptance("op", "operator", name),
            acceptance("acme", "deployer", name),
            acceptance("globex", "consumer", name),
        ]
        statements += [statement(entity, name) for entity in ("op", "acme", "globex")]
    return Facts(
        operator="op",
        entities=entities,
        tenants={"acme-prod": Tenant(id="acme-prod", entity="acme")},
        texts=tuple(texts),
        acceptances=tuple(acceptances),
        statements=tuple(statements),
    )


Ask = Callable[..., Request]


@pytest.fixture(scope="session")
def ask() -> Ask:
    """A question that the facts allow, and variations of it."""
    plain = Request(entity="acme", role=Role.DEPLOYER, verb=Verb.DEPLOY, model="text", at=NOW)

    def make(**other: Any) -> Request:
        return replace(plain, **other)

    return make
