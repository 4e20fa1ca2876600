"""The holder of the node's user and mount namespace: `python -m paddock_local.node MARKER KUBELET_FOLDER`.

Kubelet and runtime live in it, each started and restarted on its own. The namespace keeps the kubelet from
changing this machine: as plain root it would set kernel parameters. A holder that was killed joins the old
namespace again as long as a process lives in it.
"""

import contextlib
import signal
import sys
from pathlib import Path

from paddock_local import namespaces
from paddock_local.cri import rootfs

# The kubelet's device-plugin folder is below it and cannot be configured.
KUBELET_HOME = Path("/var/lib/kubelet")
PROTECTED = ("/proc/sys", "/sys")


def build(marker: str, kubelet_folder: Path) -> None:
    """New namespaces: kernel parameters read-only, the kubelet's folder replaced by one of the stack."""
    namespaces.enter_user_namespace(uid=0, gid=0, mounts=True)
    namespaces.make_private()
    for path in PROTECTED:
        namespaces.bind(path, path, read_only=True)
    parent = KUBELET_HOME.parent
    rootfs.mirror(parent, f"{marker}-lib")
    KUBELET_HOME.mkdir(exist_ok=True)
    namespaces.bind(str(kubelet_folder), str(KUBELET_HOME))
    # Last, since others enter as soon as they see it.
    sign = parent / marker
    sign.mkdir()
    namespaces.tmpfs(str(sign), name=f"{marker}-node")


def rejoin(marker: str) -> bool:
    """Enter the namespace that an earlier holder made, if a process still lives in it."""
    for pid in namespaces.with_mount(f"{marker}-node"):
        # It may end between the two looks: try the next one.
        with contextlib.suppress(OSError):
            namespaces.join(pid, "user", "mnt")
            return True
    return False


def main() -> None:
    """Hold the namespace until told to stop."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    marker, kubelet_folder = sys.argv[1], Path(sys.argv[2])
    if not rejoin(marker):
        build(marker, kubelet_folder)
    signal.sigwait(ends)


if __name__ == "__main__":
    main()
