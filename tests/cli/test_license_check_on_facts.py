"""`paddock license check --facts`: the decision of a file, with no server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paddock_core.catalog.packaged import packaged_catalog

AGREEMENT, POLICY = packaged_catalog().licenses["llama3.1"].texts
FACTS = {
    "at": "2026-11-22T00:00:00Z",
    "operator": "platform-inc",
    "entities": [
        {"id": "acme", "principal_place_of_business": "US"},
        {"id": "platform-inc", "principal_place_of_business": "US"},
    ],
    "texts": [{"license": "llama3.1", "agreement": AGREEMENT.raw[0], "aup": POLICY.raw[0]}],
    "acceptances": [
        {
            "entity": entity,
            "license": "llama3.1",
            "role": role,
            "at": "2026-10-01T00:00:00Z",
            "canonical": AGREEMENT.canonical,
            "state": "active",
        }
        for entity, role in (("acme", "deployer"), ("platform-inc", "operator"))
    ],
    "statements": [{"entity": entity, "license": "llama3.1", "band": "le_700m"} for entity in ("acme", "platform-inc")],
}


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(FACTS), encoding="utf-8")
    return file


def check(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paddock_cli.main", "license", "check", *words],
        env={"PATH": os.defpath, "COLUMNS": "200", "PADDOCK_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


MODEL = ("--model", "llama-3.1-8b-instruct")


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("--entity", "acme", "--verb", "deploy", *MODEL), 0, "Allowed"),
        (("--entity", "platform-inc", "--verb", "download", *MODEL), 0, "Allowed"),
        (("--entity", "acme", "--verb", "fine_tune", *MODEL, "--name", "AcmeGPT"), 3, "NamePrefixRequired"),
        (("--entity", "acme", "--verb", "deploy", *MODEL, "--at", "2026-09-01"), 3, "OperatorNotLicensed"),
        (("--entity", "acme", "--verb", "deploy", "--model", "llama-3.3-70b-instruct"), 3, "TextNotImported"),
    ],
)
def test_the_exit_code_tells_the_decision(facts: Path, words: tuple[str, ...], code: int, reason: str) -> None:
    done = check(*words, "--facts", str(facts), "-o", "json")
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["reason"] == reason


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--verb", "sell"), "one of download"),
        (("--role", "king"), "one of operator"),
        (("--at", "soon"), "no moment"),
    ],
)
def test_a_question_that_means_nothing_is_a_usage_error(facts: Path, words: tuple[str, ...], said: str) -> None:
    done = check("--entity", "acme", *MODEL, "--facts", str(facts), *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_file_that_is_no_facts_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "facts.yaml"
    for content, said in (("{", "neither YAML nor JSON"), ("entitys: []", "entitys")):
        file.write_text(content, encoding="utf-8")
        done = check("--entity", "acme", *MODEL, "--facts", str(file))
        assert done.returncode == 2
        assert said in done.stderr
