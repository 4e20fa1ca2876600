"""The file system that a container sees: the machine's own folders read-only, with the container's mounts on top.

overlayfs refuses `/` as its lower layer in a user namespace, therefore the tree is put together from bind
mounts in a tmpfs.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from paddock_local import namespaces

# What a container gets anew instead of the machine's: everything it may write to that is not a volume.
SCRATCH = ("tmp", "run", "var/tmp")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
SCRATCH_SIZE = "1g"
MAX_LINKS = 40


@dataclass(frozen=True)
class Mount:
    """One volume: `source` on the machine is seen at `target` in the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class RootPlan:
    """All that is needed to build a container's root."""

    root: str
    marker: str
    visible: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)


def mount_order(mounts: list[Mount]) -> list[Mount]:
    """Outer mounts before the ones inside them; among equals the later one wins, as in Kubernetes."""
    return sorted(mounts, key=lambda mount: len(PurePosixPath(mount.target).parts))


def inside(root: Path, path: str) -> Path:
    """Where the container's absolute `path` lies below `root`, following the links that the container would follow."""
    pending = list(reversed(PurePosixPath("/" + path).parts[1:]))
    current, links = root, 0
    while pending:
        part = pending.pop()
        if part == "..":
            current = root if current == root else current.parent
            continue
        step = current / part
        if not step.is_symlink():
            current = step
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(f"{path}: too many symbolic links")
        target = PurePosixPath(step.readlink())
        pending.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        current = root if target.is_absolute() else current
    return current


def mirror(folder: Path, name: str) -> None:
    """Lay a tmpfs over `folder` that shows the same entries, so that new ones can be made beside them."""
    original = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        seen_at = f"/proc/self/fd/{original}"
        with os.scandir(seen_at) as entries:
            listed = [(entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False)) for entry in entries]
        namespaces.tmpfs(str(folder), name=name)
        for entry, is_link, is_folder in listed:
            if is_link:
                (folder / entry).symlink_to(Path(seen_at, entry).readlink())
                continue
            _make(folder / entry, is_folder=is_folder)
            # An entry may end meanwhile, or be one that nobody may bind (another user's FUSE mount): leave it empty.
            with contextlib.suppress(OSError):
                namespaces.bind(f"{seen_at}/{entry}", str(folder / entry))
    finally:
        os.close(original)


def _make(path: Path, *, is_folder: bool) -> None:
    if is_folder:
        path.mkdir()
    else:
        path.touch()


def mountpoint(root: Path, path: str, *, is_folder: bool, name: str) -> Path:
    """Make sure that `path` exists below `root`, mirroring the folder on the way that cannot be written."""
    missing: list[str] = []
    current = inside(root, path)
    target = current
    while not current.exists():
        missing.append(current.name)
        current = current.parent
    while missing:
        part = missing.pop()
        folder_wanted = bool(missing) or is_folder
        try:
            _make(current / part, is_folder=folder_wanted)
        except OSError:
            mirror(current, name)
            _make(current / part, is_folder=folder_wanted)
        current /= part
    return target


def _bind_at(root: Path, mount: Mount, name: str) -> None:
    target = mountpoint(root, mount.target, is_folder=Path(mount.source).is_dir(), name=name)
    namespaces.bind(mount.source, str(target), read_only=mount.read_only)


def _same(seen: Path, path: str) -> bool:
    """Whether the container sees the machine's own folder, not an empty one in a volume that an earlier start left."""
    return seen.exists() and seen.samefile(path)


def _devices(folder: Path, name: str) -> None:
    namespaces.tmpfs(str(folder), name=name)
    present = [Path("/dev", device) for device in DEVICES] + sorted(Path("/dev").glob("nvidia*")) + [Path("/dev/pts")]
    for device in present:
        if device.exists():
            _make(folder / device.name, is_folder=device.is_dir())
            namespaces.bind(str(device), str(folder / device.name))
    for link, target in DEVICE_LINKS.items():
        (folder / link).symlink_to(target)
    (folder / "ptmx").symlink_to("pts/ptmx")
    (folder / "shm").mkdir()
    namespaces.tmpfs(str(folder / "shm"), name=name, mode="1777", size=SCRATCH_SIZE)


def _top_level(root: Path, name: str) -> None:
    with os.scandir("/") as entries:
        listed = [(entry.name, entry.is_symlink(), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for entry, is_link, is_folder in listed:
        target = root / entry
        if is_link:
            target.symlink_to(Path("/", entry).readlink())
        elif entry == "dev":
            target.mkdir()
            _devices(target, name)
        elif is_folder:
            target.mkdir()
            # /proc must stay writable for what a process says about itself; the node has made /proc/sys read-only.
            namespaces.bind(f"/{entry}", str(target), read_only=entry != "proc")


def build(plan: RootPlan) -> Path:
    """Put the tree together below `plan.root` in the present mount namespace, which must be private."""
    root, name = Path(plan.root), plan.marker
    namespaces.tmpfs(str(root), name=name)
    # Otherwise binding the folder that holds `root` would bind `root` into itself.
    namespaces.mount("none", str(root), None, namespaces.MS_UNBINDABLE)
    _top_level(root, name)
    for scratch in SCRATCH:
        folder = mountpoint(root, f"/{scratch}", is_folder=True, name=name)
        namespaces.tmpfs(str(folder), name=name, mode="1777", size=SCRATCH_SIZE)
    for mount in mount_order(plan.mounts):
        _bind_at(root, mount, name)
    # After the mounts: a volume at /tmp must not take away a checkout that lies below it.
    for path in plan.visible:
        if not _same(inside(root, path), path):
            _bind_at(root, Mount(source=path, target=path, read_only=True), name)
    for path in plan.hidden:
        if inside(root, path).is_dir():
            namespaces.tmpfs(str(inside(root, path)), name=name)
    return root
