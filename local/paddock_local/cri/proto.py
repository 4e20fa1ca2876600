"""The messages of CRI, generated from the proto file of the Kubernetes release that the stack runs. Never committed."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "api_pb2"


def generate(proto: Path, folder: Path) -> None:
    """Write the Python module for `proto` into `folder`.

    Raises OSError when protoc refuses the file.
    """
    # Imported here: only a build needs the compiler, and it is big.
    from grpc_tools import protoc

    folder.mkdir(parents=True, exist_ok=True)
    code = protoc.main(["protoc", f"--proto_path={proto.parent}", f"--python_out={folder}", proto.name])
    if code != 0:
        raise OSError(f"protoc could not compile {proto}")


def load(folder: Path) -> ModuleType:
    """The generated messages."""
    sys.path.insert(0, str(folder))
    return importlib.import_module(MODULE)


def methods(messages: Any, service: str) -> list[tuple[str, Any, Any]]:
    """Name, request class and response class of every call of a service that is not a stream."""
    descriptor = messages.DESCRIPTOR.services_by_name[service]
    return [
        (method.name, getattr(messages, method.input_type.name), getattr(messages, method.output_type.name))
        for method in descriptor.methods
        if not method.server_streaming
    ]
