"""What a failed test leaves for whoever reads its output: the machine it ran on may be gone by then."""

import subprocess
from pathlib import Path

from paddock_local.stack import Stack

LINES = 15
TOLD = ("operator", "kubelet", "cri", "kube-controller-manager", "gateway", "controlplane", "lws", "kwok")
ASKED = (
    ("get", "llamadeployments,pods,replicasets,deployments,jobs", "-A", "-o", "wide"),
    ("get", "llamadeployments", "-A", "-o", "yaml"),
    ("get", "events", "-A", "--sort-by=.lastTimestamp"),
)


def gather(stack: Stack) -> list[tuple[str, str]]:
    """Sections of a test's report: what the API server says, and the end of each part's log."""
    sections = [(f"kubectl {' '.join(asked)}", _kubectl(stack, asked)) for asked in ASKED]
    for part in TOLD:
        log = stack.paths.folder("logs") / f"{part}.log"
        if log.exists():
            sections.append((log.name, _tail(log)))
    return sections


def _kubectl(stack: Stack, asked: tuple[str, ...]) -> str:
    """The answer, or why there is none: the API server may be what failed."""
    try:
        done = subprocess.run(
            [str(stack.kubectl), "--kubeconfig", str(stack.kubeconfig), "--request-timeout=10s", *asked],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "\n".join((done.stdout + done.stderr).splitlines()[-60:])


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LINES:]
    return "\n".join(line[:500] for line in lines)
