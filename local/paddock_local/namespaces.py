"""Linux namespaces and mounts through libc, since Python 3.11 has neither.

Standard library only: it starts before anything else.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 32, 4096, 16384
MS_UNBINDABLE, MS_PRIVATE = 1 << 17, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
# The number of mount_setattr is the same on every architecture (Linux 5.12 and later).
SYS_MOUNT_SETATTR = 442
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY = 1
LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Move this process into new namespaces. Raises OSError where the machine forbids it."""
    _check(_libc.unshare(flags), "unshare")


def enter_user_namespace(*, uid: int, gid: int, mounts: bool) -> None:
    """New user namespace (and mount namespace) in which we are `uid`:`gid`. Needs no privilege."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | (CLONE_NEWNS if mounts else 0))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def join(pid: int, *kinds: str) -> None:
    """Enter the namespaces of process `pid`, in the order given (`user` before `mnt`)."""
    files = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    for file, kind in zip(files, kinds, strict=True):
        _check(_libc.setns(file, 0), f"setns {kind}")
        os.close(file)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {source} on {target}")


def make_private() -> None:
    """Keep this namespace's mounts to itself."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show the tree `source` at `target` too."""
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        make_read_only(target)


def tmpfs(target: str, *, name: str, mode: str = "0755", size: str = "64m") -> None:
    """Empty file system in memory; `name` shows in mountinfo."""
    mount(name, target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode},size={size}")


def make_read_only(target: str) -> None:
    """Make the mount at `target` and all below it read-only; before Linux 5.12 the top one only."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    number = ctypes.c_long(SYS_MOUNT_SETATTR)
    result = _libc.syscall(number, AT_FDCWD, os.fsencode(target), AT_RECURSIVE, attributes, ctypes.sizeof(attributes))
    if result < 0:
        mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def drop_privileges() -> None:
    """Give up every capability for good: root of a user namespace may otherwise undo its read-only mounts."""
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl no_new_privs")


def die_with_parent(signal: int) -> None:
    """Have the kernel send us `signal` when our parent ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl pdeathsig")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ended."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl child_subreaper")


def processes() -> Iterator[int]:
    """The ids of all processes that we can see."""
    return (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())


def namespace_of(pid: int | str, kind: str) -> str | None:
    """Identity of a process' namespace, None when it ended or is another user's."""
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except OSError:
        return None


def is_marked(pid: int, marker: str) -> bool:
    """Whether a mount whose source begins with `marker` is seen by process `pid`."""
    try:
        text = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    return f" tmpfs {marker}" in text


def with_mount(marker: str) -> list[int]:
    """Processes in a mount namespace that carries our `marker`; those of our own namespace are left out."""
    own = namespace_of("self", "mnt")
    seen: dict[str, bool] = {}
    found = []
    for pid in processes():
        namespace = namespace_of(pid, "mnt")
        if namespace is None or namespace == own:
            continue
        if namespace not in seen:
            seen[namespace] = is_marked(pid, marker)
        if seen[namespace]:
            found.append(pid)
    return found


def supported() -> bool:
    """Whether this machine's architecture is one we know."""
    return platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")
