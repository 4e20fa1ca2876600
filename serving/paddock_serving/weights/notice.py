"""The Notice file beside a model's files: the licensors' exact notices, and which agreements they belong to.

Several models may have the same bytes. Each one's part stands in its owner's mark, and the
Notice is made of all of them.
"""

import json
from pathlib import Path

from paddock_core.catalog.types import LicenseEntry

from paddock_serving.weights.layout import NOTICE, OWNER, folder_lock, owner_mark, write_durably


def write_notice(*, root: Path, folder: Path, model: str, licenses: tuple[LicenseEntry, ...]) -> None:
    """Write the model's part, and the Notice anew."""
    with folder_lock(root, folder):
        write_durably(folder / owner_mark(model), json.dumps(notice_parts(licenses)).encode())
        renew_notice(folder)


def renew_notice(folder: Path, *, without: str = "") -> None:
    """Make the Notice of the parts of all models that have the folder but one. The caller holds the folder's lock."""
    marks = [mark for mark in sorted(folder.glob(f"{OWNER}*")) if mark.name != owner_mark(without)]
    parts = [part for mark in marks if mark.stat().st_size for part in _parts(mark)]
    if not parts:
        return
    path, text = folder / NOTICE, "\n\n".join(dict.fromkeys(parts)) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_durably(path, text.encode())


def notice_parts(licenses: tuple[LicenseEntry, ...]) -> list[str]:
    """For each license the exact text of its notice, where it asks for one, and the digests of its texts."""
    parts = []
    for entry in licenses:
        digests = [f"{pin.role}: sha256:{pin.canonical}" for pin in entry.texts]
        parts.append("\n".join([*([entry.notice.rstrip("\n")] if entry.notice else []), entry.title, *digests]))
    return parts


def _parts(mark: Path) -> list[str]:
    parts: list[str] = json.loads(mark.read_bytes())
    return parts
