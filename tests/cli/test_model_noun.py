"""`paddock model`: registering, showing and deleting models, and the example file, on a real control plane."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "fine-tune.yaml"
PERSON = (
    *("--name", "Ada Lovelace", "--title", "General Counsel", "--email", "ada@acme.example"),
    *("--authority", "board resolution", "--jurisdiction", "us", "--mau-band", "le_700m", "--flow-down", "--agree"),
)
MADE = ("demo-made", "--base", "smollm2-135m-instruct", "--name", "Demo-Made")


def accept(shell: Any, entity: str, role: str) -> None:
    """Unless it is accepted already by another test."""
    known = shell.read("license", "list", "--entity", entity, "--license", "paddock-demo")
    if any(item["state"] == "active" for item in known):
        return
    words = ("--license", "paddock-demo", "--role", role, "--signatory", "Ada Lovelace <ada@acme.example>")
    made = shell.read("license", "offer", "--entity", entity, *words)
    shell("license", "accept", "--token", made["signatory_token"], *PERSON)


@pytest.fixture(scope="module")
def licensed(paddock: Any, acme: Any) -> Any:
    """A tenant whose entity has stated nothing else: what acme states in other tests stands."""
    accept(paddock, "platform-inc", "operator")
    paddock("entity", "create", "maker-inc", "--legal-name", "Maker Inc.", "--place", "US")
    maker = paddock.as_tenant(paddock.read("tenant", "create", "maker", "--entity", "maker-inc")["admin_token"])
    accept(maker, "maker-inc", "deployer")
    return maker


def registered(shell: Any) -> list[str]:
    return [item["id"] for item in shell.read("model", "list", "--registered")]


def test_a_model_is_registered_shown_and_deleted(licensed: Any, tmp_path: Path) -> None:
    spec = next(item for item in yaml.safe_load_all(EXAMPLE.read_text()) if item["kind"] == "LlamaModel")["spec"]
    (tmp_path / "weights.json").write_text(json.dumps(spec["weights"]))
    told = licensed("model", "register", *MADE, "--weights", str(tmp_path / "weights.json"), "--private").out
    assert "smollm2-135m-instruct (fine_tune)" in told
    assert registered(licensed) == ["demo-made"]
    assert "smollm2-135m-instruct" in licensed("model", "list", "--registered").out
    shown = licensed("model", "show", "demo-made").out
    assert "q4_1 (gguf, 0.1 GiB)" in shown
    assert "private" in shown
    assert "Paddock Demonstration License" in licensed("model", "notice", "demo-made").out
    licensed("model", "delete", "demo-made")
    assert registered(licensed) == []
    assert licensed("model", "show", "demo-made", code=4).err


def test_a_name_that_breaks_the_license_is_denied_and_a_private_one_warned(licensed: Any) -> None:
    words = ("gpt-acme", "--base", "smollm2-135m-instruct", "--name", "AcmeGPT")
    denied = licensed("model", "register", *words, code=3)
    assert "begins with “Demo”" in denied.err
    warned = licensed("model", "register", *words, "--private")
    assert "warning: " in warned.err
    licensed("model", "delete", "gpt-acme")


def test_teachers_and_owner_are_said(paddock: Any, licensed: Any) -> None:
    teacher = ("--kind", "distillation", "--teacher", "smollm2-135m-instruct", "--owner", "maker")
    made = paddock.read("model", "register", *MADE, *teacher)
    assert (made["model"]["owner"], made["model"]["teachers"]) == ("maker", ["smollm2-135m-instruct"])
    assert registered(licensed) == ["demo-made"]
    assert "taught by" in licensed("model", "show", "demo-made").out
    paddock("model", "delete", "demo-made")


def test_weights_that_are_none_are_named(licensed: Any, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- a\n")
    assert (
        "holds no checkpoint"
        in licensed("model", "register", *MADE, "--weights", str(tmp_path / "list.yaml"), code=2).err
    )


def test_the_platform_chooses_what_the_webhook_does(paddock: Any, acme: Any) -> None:
    assert paddock.read("license", "policy", "--admission", "deny")["admission"] == "deny"
    assert "deny" in acme("license", "policy").out
    assert paddock.read("license", "policy", "--admission", "warn")["admission"] == "warn"
