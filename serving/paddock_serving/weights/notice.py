"""The Notice file beside a model's files: the licensors' exact notices, and which agreements they belong to."""

from pathlib import Path
from typing import Final

from paddock_core.catalog.types import LicenseEntry

NAME: Final = "Notice"


def write_notice(*, folder: Path, licenses: tuple[LicenseEntry, ...], files: frozenset[str]) -> None:
    """Write it, unless the checkpoint itself has a file of this name: then the publisher's own stays."""
    if NAME in files:
        return
    text = notice_text(licenses)
    path = folder / NAME
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    draft = folder / f".{NAME}.draft"
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def notice_text(licenses: tuple[LicenseEntry, ...]) -> str:
    """For each license the exact text of its notice, where it asks for one, and the digests of its texts."""
    parts = []
    for entry in licenses:
        digests = [f"{pin.role}: sha256:{pin.canonical}" for pin in entry.texts]
        parts.append("\n".join([*([entry.notice.rstrip("\n")] if entry.notice else []), entry.title, *digests]))
    return "\n\n".join(parts) + "\n"
