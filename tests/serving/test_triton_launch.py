import os
import sys
from pathlib import Path

import pytest
from paddock_core.serving import contract
from paddock_serving import triton
from paddock_serving.errors import EnvironmentNotReadyError
from paddock_serving.settings import ServeSettings
from paddock_serving.triton import Installation

SECRET = "0123456789abcdef0123456789abcdef"


def settings(**more: object) -> ServeSettings:
    return ServeSettings.model_validate({"triton_secret": SECRET, "bind": "10.1.2.3", **more})


def server_on_path(folder: Path) -> str:
    (folder / "bin").mkdir()
    program = folder / "bin" / "tritonserver"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    return str(folder / "bin")


def test_a_server_on_path_wins_and_is_complete(tmp_path: Path) -> None:
    found = triton.find_installation(path=server_on_path(tmp_path))
    assert found == Installation(binary=tmp_path / "bin" / "tritonserver", backends=tmp_path / "backends")
    assert triton.prepare_backends(installation=found, scratch=tmp_path / "scratch") == tmp_path / "backends"
    assert "LD_LIBRARY_PATH" not in triton.build_environment(installation=found, base={"PATH": "/bin"})


def test_else_the_wheel_is_used_with_the_stub_of_this_python(tmp_path: Path) -> None:
    found = triton.find_installation(path=str(tmp_path))
    assert found.binary.is_file()
    backends = triton.prepare_backends(installation=found, scratch=tmp_path)
    assert os.access(backends / "python" / triton.STUB, os.X_OK)
    libraries = triton.build_environment(installation=found, base={})["LD_LIBRARY_PATH"].split(os.pathsep)
    assert libraries[0] == str(triton.shared_libpython().parent)
    # Again, as after a restart of the container in the same pod.
    assert triton.prepare_backends(installation=found, scratch=tmp_path) == backends


def test_a_wheel_without_this_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "stubs" / "3.8").mkdir(parents=True)
    found = Installation(binary=tmp_path, backends=tmp_path, stubs=tmp_path / "stubs", libraries=tmp_path)
    with pytest.raises(EnvironmentNotReadyError, match=r"it has 3\.8"):
        triton.prepare_backends(installation=found, scratch=tmp_path / "scratch")


def test_numpy_2_beside_the_wheel_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.4.6")
    complete = Installation(binary=tmp_path, backends=tmp_path)
    triton.check_numpy(complete)
    with pytest.raises(EnvironmentNotReadyError, match="numpy<2"):
        triton.check_numpy(Installation(binary=tmp_path, backends=tmp_path, stubs=tmp_path, libraries=tmp_path))


def test_a_missing_libpython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: "/nowhere")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(EnvironmentNotReadyError, match="apt-get install libpython"):
        triton.shared_libpython()


def test_every_restricted_api_needs_the_secret_over_both_protocols() -> None:
    argv = triton.build_argv(settings=settings(), binary=Path("/t"), backends=Path("/b"), repository=Path("/r"))
    guard = f"{','.join(contract.RESTRICTED_APIS)}:{contract.SECRET_HEADER}={SECRET}"
    assert f"--http-restricted-api={guard}" in argv
    assert f"--grpc-restricted-protocol={guard}" in argv
    assert {f"--{kind}-address=10.1.2.3" for kind in ("http", "grpc", "metrics")} <= set(argv)


def test_the_secret_is_in_no_environment_and_no_print(tmp_path: Path) -> None:
    found = Installation(binary=tmp_path, backends=tmp_path)
    environment = triton.build_environment(installation=found, base={"PADDOCK_SERVING_TRITON_SECRET": SECRET})
    assert SECRET not in str(environment)
    assert SECRET not in str(settings().model_dump(mode="json"))


def test_in_an_image_the_model_runs_in_the_images_own_python(tmp_path: Path) -> None:
    found = Installation(binary=tmp_path, backends=tmp_path)
    own = str(Path(sys.executable).parent)
    base = {triton.MODEL_PACKAGES: "/opt/paddock/model", "PATH": f"{own}:/usr/bin", "LD_LIBRARY_PATH": "/opt/lib"}
    environment = triton.build_environment(installation=found, base=base)
    assert environment[triton.SITE_PACKAGES] == "/opt/paddock/model"
    assert (environment["PATH"], environment["LD_LIBRARY_PATH"]) == ("/usr/bin", "/opt/lib")
    outside = triton.build_environment(installation=found, base={"PATH": "/usr/bin"})
    assert outside["PATH"] == f"{own}:/usr/bin"


@pytest.mark.parametrize(
    "wrong",
    [{"triton_secret": "short"}, {"bind": "0.0.0.0 --x"}, {"bind": ""}, {"exit_timeout_seconds": 0}],
)
def test_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        settings(**wrong)


def test_the_repository_is_copied_without_what_a_volume_hides_in_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    real = source / "..2026" / contract.MODEL_NAME
    real.mkdir(parents=True)
    (real / "config.pbtxt").write_text("x", encoding="utf-8")
    (source / "..data").symlink_to("..2026")
    (source / contract.MODEL_NAME).symlink_to(f"..data/{contract.MODEL_NAME}")
    copied = triton.prepare_repository(source=source, scratch=tmp_path / "scratch")
    assert [path.name for path in copied.iterdir()] == [contract.MODEL_NAME]
    assert not (copied / contract.MODEL_NAME).is_symlink()


def test_a_repository_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentNotReadyError, match=r"config\.pbtxt is missing"):
        triton.prepare_repository(source=tmp_path, scratch=tmp_path / "scratch")
