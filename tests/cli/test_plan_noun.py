"""`paddock plan`, as a person types it. It needs no control plane."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def paddock(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "paddock_cli.main", "plan", *words],
        env={"PATH": os.defpath, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return done


def test_a_plan_shows_its_sizes_a_bar_and_the_reasons() -> None:
    shown = paddock("llama-3.1-405b-instruct", "--gpu", "H100-80").stdout
    for words in (
        "16 H100-80",
        "756.0 GiB",
        "104 such sequences",
        "8192 tokens a step",
        "each GPU [WWW",
        "K  kv cache",
    ):
        assert words in shown
    assert "would lack 26.6 GiB" in shown


def test_options_may_come_first_and_nodes_be_described() -> None:
    words = ("--nodes", "1xH100-80x8", "--nodes", "1xH200-141x8", "llama-3.1-405b-instruct", "-o", "json")
    plan = json.loads(paddock(*words).stdout)
    assert (plan["gpu"], plan["gpus"], plan["per_gpu"]["total"]) == ("H200-141", 8, 143771 * 1024**2)
    wanted = json.loads(paddock("llama-3.1-8b-instruct", "--gpu", "H100-80", *words[:4], "-o", "json").stdout)
    assert wanted["gpu"] == "H100-80"


def test_parts_precisions_and_loads_are_asked_for() -> None:
    part = json.loads(paddock("llama-3.1-8b-instruct", "--gpu", "A100-80", "--mig", "3g.40gb", "-o", "json").stdout)
    assert (part["resource"], part["gpus"]) == ("nvidia.com/mig-3g.40gb", 1)
    words = ("--kv-precision", "fp8", "--context", "131072", "--concurrency", "8", "-o", "json")
    long = json.loads(paddock("llama-3.3-70b-instruct", "--gpu", "H200-141", *words).stdout)
    assert (long["kv_precision"], long["context_length"], long["max_batch_size"]) == ("fp8", 131072, 8)
    built = paddock("llama-3.3-70b-instruct", "--gpu", "H100-80", "--precision", "fp8", "--engine", "TensorRTEngine")
    assert "an estimate" in built.stdout
    assert built.stderr == ""


def test_weights_that_nobody_has_are_a_question_of_what_if() -> None:
    done = paddock("llama-3.3-70b-instruct", "--gpu", "H100-80", "--precision", "fp8")
    assert "What if: llama-3.3-70b-instruct has no weights in fp8" in done.stderr
    assert "an estimate" in done.stdout
    refused = paddock("llama-3.1-70b-instruct", "--gpu", "A100-80", "--precision", "fp8", code=1)
    assert "What if: llama-3.1-70b-instruct has no weights in fp8" in refused.stderr
    assert "PrecisionUnsupported" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--nodes", "eight"), 4, "NODESxPRODUCTxGPUS"),
        (("--nodes", "2xTPUx8"), 4, "no GPU product TPU"),
        (("--gpu", "L40S-48", "--mig", "1g.10gb"), 4, "cannot be cut"),
        (("--gpu", "H100-80", "--precision", "int3"), 1, "PrecisionUnknown"),
        (("--gpu", "A100-80", "--kv-precision", "fp8"), 1, "compute capability 8.9"),
        (("--gpu", "A10G-24", "--nodes", "1", "--concurrency", "4000"), 1, "sequences of 8192 tokens"),
        ((), 1, "name GPUs with --gpu or --nodes"),
        (("--mig", "3g.40gb"), 1, "name GPUs with --gpu or --nodes"),
        (("--gpu", "H100-80", "--concurrency", "99999999999999999999"), 1, "OutOfRange: concurrency must be 1000000"),
    ],
)
def test_what_cannot_be_is_said_with_what_would(words: tuple[str, ...], code: int, said: str) -> None:
    done = paddock("llama-3.1-8b-instruct", *words, code=code)
    assert said in done.stderr


def test_parts_without_gpus_are_refused_for_a_model_on_cpu_too() -> None:
    assert "name GPUs with --gpu" in paddock("smollm2-135m-instruct", "--mig", "3g.40gb", code=1).stderr


def test_the_story_shows_the_plan_of_today() -> None:
    plan = json.loads(paddock("llama-3.1-405b-instruct", "--gpu", "H100-80", "-o", "json").stdout)
    story = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    assert plan["explanation"] in story


def test_the_tables_are_written_for_the_page() -> None:
    written = paddock("table", "--markdown").stdout
    assert (DOCS / "planning.md").read_text(encoding="utf-8").endswith(written)


def test_the_table_can_be_read_by_programs() -> None:
    rows = json.loads(paddock("table", "--precision", "fp8", "-o", "json").stdout)
    row = next(row for row in rows if row["model"] == "llama-3.1-405b-instruct")
    assert (row["GiB"], row["H100-80"], row["A100-80"]) == ("453.8", "TP8", "–")


def test_constants_are_fitted_written_and_used(tmp_path: Path) -> None:
    runs, constants = tmp_path / "runs.csv", tmp_path / "constants.yaml"
    runs.write_text("model,gpu,after_load_mib,kv_tokens\nllama-3.1-8b-instruct,H100-80,20000,380000\n")
    shown = paddock("calibrate", str(runs), "--write", str(constants)).stdout
    assert "gpu_runtime" in shown
    assert "380000" in shown
    before, after = (
        json.loads(paddock("llama-3.1-8b-instruct", "--gpu", "H100-80", "-o", "json", *more).stdout)["kv_tokens"]
        for more in ((), ("--constants", str(constants)))
    )
    assert before > 380000 >= after > 379900
    listed = tmp_path / "runs.json"
    listed.write_text(json.dumps([{"model": "nothing", "gpu": "H100-80", "after_load_mib": 1, "kv_tokens": 1}]))
    assert "no such model" in paddock("calibrate", str(listed), code=1).stderr
    runs.write_text(runs.read_text(), encoding="utf-8-sig")
    assert "380000" in paddock("calibrate", str(runs)).stdout
    constants.write_text("gpu_runtim: 1")
    assert "no constants gpu_runtim" in paddock("table", "--constants", str(constants), code=1).stderr
