"""What plays GPU nodes where there are none: kwok and LeaderWorkerSet's controller, built from Go modules, with the
manifests that those modules carry. Kept in the user's cache like Kubernetes; nothing of it is built before it is used.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from paddock_local import cluster, gobuild, golang, kubeconfig, kubectl, kubernetes
from paddock_local.paths import StackPaths
from paddock_local.progress import Progress, remaining

MODULE = Path("local", "nodes")
KWOK_MODULE, LWS_MODULE = "sigs.k8s.io/kwok", "sigs.k8s.io/lws"
PROGRAMS = {"kwok": f"{KWOK_MODULE}/cmd/kwok", "lws": f"{LWS_MODULE}/cmd"}
MANIFESTS = {
    "kwok-rights.yaml": (KWOK_MODULE, Path("kustomize", "rbac")),
    "kwok-stages.yaml": (KWOK_MODULE, Path("kustomize", "stage", "fast")),
    "lws.yaml": (LWS_MODULE, Path("config", "default")),
}
"""File in the cache -> the module and the folder in it that kustomize makes it from."""
BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")


def cache_folder(checkout: Path) -> Path:
    """Where programs and manifests of this version are kept."""
    module = checkout / MODULE
    name = gobuild.digest([module / "go.mod", module / "go.sum"], flags=(BUILD_FLAGS, MANIFESTS))
    return gobuild.cache_folder("nodes", name)


def ensure(checkout: Path, *, progress: Progress) -> Path:
    """The folder with all programs and manifests. The first build takes minutes; later ones find it in the cache.

    Raises BuildError with what Go said.
    """
    folder = ensure_manifests(checkout, progress=progress)
    missing = [name for name in PROGRAMS if not (folder / name).is_file()]
    if missing:
        _build(checkout, folder, missing, progress)
    return folder


def ensure_manifests(checkout: Path, *, progress: Progress) -> Path:
    """The folder with the manifests, without building anything: seconds, and a few MB to fetch."""
    folder = cache_folder(checkout)
    missing = [name for name in MANIFESTS if not (folder / name).is_file()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with progress.step("fetching the manifests of kwok and LeaderWorkerSet"):
            _make_manifests(checkout, folder, missing)
    return folder


def lws_manifests(checkout: Path, *, progress: Progress) -> list[dict[str, Any]]:
    """LeaderWorkerSet's own manifests, as its release installs them: custom resources, rights, webhooks, Deployment."""
    return _read(ensure_manifests(checkout, progress=progress) / "lws.yaml")


def _make_manifests(checkout: Path, folder: Path, missing: list[str]) -> None:
    go = golang.find(checkout, Progress())
    module, env = checkout / MODULE, golang.environment(go)
    minor = int(kubernetes.kubernetes_version(checkout / golang.MODULE).split(".")[1])
    program = kubectl.find(StackPaths(checkout=checkout, name="any"), minor=minor)
    for name in missing:
        source, inside = MANIFESTS[name]
        sources = gobuild.source_folder(go, source, module=module, env=env)
        made = gobuild.run(
            [str(program), "kustomize", str(sources / inside)], module=module, env=env, what=f"making {name}"
        )
        part = folder / f"{name}.{os.getpid()}.part"
        part.write_text(made, encoding="utf-8")
        part.replace(folder / name)


def _build(checkout: Path, folder: Path, missing: list[str], progress: Progress) -> None:
    go = golang.find(checkout, progress)
    module, env = checkout / MODULE, golang.environment(go)
    with progress.step("fetching the sources of kwok and LeaderWorkerSet (once)") as update:
        query = [str(go), "list", "-deps", *(PROGRAMS[name] for name in missing)]
        listed = gobuild.follow(query, module=module, env=env, report=lambda count: update(f"{count} modules"))
    total = len(listed.split())
    for name in missing:
        with progress.step(f"building {name} (1 to 2 minutes on 2 cores, once)") as update:
            _build_one(go, folder, name, module=module, env=env, report=_counted(total, update))


def _counted(total: int, update: Callable[[str], None]) -> Callable[[int], None]:
    started = time.monotonic()
    return lambda count: update(f"package {remaining(started, count, total)}")


def _build_one(
    go: Path, folder: Path, name: str, *, module: Path, env: dict[str, str], report: Callable[[int], None]
) -> None:
    part = folder / f"{name}.{os.getpid()}.part"
    try:
        command = [str(go), "build", "-v", *BUILD_FLAGS, "-o", str(part), PROGRAMS[name]]
        gobuild.follow(command, module=module, env=env, report=report)
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)


def _read(file: Path) -> list[dict[str, Any]]:
    # The safe loader in C: LeaderWorkerSet's file has 3 MB, for which the one in Python takes 10 seconds.
    documents = yaml.load_all(file.read_bytes(), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def documents(folder: Path, *, webhook_port: int, authority: bytes) -> list[dict[str, Any]]:
    """What a stack's Kubernetes needs of both: custom resources, rights for the two programs, webhooks on this
    machine. The programs themselves run beside Kubernetes, so their Deployments and Services are left out."""
    found = []
    for file, user in (("kwok-rights.yaml", kubeconfig.KWOK), ("lws.yaml", kubeconfig.LWS)):
        for document in _read(folder / file):
            kept = _local(document, user=user, port=webhook_port, authority=authority)
            found += [kept] if kept else []
    return found


def _local(document: dict[str, Any], *, user: str, port: int, authority: bytes) -> dict[str, Any] | None:
    kind = document["kind"]
    if kind.endswith("WebhookConfiguration"):
        return cluster.local_webhook(document, port=port, authority=authority)
    if kind == "CustomResourceDefinition":
        webhook = document["spec"].get("conversion", {}).get("webhook")
        if webhook:
            webhook["clientConfig"] = cluster.local_client(webhook["clientConfig"], port=port, authority=authority)
        return document
    if kind == "ClusterRoleBinding":
        return document | {"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]}
    return document if kind == "ClusterRole" else None
