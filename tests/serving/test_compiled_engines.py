"""Building a compiled engine: the real Job, with real processes; TensorRT-LLM's own programs are stood in for, as they
need a GPU. What they are given is checked against the published options by tests/core/engines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from paddock_core.engines.marker import MARKER
from paddock_core.engines.recipe import recipe
from paddock_core.engines.request import EngineRequest, encode
from paddock_core.serving import contract
from paddock_serving.compiled.build import build_engine
from paddock_serving.compiled.calibration import digest_of
from paddock_serving.compiled.check import check_engine, read_marker
from paddock_serving.engines import tensorrt
from paddock_serving.engines.base import EngineConfig
from paddock_serving.errors import EngineBuildError, EngineError, EngineIncompatibleError, EnvironmentNotReadyError
from paddock_serving.settings import BuildSettings, PurgeSettings
from paddock_serving.weights import purge
from paddock_serving.weights.layout import INCOMING
from pydantic import SecretStr

MODEL = "llama-test"
REQUEST = EngineRequest(
    weights="w" * 64,
    architecture="LlamaForCausalLM",
    checkpoint_precision="bf16",
    precision="bf16",
    kv_precision="bf16",
    tensor_parallel=2,
    pipeline_parallel=1,
    image="registry.example/serving:26.07",
    tensorrt_llm="1.2.1",
    tensorrt="10.14.1.48",
    gpu="H100-80",
    gpu_memory=80 * 1024**3,
    compute_capability=90,
    max_batch_size=8,
    max_num_tokens=2048,
    max_input_len=1024,
    max_seq_len=1024,
)
PROGRAM = """#!{python}
import json, pathlib, sys, time
words = sys.argv[1:]
if words[:1] == ["-c"]:
    print(json.dumps({versions}))
    raise SystemExit
out = lambda name: pathlib.Path(words[words.index(name) + 1])
place = pathlib.Path({folder!r})
with (place / "calls").open("a") as calls:
    calls.write(json.dumps([pathlib.Path(sys.argv[0]).name, *words]) + chr(10))
step = "build" if sys.argv[0].endswith("trtllm-build") else "load" if "-m" in words else "convert"
if (place / f"fail-{{step}}").exists():
    print("CUDA out of memory")
    raise SystemExit(7)
while (place / f"hold-{{step}}").exists():
    time.sleep(0.05)
if step == "convert":
    (out("--output_dir") / "rank0.safetensors").write_text("converted")
if step == "build":
    assert (out("--checkpoint_dir") / "rank0.safetensors").exists()
    for rank in range(2):
        (out("--output_dir") / f"rank{{rank}}.engine").write_text("engine")
    cut = json.loads((place / "cut").read_text())
    document = {{"pretrained_config": {{"mapping": {{"tp_size": cut[0], "pp_size": cut[1]}}}}}}
    (out("--output_dir") / "config.json").write_text(json.dumps(document))
"""


class Image:
    """An image with TensorRT-LLM's programs in it, and a node with GPUs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.volume / REQUEST.weights).mkdir(parents=True)
        self.cut(2, 1)
        self.versions()
        self.gpu("9.0")

    def versions(self, *, tensorrt_llm: str | None = "1.2.1", tensorrt: str | None = "10.14.1.48") -> None:
        found = {"tensorrt_llm": tensorrt_llm, "tensorrt": tensorrt}
        text = PROGRAM.format(python=sys.executable, versions=found, folder=str(self.folder))
        for name in ("python3", "trtllm-build"):
            self._program(name, text)

    def gpu(self, *capabilities: str) -> None:
        rows = "".join(f"echo 'NVIDIA H100 80GB HBM3, {capability}'\n" for capability in capabilities)
        self._program("nvidia-smi", f"#!/bin/sh\n{rows}")

    def cut(self, tensor: int, pipeline: int) -> None:
        (self.folder / "cut").write_text(json.dumps([tensor, pipeline]), encoding="ascii")

    def calls(self) -> list[list[str]]:
        try:
            lines = (self.folder / "calls").read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def steps(self) -> list[str]:
        return [
            "load" if "-m" in call else "build" if call[0] == "trtllm-build" else "convert" for call in self.calls()
        ]

    def settings(self, request: EngineRequest = REQUEST) -> BuildSettings:
        return BuildSettings(
            model=MODEL,
            engine=encode(request),
            weights_dir=self.volume,
            calibration_dir=self.folder / "calibration",
            termination_log=self.folder / "words",
        )

    def words(self) -> str:
        return (self.folder / "words").read_text(encoding="utf-8")

    def engine(self, request: EngineRequest = REQUEST) -> Path:
        return self.volume / recipe(request).engine_key

    def _program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    found = Image(tmp_path)
    monkeypatch.setenv("PATH", f"{found.bin}:{os.defpath}")
    return found


def config(engine: Path, kind: str = "tensorrt") -> EngineConfig:
    return EngineConfig(engine=kind, model=engine, context_length=1024, max_concurrency=8)


def test_an_engine_is_converted_built_verified_and_placed(image: Image) -> None:
    build_engine(settings=image.settings())
    assert image.steps() == ["convert", "build", "load"]
    load = image.calls()[2]
    assert load[1:3] == ["-m", "paddock_serving.compiled.load"]
    assert load[4:] == [str(image.volume / REQUEST.weights), "2", "1", "1024"]
    folder = image.engine()
    marker = read_marker(folder)
    assert marker is not None
    assert marker.request == REQUEST
    assert marker.runtime.gpu == "NVIDIA H100 80GB HBM3"
    assert set(marker.files) == {"rank0.engine", "rank1.engine", "config.json"}
    # By this mark the engine goes with the model's files when those must go.
    assert (folder / f".of-{MODEL}").is_file()
    assert json.loads(image.words()) == {"engine": recipe(REQUEST).engine_key, "bytes": sum(marker.files.values())}
    check_engine(config(folder))


def test_a_second_job_finds_the_work_done(image: Image) -> None:
    build_engine(settings=image.settings())
    build_engine(settings=image.settings())
    assert image.steps() == ["convert", "build", "load"]


def test_other_limits_use_the_same_converted_checkpoint(image: Image) -> None:
    build_engine(settings=image.settings())
    build_engine(settings=image.settings(msgspec.structs.replace(REQUEST, max_batch_size=16)))
    assert image.steps() == ["convert", "build", "load", "build", "load"]


@pytest.mark.parametrize("step", ["convert", "build", "load"])
def test_a_step_that_fails_tells_its_last_lines_and_goes_on_there(image: Image, step: str) -> None:
    (image.folder / f"fail-{step}").touch()
    with pytest.raises(EngineBuildError, match="ended with 7: CUDA out of memory"):
        build_engine(settings=image.settings())
    assert image.words().startswith("EngineBuild: ")
    assert not image.engine().exists()
    (image.folder / f"fail-{step}").unlink()
    build_engine(settings=image.settings())
    before = {"convert": 1, "build": 2, "load": 3}[step]
    assert image.steps()[before:] == (["convert", "build", "load"] if step == "convert" else ["build", "load"])
    check_engine(config(image.engine()))


@pytest.mark.parametrize("step", ["convert", "build", "load"])
def test_a_job_that_is_killed_leaves_nothing_half_done_in_its_place(image: Image, step: str) -> None:
    hold = image.folder / f"hold-{step}"
    hold.touch()
    settings = image.settings()
    environment = {
        "PATH": os.environ["PATH"],
        "PADDOCK_SERVING_MODEL": MODEL,
        "PADDOCK_SERVING_ENGINE": settings.engine,
        "PADDOCK_SERVING_WEIGHTS_DIR": str(image.volume),
        "PADDOCK_SERVING_TERMINATION_LOG": str(settings.termination_log),
    }
    command = [sys.executable, "-m", "paddock_serving.main", "build-engine"]
    job = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    _until(lambda: image.steps()[-1:] == [step])
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert not image.engine().exists()
    hold.unlink()
    build_engine(settings=settings)
    check_engine(config(image.engine()))
    folders = {path.name for path in image.volume.iterdir() if not path.name.startswith(".")}
    assert folders == {REQUEST.weights, recipe(REQUEST).checkpoint_key, recipe(REQUEST).engine_key}


def test_two_jobs_for_one_engine_do_the_work_once(image: Image) -> None:
    failed: list[Exception] = []

    def job() -> None:
        try:
            build_engine(settings=image.settings())
        except Exception as error:  # noqa: BLE001 - whatever it is must be seen by the test
            failed.append(error)

    jobs = [threading.Thread(target=job) for _ in range(3)]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join()
    assert not failed
    assert image.steps() == ["convert", "build", "load"]


def test_a_cut_other_than_asked_for_is_found_before_anybody_loads_it(image: Image) -> None:
    image.cut(1, 2)
    with pytest.raises(EngineBuildError, match="cut 1 x 2 instead of 2 x 1"):
        build_engine(settings=image.settings())
    assert image.steps() == ["convert", "build"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image.versions(tensorrt="10.14.1.49"), "asked for with TensorRT 10.14.1.48, here is 10.14.1.49"),
        (lambda image: image.gpu("8.9"), "compute capability 9.0, here is 8.9"),
    ],
)
def test_another_image_or_gpu_than_asked_for_is_no_build(
    image: Image, change: Callable[[Image], None], words: str
) -> None:
    change(image)
    with pytest.raises(EngineIncompatibleError, match=words):
        build_engine(settings=image.settings())
    assert image.steps() == []
    assert image.words().startswith("EngineIncompatible: ")
    assert EngineIncompatibleError.lasting


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image.versions(tensorrt_llm=None), "no tensorrt_llm in this image"),
        (lambda image: (image.bin / "nvidia-smi").unlink(), "an NVIDIA GPU is missing here"),
        (lambda image: image.gpu("9.0", "8.0"), r"capabilities \['8.0', '9.0'\]"),
    ],
)
def test_what_is_missing_is_named(image: Image, change: Callable[[Image], Any], words: str) -> None:
    change(image)
    with pytest.raises(EnvironmentNotReadyError, match=words):
        build_engine(settings=image.settings())


def test_quantising_without_a_calibration_set_says_where_to_put_one(image: Image) -> None:
    request = msgspec.structs.replace(REQUEST, kv_precision="fp8")
    with pytest.raises(EngineBuildError, match="calibration set; put one there"):
        build_engine(settings=image.settings(request))
    (image.folder / "calibration").mkdir()
    build_engine(settings=image.settings(request))
    assert str(image.folder / "calibration") in image.calls()[0]


def test_another_calibration_set_is_another_engine_when_the_job_runs_again(image: Image) -> None:
    request, place = msgspec.structs.replace(REQUEST, kv_precision="fp8"), image.folder / "calibration"
    (place / "more").mkdir(parents=True)
    (place / "more" / "texts.txt").write_text("one")
    whole = ["convert", "build", "load"]
    for _ in range(2):
        build_engine(settings=image.settings(request))
        assert image.steps() == whole
    (place / "more" / "texts.txt").write_text("two")
    build_engine(settings=image.settings(request))
    assert image.steps() == whole * 2
    marker = read_marker(image.engine(request))
    assert marker is not None
    assert marker.calibration == digest_of(place)
    # Taken away, it takes nothing with it; and engines without scales of it do not ask.
    shutil.rmtree(place)
    build_engine(settings=image.settings(request))
    assert image.steps() == whole * 2
    assert digest_of(place) is None


def test_the_digest_of_a_calibration_set_is_of_names_and_contents(tmp_path: Path) -> None:
    seen = set()
    for name, text in (("a", "1"), ("a", "2"), ("b", "2")):
        folder = tmp_path / f"{name}{text}"
        folder.mkdir()
        (folder / name).write_text(text)
        seen.add(digest_of(folder))
    assert len(seen) == 3
    (tmp_path / "b2" / "empty").mkdir()
    assert digest_of(tmp_path / "b2") in seen


def test_what_cannot_be_made_is_told(image: Image) -> None:
    with pytest.raises(EngineBuildError, match="it is one of bf16"):
        build_engine(settings=image.settings(msgspec.structs.replace(REQUEST, precision="int3")))


def test_an_engine_of_another_version_is_built_anew_in_its_place(image: Image) -> None:
    build_engine(settings=image.settings())
    marker = read_marker(image.engine())
    assert marker is not None
    older = msgspec.structs.replace(marker, runtime=msgspec.structs.replace(marker.runtime, tensorrt="10.14.1.40"))
    (image.engine() / MARKER).write_bytes(msgspec.json.encode(older))
    with pytest.raises(EngineIncompatibleError, match=r"built with TensorRT 10\.14\.1\.40"):
        check_engine(config(image.engine()))
    build_engine(settings=image.settings())
    assert image.steps() == ["convert", "build", "load", "build", "load"]
    check_engine(config(image.engine()))
    assert not list((image.volume / INCOMING).glob("old-*"))


def test_engines_and_converted_checkpoints_go_with_the_models_files(image: Image) -> None:
    build_engine(settings=image.settings())
    (image.volume / INCOMING / "engine-begun").mkdir()
    (image.volume / INCOMING / "engine-begun" / f".of-{MODEL}").touch()
    order = PurgeSettings(
        purge="pur-aaaaaaaaaaaa",
        model=MODEL,
        weights_dir=image.volume,
        controlplane_url="http://control-plane.test",
        purge_token=SecretStr("t"),
    )
    found = {path.name for path in purge._folders(order)}
    made = recipe(REQUEST)
    assert {made.engine_key, made.checkpoint_key, "engine-begun"} <= found


def test_a_server_refuses_an_engine_of_which_a_file_is_missing(image: Image) -> None:
    build_engine(settings=image.settings())
    (image.engine() / "rank1.engine").write_text("short", encoding="ascii")
    with pytest.raises(EngineIncompatibleError, match="no complete engine"):
        check_engine(config(image.engine()))
    check_engine(config(image.engine(), kind="llmapi"))


def test_a_refused_server_ends_once_with_the_reason_and_then_waits(image: Image) -> None:
    build_engine(settings=image.settings())
    image.gpu("8.9")
    version = image.folder / "models" / contract.MODEL_NAME / "1"
    version.mkdir(parents=True)
    document = {"engine": "tensorrt", "model": str(image.engine()), "context_length": 1024, "max_concurrency": 8}
    (version / "model.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "PADDOCK_SERVING_TRITON_SECRET": "0123456789abcdef0123456789abcdef",
        "PADDOCK_SERVING_BIND": "127.78.0.9",
        "PADDOCK_SERVING_MODELS_DIR": str(image.folder / "models"),
        "PADDOCK_SERVING_SCRATCH_DIR": str(image.folder / "scratch"),
        "PADDOCK_SERVING_TERMINATION_LOG": str(image.folder / "words"),
    }
    command = [sys.executable, "-m", "paddock_serving.main", "serve"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert first.returncode == contract.NOT_AT_ONCE, first.stderr
    assert image.words() == "EngineIncompatible: the engine was built with a GPU of compute capability 9.0, here is 8.9"
    log = image.folder / "second.log"
    with log.open("wb") as output:
        second = subprocess.Popen(command, env=environment, stderr=output)
    _until(lambda: "refused already" in log.read_text(encoding="utf-8"))
    assert second.poll() is None
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=100) == contract.NOT_AT_ONCE


TABLE: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("tensorrt_llm_signatures.yaml").read_text(encoding="utf-8")
)


def test_the_engines_arguments_are_published_ones() -> None:
    given = {
        "tokenizer": "/weights/abc",
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 1,
        "gpus_per_node": 8,
        "kv_cache_config": {"enable_block_reuse": False},
        "max_num_tokens": 8192,
        "backend": "pytorch",
    }
    arguments = tensorrt.llm_arguments(
        EngineConfig(engine="tensorrt", model=Path("/e"), context_length=10, max_concurrency=1, arguments=given)
    )
    assert set(arguments) <= set(TABLE["TrtLLM.__init__"]["parameters"])
    assert arguments["model"] == "/e"
    # Fixed when the engine was built, or not its own.
    assert not {"max_num_tokens", "backend"} & set(arguments)


def test_without_the_library_the_error_says_where_it_is() -> None:
    with pytest.raises(EngineError, match="paddock images"):
        tensorrt.create(config(Path("/nowhere")))


def test_the_model_in_triton_needs_little_of_the_images_python(tmp_path: Path) -> None:
    """In an image the model runs beside TensorRT-LLM, with its packages: nothing of ours may be needed but these."""
    import numpy as np
    import paddock_core
    import paddock_serving

    for package in (paddock_core, paddock_serving, np, yaml):
        source = Path(str(next(iter(package.__path__))))
        (tmp_path / source.name).symlink_to(source)
    for extra in Path(str(next(iter(np.__path__)))).parent.glob("numpy.libs"):
        (tmp_path / extra.name).symlink_to(extra)
    (tmp_path / "triton_python_backend_utils.py").write_text("", encoding="ascii")
    modules = ["model", "engines.llmapi", "engines.tensorrt", "compiled.load"]
    imports = "".join(f"import paddock_serving.{name}\n" for name in modules)
    script = f"import sys; sys.path.append({str(tmp_path)!r})\n{imports}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
