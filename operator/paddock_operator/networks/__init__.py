"""Network profiles: what the pods of a group need for the traffic among them. One file a profile, in this folder.

A platform offers some of them (setting `networks`), and may bring its own in a folder (setting `networks_dir`): the
name of the resource that stands for an adapter differs from cluster to cluster.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec

from paddock_operator.errors import SettingsError

PLAIN = "tcp"
"""The profile that asks nothing of a node."""


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile. `resources` are extended resources of each pod; `capabilities` are what its containers keep."""

    name: str
    title: str
    environment: dict[str, str] = {}
    resources: dict[str, int] = {}
    capabilities: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@cache
def packaged() -> Mapping[str, Network]:
    """The profiles of this folder, by name."""
    folder = resources.files("paddock_operator.networks")
    texts = (file.read_bytes() for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {network.name: network for network in map(_read, texts)}


def offered(names: Iterable[str], *, folder: Path | None = None) -> tuple[Network, ...]:
    """The profiles that a platform offers, in its order; the first is what a deployment gets that names none.

    `folder` holds the platform's own, which win over packaged ones of the same name. Raises SettingsError.
    """
    own = [_read(file.read_bytes()) for file in sorted(folder.glob("*.yaml"))] if folder is not None else []
    known = {**packaged(), **{network.name: network for network in own}}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SettingsError(f"no network profile {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return tuple(known[name] for name in names)


def _read(text: bytes) -> Network:
    try:
        return msgspec.yaml.decode(text, type=Network)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"a network profile does not read: {error}") from error
