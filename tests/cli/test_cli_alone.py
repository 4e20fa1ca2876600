"""What `paddock` does without a control plane."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOUNS = Path(__file__).parents[2] / "cli" / "paddock_cli" / "nouns"


def paddock(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"PATH": os.defpath, "COLUMNS": "200", **environment}
    return subprocess.run(
        [sys.executable, "-m", "paddock_cli.main", *words],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_help_lists_every_noun_and_imports_none() -> None:
    code = "import sys; sys.argv=['paddock','--help']; from paddock_cli.main import app\n"
    code += "try: app()\nexcept SystemExit: pass\n"
    code += "print([m for m in sys.modules if m in ('httpx', 'paddock_local', 'lightkube', 'paddock_core')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for path in NOUNS.glob("[a-z]*.py"):
        assert path.stem in done.stdout


@pytest.mark.parametrize("noun", sorted(path.stem for path in NOUNS.glob("[a-z]*.py")))
def test_every_noun_has_help(noun: str) -> None:
    done = paddock(noun, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_an_unreachable_control_plane_has_its_own_code() -> None:
    done = paddock("tenant", "list", PADDOCK_URL="http://127.0.0.1:7769", PADDOCK_TOKEN="x")
    assert done.returncode == 5
    assert "PADDOCK_URL" in done.stderr


def test_no_token_is_said_so() -> None:
    done = paddock("tenant", "list")
    assert done.returncode == 3
    assert "PADDOCK_TOKEN_FILE" in done.stderr


def test_an_unknown_noun_is_a_usage_error() -> None:
    assert paddock("tenants", "list").returncode == 2


def test_a_plan_explains_itself() -> None:
    done = paddock("plan", "llama-3.1-405b-instruct", "--gpu", "H100-80", "-o", "json")
    plan = json.loads(done.stdout)
    assert (plan["tensor_parallel"], plan["pipeline_parallel"], plan["gpus"]) == (8, 2, 16)
    assert "Tensor parallelism 8" in paddock("plan", "llama-3.1-405b-instruct", "--gpu", "H100-80").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nonsense",), 4, "there are"),
        (("llama-3.1-8b-instruct", "--gpu", "TPU"), 4, "there are"),
        (("llama-3.1-8b-instruct", "--gpu", "H100-80", "--tensor", "3"), 1, "InvalidParallelism"),
        (("llama-3.1-405b-instruct", "--gpu", "H100-80", "--nodes", "1"), 1, "DoesNotFit"),
    ],
)
def test_an_impossible_plan_says_why(words: tuple[str, ...], code: int, said: str) -> None:
    done = paddock("plan", *words)
    assert done.returncode == code
    assert said in done.stderr


def test_the_shell_completes_nouns() -> None:
    program = Path(sys.executable).parent / "paddock"
    words = {"_PADDOCK_COMPLETE": "complete_bash", "COMP_WORDS": "paddock lic", "COMP_CWORD": "1"}
    done = subprocess.run(
        [str(program)], env={"PATH": os.defpath, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["license"]
