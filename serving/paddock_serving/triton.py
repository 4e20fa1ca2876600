"""Find a Triton Inference Server, make it runnable where it lies, and become it.

Two installations are known: the server of NVIDIA's container images (`tritonserver` on PATH, complete), and the wheel
`nvidia-pytriton`, which carries the server for machines without an image. The wheel's Python backend has one stub
program for each Python version and links libpython at run time, so both are chosen to fit this interpreter.
"""

import importlib.metadata
import importlib.util
import logging
import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from paddock_core.serving import contract

from paddock_serving.compiled.runtime import image_environment
from paddock_serving.errors import EnvironmentNotReadyError
from paddock_serving.settings import ServeSettings

log = logging.getLogger(__name__)

STUB = "triton_python_backend_stub"
SITE_PACKAGES = "PADDOCK_SERVING_SITE_PACKAGES"
"""Environment variable through which model.py learns where this package and its dependencies lie."""
MODEL_PACKAGES = "PADDOCK_SERVING_MODEL_PACKAGES"
"""Environment variable of an image whose own Python runs the model: the folder with this package for it."""
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_PRIVATE = ("PADDOCK_SERVING_TRITON_SECRET",)
"""Variables that neither Triton nor the model needs to see."""


_NVIDIA_DEVICE = Path("/dev/nvidiactl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A Triton server. `stubs` and `libraries` are None where the installation is complete by itself."""

    binary: Path
    backends: Path
    stubs: Path | None = None
    libraries: Path | None = None


def find_installation(*, path: str) -> Installation:
    """Find the server: on `path` first (an image has it there), else in the wheel.

    Raises EnvironmentNotReadyError if there is neither.
    """
    binary = shutil.which("tritonserver", path=path)
    if binary is not None:
        program = Path(binary).resolve()
        return Installation(binary=program, backends=program.parent.parent / "backends")
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentNotReadyError(
            "no Triton Inference Server: put `tritonserver` on PATH (NVIDIA's images have it) or install the wheel "
            "nvidia-pytriton into this environment"
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    root = package / "tritonserver"
    return Installation(
        binary=root / "bin" / "tritonserver",
        backends=root / "backends",
        stubs=root / "python_backend_stubs",
        libraries=package.parent / "nvidia_pytriton.libs",
    )


def shared_libpython() -> Path:
    """The shared library of this interpreter, which the Python backend's stub links.

    Raises EnvironmentNotReadyError where the interpreter was built without one, or it is not installed.
    """
    name = f"libpython{_PYTHON}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), "/usr/lib", "/usr/lib64"]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        folders.append(f"/usr/lib/{multiarch}")
    for folder in folders:
        if folder and (Path(folder) / name).exists():
            return Path(folder) / name
    raise EnvironmentNotReadyError(
        f"{name} is missing: Triton's Python backend needs the shared library of {sys.executable}. On Debian or "
        f"Ubuntu: apt-get install libpython{_PYTHON}; an interpreter built from source needs --enable-shared"
    )


def check_numpy(installation: Installation) -> None:
    """The wheel's stubs are built for numpy 1: with numpy 2 they read every text tensor wrongly and crash.

    Raises EnvironmentNotReadyError if this environment has numpy 2 beside the wheel.
    """
    if installation.stubs is None:
        return
    version = importlib.metadata.version("numpy")
    if int(version.split(".")[0]) >= 2:
        raise EnvironmentNotReadyError(
            f"numpy {version} is installed, but the Python backend of the wheel nvidia-pytriton works with numpy 1 "
            "only: pip install 'numpy<2'"
        )


def prepare_backends(*, installation: Installation, scratch: Path) -> Path:
    """Give a backends folder that holds the right stub: the installation's own, or a writable copy of the wheel's."""
    if installation.stubs is None:
        return installation.backends
    stub = installation.stubs / _PYTHON / STUB
    if not stub.exists():
        known = ", ".join(sorted(folder.name for folder in installation.stubs.iterdir()))
        raise EnvironmentNotReadyError(
            f"the wheel nvidia-pytriton has no Python backend for Python {_PYTHON} (it has {known}): "
            "use one of those versions"
        )
    target = scratch / "backends"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(installation.backends, target, ignore=shutil.ignore_patterns("__pycache__"))
    copy = target / "python" / STUB
    shutil.copyfile(stub, copy)
    copy.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP)
    return target


def prepare_repository(*, source: Path, scratch: Path) -> Path:
    """Copy the model repository: a ConfigMap volume holds links and hidden folders that Triton takes for models.

    Raises EnvironmentNotReadyError if the source holds no model of the contract's name.
    """
    if not (source / contract.MODEL_NAME / "config.pbtxt").exists():
        raise EnvironmentNotReadyError(
            f"{source} holds no model repository: {contract.MODEL_NAME}/config.pbtxt is missing. "
            "The operator mounts it there; check the pod's volume"
        )
    target = scratch / "models"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
    return target


def build_argv(*, settings: ServeSettings, binary: Path, backends: Path, repository: Path) -> list[str]:
    """The server's command line. It holds the secret: it must never be logged."""
    secret = settings.triton_secret.get_secret_value()
    guarded = f"{','.join(contract.RESTRICTED_APIS)}:{contract.SECRET_HEADER}={secret}"
    address = settings.bind
    # Without a GPU the server would look for one, and complain about it on every start.
    without_gpu = [] if _NVIDIA_DEVICE.exists() else ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
    return [
        str(binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={settings.exit_timeout_seconds}",
        "--log-format=ISO8601",
        f"--http-address={address}",
        f"--http-port={contract.HTTP_PORT}",
        f"--http-restricted-api={guarded}",
        f"--grpc-address={address}",
        f"--grpc-port={contract.GRPC_PORT}",
        f"--grpc-restricted-protocol={guarded}",
        f"--metrics-address={address}",
        f"--metrics-port={contract.METRICS_PORT}",
        *without_gpu,
    ]


def build_environment(*, installation: Installation, base: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: this interpreter and its packages findable, the secrets gone."""
    environment = {key: value for key, value in base.items() if key not in _PRIVATE}
    environment["PYTHONNOUSERSITE"] = "1"
    if base.get(MODEL_PACKAGES):
        # An image: the model runs in the image's own Python, whose packages must not be hidden by this command's.
        environment = image_environment(environment) | {SITE_PACKAGES: base[MODEL_PACKAGES]}
    else:
        environment[SITE_PACKAGES] = os.pathsep.join(_package_folders())
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), base.get("PATH", os.defpath)])
    if installation.libraries is not None:
        libraries = [str(shared_libpython().parent), str(installation.libraries), base.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(folder for folder in libraries if folder)
    return environment


def _package_folders() -> list[str]:
    """Where this interpreter finds packages, editable ones too, without the standard library (the stub has its own)."""
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    skipped = {str(Path(folder) / "lib-dynload") for folder in standard} | standard | {str(Path(sys.executable).parent)}
    return [folder for folder in dict.fromkeys(sys.path) if folder and folder not in skipped and Path(folder).is_dir()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The server, ready to be started. `argv` holds the secret: it must never be logged."""

    argv: list[str]
    environment: dict[str, str]


def prepare(*, settings: ServeSettings) -> Command:
    """Put everything in place that the server needs. Raises EnvironmentNotReadyError where something is missing."""
    installation = find_installation(path=os.environ.get("PATH", os.defpath))
    check_numpy(installation)
    environment = build_environment(installation=installation, base=os.environ)
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    backends = prepare_backends(installation=installation, scratch=settings.scratch_dir)
    repository = prepare_repository(source=settings.models_dir, scratch=settings.scratch_dir)
    argv = build_argv(settings=settings, binary=installation.binary, backends=backends, repository=repository)
    log.info(
        "starting Triton",
        extra={"binary": str(installation.binary), "settings": settings.model_dump(mode="json")},
    )
    return Command(argv=argv, environment=environment)


def become(command: Command) -> NoReturn:
    """Become the server. The process id stays, so that a termination signal reaches Triton, which drains."""
    sys.stderr.flush()
    os.execve(command.argv[0], command.argv, command.environment)  # noqa: S606 - becoming the server is the point; no shell
