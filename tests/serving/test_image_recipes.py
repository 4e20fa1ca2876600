"""The recipe of the serving image says what the table of images, the lock file and the operator say."""

import ast
import re
import sys
import tomllib
from pathlib import Path

from paddock_core.catalog.images import packaged_images
from paddock_operator.manifests.pods import USER
from paddock_serving.triton import MODEL_PACKAGES

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "serving" / "images"
RECIPE = (FOLDER / "Containerfile.trtllm").read_text(encoding="utf-8")
OWN = {"paddock_core", "paddock_serving"}
OF_THE_IMAGE = {"numpy", "tensorrt_llm", "triton_python_backend_utils", "xllamacpp"}
"""Imported only by the model, in an environment that has them."""
PROJECTS = {"yaml": "pyyaml", "opentelemetry": "opentelemetry-sdk"}
"""Import names that are not the project's name."""


def names(file: str) -> dict[str, str]:
    lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([a-z0-9-]+)(==.*)?", line) for line in lines if line and not line.startswith("#")]
    return {match[1]: (match[2] or "").removeprefix("==") for match in found if match}


def test_the_example_builds_the_newest_image_of_the_table() -> None:
    newest = packaged_images()[0]
    assert f"--build-arg BASE={newest.base.repository}:{newest.base.tag}@sha256:..." in RECIPE
    assert f"registry.example/llm/serving:{newest.release}" in RECIPE


def test_the_base_is_always_named_with_the_build() -> None:
    assert re.findall(r"^ARG .*$", RECIPE, re.MULTILINE) == ["ARG BASE"]
    assert re.findall(r"^FROM .*$", RECIPE, re.MULTILINE) == ["FROM ${BASE}"]


def test_this_package_runs_on_the_python_of_every_image() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        bounds = tomllib.load(file)["project"]["requires-python"]
    low, high = (tuple(map(int, part.lstrip(">=<").split("."))) for part in bounds.split(","))
    for image in packaged_images():
        assert low <= tuple(map(int, image.python.split("."))) < high


def test_the_pods_user_has_a_name_and_a_shell() -> None:
    assert f"useradd --uid {USER} " in RECIPE
    assert "--shell /bin/sh" in RECIPE
    assert f"USER {USER}:{USER}" in RECIPE


def test_the_model_runs_beside_tensorrt_llm() -> None:
    assert f"{MODEL_PACKAGES}=/opt/paddock/model" in RECIPE
    assert "--target /opt/paddock/model" in RECIPE
    assert "openssh-server" in RECIPE


def test_no_key_is_baked_into_the_image() -> None:
    assert "/etc/ssh/ssh_host_*" in RECIPE


def test_the_commands_need_exactly_what_is_installed_for_them() -> None:
    imported = {name for path in (ROOT / "serving").rglob("*.py") for name in _imports(path)}
    needed = {PROJECTS.get(name, name).replace("_", "-") for name in imported - OWN - OF_THE_IMAGE}
    needed |= {"msgspec", "opentelemetry-exporter-otlp-proto-http"}
    assert set(names("trtllm-commands.txt")) == needed | {"pyyaml", "jinja2"}


def test_what_is_installed_is_locked() -> None:
    lock = (ROOT / "requirements" / "requirements.txt").read_text(encoding="utf-8")
    locked = set(re.findall(r"^([a-z0-9._-]+)==[^ ;]+", lock, re.MULTILINE))
    assert set(names("trtllm-commands.txt")) <= locked


def test_what_the_bases_lack_is_pinned_past_the_version_they_have() -> None:
    version = tuple(map(int, names("trtllm-additions.txt")["openai"].split(".")))
    assert version >= (1, 108, 1)


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - {""}
