"""What the stack puts into its Kubernetes once the API answers.

The namespace, CRDs, rights and the operator's webhook.
"""

import base64
import json
from pathlib import Path
from typing import Any

import yaml

from paddock_local import kubectl
from paddock_local.paths import StackPaths

NAMESPACE = "paddock-system"
MANIFESTS = (
    Path("crds"),
    Path("charts", "paddock", "files", "rbac"),
    Path("charts", "paddock", "files", "priorities"),
)
WEBHOOK = Path("charts", "paddock", "files", "webhook.yaml")
APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=paddock-local", "-f", "-")


def namespace() -> dict[str, Any]:
    """The namespace for the operator's lease."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def read(folder: Path) -> list[Any]:
    """Every document of the YAML files in a folder; none when the folder is not there."""
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]


def local_client(config: dict[str, Any], *, port: int, authority: bytes) -> dict[str, Any]:
    """How the API server calls a webhook: on this machine instead of through a Service."""
    path = config.get("service", {}).get("path", "/")
    return {"url": f"https://127.0.0.1:{port}{path}", "caBundle": base64.b64encode(authority).decode()}


def local_webhook(document: dict[str, Any], *, port: int, authority: bytes) -> dict[str, Any]:
    """A webhook configuration, pointed at the program on this machine."""
    hooks = [
        hook | {"clientConfig": local_client(hook["clientConfig"], port=port, authority=authority)}
        for hook in document["webhooks"]
    ]
    return document | {"webhooks": hooks}


def documents(paths: StackPaths, *, webhook_port: int, authority: bytes) -> list[Any]:
    """All that is applied, in order."""
    found = [namespace(), *(document for folder in MANIFESTS for document in read(paths.checkout / folder))]
    webhook = paths.checkout / WEBHOOK
    if webhook.is_file():
        chart = yaml.safe_load_all(webhook.read_text(encoding="utf-8"))
        found += [local_webhook(document, port=webhook_port, authority=authority) for document in chart if document]
    return found


def apply(*, program: Path, kubeconfig: Path | str, items: list[Any]) -> None:
    """Server-side apply.

    Raises StackError with kubectl's words.
    """
    bundle = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl.run(program, kubeconfig, *APPLY, stdin=bundle)
