"""`SHA256SUMS`: the digests of the files of a folder, as `sha256sum * > SHA256SUMS` writes them."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from paddock_serving.errors import WeightsError
from paddock_serving.weights.sources.base import Expected

SUMS: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


def parse_sums(text: str, *, place: str) -> dict[str, str]:
    """Name of a file to its hex SHA-256. Raises WeightsError for a line that says something else."""
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.rstrip())
        if found is None:
            raise WeightsError(f"{place}/{SUMS}, line {number}: expected `<SHA-256>  <name>`; write it with sha256sum")
        digests[found[2]] = found[1].lower()
    return digests


def with_sums(files: Iterable[Expected], digests: dict[str, str], *, place: str) -> tuple[Expected, ...]:
    """The files with these digests. Raises WeightsError if one that is named is not there."""
    listed = tuple(replace(file, sha256=file.sha256 or digests.get(file.name)) for file in files)
    missing = sorted(set(digests) - {file.name for file in listed})
    if missing:
        raise WeightsError(
            f"{place}: {SUMS} names {', '.join(missing[:5])}, which is not there: copy it, or drop the line"
        )
    return listed
