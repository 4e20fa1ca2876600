"""How the programs are started that play GPU nodes."""

from pathlib import Path
from typing import Any

import yaml

from paddock_local import kubeconfig
from paddock_local.gpu_nodes import SIMULATED_LABEL
from paddock_local.programs import HOST, Context, Spec

EMPTY_HOME = "kwok"
"""kwok reads a person's own configuration from the home folder: it gets an empty one."""


def _program(c: Context, name: str) -> str:
    assert c.simulation is not None  # noqa: S101 - found before any of these is rendered
    return str(c.simulation / name)


def kwok(c: Context) -> Spec:
    """kwok for the nodes that carry our label and no others. Pods there get loopback addresses that the real node
    never hands out."""
    home = c.paths.folder("data") / EMPTY_HOME
    home.mkdir(exist_ok=True)
    assert c.simulation is not None  # noqa: S101 - as above
    return Spec(
        env={"HOME": str(home)},
        argv=[
            _program(c, "kwok"), f"--kubeconfig={c.paths.kubeconfig(kubeconfig.KWOK)}",
            f"--config={c.simulation / 'kwok-stages.yaml'}",
            f"--manage-nodes-with-label-selector={SIMULATED_LABEL}=true",
            f"--cidr={c.ports.simulated_subnet}", f"--node-ip={HOST}", "--node-lease-duration-seconds=40",
            f"--server-address={HOST}:{c.ports['kwok']}",
        ],
    )  # fmt: skip


def lws_configuration(c: Context) -> dict[str, Any]:
    """Configuration of LeaderWorkerSet's controller on this machine, with certificates of the stack."""
    return {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "webhook": {
            "host": HOST,
            "port": c.ports["lws_webhook"],
            "certDir": str(c.certificates.lws.certificate.parent),
        },
        "internalCertManagement": {"enable": False},
        "leaderElection": {"leaderElect": False},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"{HOST}:{c.ports['lws_health']}"},
    }


def lws(c: Context) -> Spec:
    """The real LeaderWorkerSet controller with its webhooks."""
    config: Path = c.paths.folder("etc") / "lws.yaml"
    config.write_text(yaml.safe_dump(lws_configuration(c)), encoding="utf-8")
    return Spec(
        argv=[
            _program(c, "lws"), f"--config={config}", f"--kubeconfig={c.paths.kubeconfig(kubeconfig.LWS)}",
            "--zap-devel=false",
        ]
    )  # fmt: skip
