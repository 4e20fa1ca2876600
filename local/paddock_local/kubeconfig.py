"""Kubeconfig files for the users of a stack."""

import base64
from pathlib import Path
from typing import Any

import yaml

from paddock_local.certificates import Authority, KeyPair, write_private
from paddock_local.paths import StackPaths
from paddock_local.ports import Ports

ADMIN = "kubernetes-admin"
OPERATOR = "paddock-operator"
GATEWAY = "paddock-gateway"
KWOK = "kwok-controller"
LWS = "lws-controller-manager"
# User of a component -> its groups. Each gets a kubeconfig when the stack starts.
USERS: dict[str, tuple[str, ...]] = {
    ADMIN: ("system:masters",),
    OPERATOR: (),
    GATEWAY: (),
    KWOK: (),
    LWS: (),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
    "system:node:localhost": ("system:nodes",),
}


def _text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def document(*, server: str, cluster: str, user: str, authority: bytes, pair: KeyPair) -> dict[str, Any]:
    """The content of a kubeconfig with everything embedded."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _text(pair.certificate), "client-key-data": _text(pair.key)},
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }


def file_name(user: str) -> str:
    """`system:node:localhost` -> `system-node-localhost`."""
    return user.replace(":", "-")


def kubeconfig_for(*, paths: StackPaths, ports: Ports, user: str, groups: tuple[str, ...] = ()) -> Path:
    """Mint a client certificate for `user` in `groups` and write `kubeconfig/<user>.yaml`; returns its path.

    Rights come from RBAC: a user nobody bound a role to can do nothing.
    """
    pki = paths.folder("pki")
    authority = Authority(pki, "ca")
    pair = authority.issue(f"user-{file_name(user)}", name=user, groups=groups)
    config = document(
        server=f"https://127.0.0.1:{ports['apiserver']}", cluster=f"paddock-{paths.name}", user=user,
        authority=authority.bundle, pair=pair,
    )  # fmt: skip
    target = paths.kubeconfig(file_name(user))
    write_private(target, yaml.safe_dump(config, sort_keys=False).encode())
    return target
