"""The images this node can run: one YAML file each in `images/`. An image is an environment, not a file system."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# Reported as the images' user, so that pods which must not run as root are admitted: processes run as the
# node's own user.
IMAGE_USER = 65532


@dataclass(frozen=True)
class Image:
    """What a container of this image starts with."""

    name: str
    id: str
    size: int
    env: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    workdir: str = "/"


def repository(reference: str) -> str:
    """`host/path` of `host/path:tag@digest`."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


def load(folder: Path, *, values: dict[str, str]) -> dict[str, Image]:
    """All images described in `folder`, by name, with `{venv}` and the like replaced from `values`."""
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        data: dict[str, Any] = yaml.safe_load(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        env = {key: str(value).format(**values) for key, value in data.pop("env", {}).items()}
        found[data["name"]] = Image(id=f"sha256:{digest}", size=len(text), env=env, **data)
    return found


def missing(reference: str, known: dict[str, Image]) -> str:
    """What a person reads when a pod asks for another image."""
    names = ", ".join(sorted(known))
    where = "local/paddock_local/images"
    return f"this node runs only the images listed in {where} ({names}), not {reference!r}: it pulls nothing"
