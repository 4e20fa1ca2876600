"""What this container and its GPUs are, as far as a compiled engine depends on it.

TensorRT-LLM lies in the image's own Python, not in this command's: so that one is asked. Nothing is imported from it,
which would take a minute and claim GPUs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from paddock_core.engines.marker import Runtime

from paddock_serving.errors import EnvironmentNotReadyError

_VERSIONS: Final = """
import importlib.metadata as m, json
print(json.dumps({n: next((d.version for d in m.distributions(name=n)), None) for n in ("tensorrt_llm", "tensorrt")}))
"""
_SECONDS: Final = 60


def image_environment(base: Mapping[str, str]) -> dict[str, str]:
    """The image's own environment, without what makes a program use this command's Python."""
    found = {name: value for name, value in base.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME")}
    folders = base.get("PATH", os.defpath).split(os.pathsep)
    if sys.prefix != sys.base_prefix:
        folders = [folder for folder in folders if Path(folder) != Path(sys.executable).parent]
    return found | {"PATH": os.pathsep.join(folders)}


def find_runtime(base: Mapping[str, str]) -> Runtime:
    """What is here. Raises EnvironmentNotReadyError without TensorRT-LLM, or without a GPU."""
    environment = image_environment(base)
    versions = json.loads(_run(["python3", "-c", _VERSIONS], environment, lacking="python3 of the image"))
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        raise EnvironmentNotReadyError(f"no {' or '.join(missing)} in this image: `paddock images` lists which have it")
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    rows = [line.rpartition(",") for line in _run(query, environment, lacking="an NVIDIA GPU").splitlines() if line]
    capabilities = {capability.strip() for _, _, capability in rows}
    if len(capabilities) != 1:
        raise EnvironmentNotReadyError(
            f"this pod's GPUs have compute capabilities {sorted(capabilities)}: one is needed"
        )
    major, _, minor = capabilities.pop().partition(".")
    return Runtime(
        tensorrt_llm=versions["tensorrt_llm"],
        tensorrt=versions["tensorrt"],
        compute_capability=int(major) * 10 + int(minor or 0),
        gpu=rows[0][0].strip(),
    )


def _run(command: list[str], environment: Mapping[str, str], *, lacking: str) -> str:
    try:
        done = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentNotReadyError(f"{lacking} is missing here: {command[0]} failed ({error})") from error
    return done.stdout
