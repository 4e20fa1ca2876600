"""What every pod of ours has in common: the restricted security profile, quantities, tolerations."""

from typing import Any

USER = 65532
"""Any user but root; the weights on the volume belong to it."""


def pod_security() -> dict[str, Any]:
    """Security context of a pod under the restricted profile."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, keep: tuple[str, ...] = ()) -> dict[str, Any]:
    """Security context of a container under the restricted profile, but for the capabilities that it keeps."""
    kept = {"add": list(keep)} if keep else {}
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], **kept},
        "readOnlyRootFilesystem": True,
    }


def namespace_security(weights_volume: dict[str, object], *, capabilities: bool = False) -> dict[str, str]:
    """Labels of pod security admission: restricted, unless the platform keeps weights in a folder of the node, or
    offers a network whose pods keep capabilities. Its own choices alone, never a tenant's: many deployments share a
    namespace, and only the operator creates pods in it."""
    level = "privileged" if capabilities or "hostPath" in weights_volume else "restricted"
    return {"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": "latest"}


def cpu(millicores: int) -> str:
    """A CPU quantity as the API server writes it."""
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def memory(size: int) -> str:
    """A memory quantity as the API server writes it; rounded up to whole MiB."""
    mebibytes = -(-size // 1024**2)
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"
