"""Are two checkpoints the same bytes, as far as their descriptions tell? By their source, or by a file's digest."""

from paddock_core.catalog.types import WeightFile, WeightSet

_LARGE_BYTES = 32 * 2**20
"""More than any tokenizer or configuration has: those are the same for many models."""
_SMALL_SUFFIXES = (".json", ".jinja", ".md", ".model", ".txt")
_WEIGHTS_SUFFIXES = (".bin", ".gguf", ".pt", ".pth", ".safetensors")


def same_bytes(*, known: WeightSet, other: WeightSet) -> str | None:
    """What both have, in a word, or None where nothing tells that they are the same.

    Of `known` every file counts that may hold weights; of `other` every one, since a name hides nothing.
    """
    digests = {file.sha256 for file in known.files if file.sha256 and _may_hold_weights(file)}
    if not digests.isdisjoint(file.sha256 for file in other.files):
        return "a file"
    theirs, mine = _parameters(known.source), _parameters(other.source)
    alike = known.source.get("kind") == other.source.get("kind") and bool(theirs)
    return "the source" if alike and theirs.items() <= mine.items() else None


def _may_hold_weights(file: WeightFile) -> bool:
    name = file.name.casefold()
    if name.endswith(_WEIGHTS_SUFFIXES):
        return True
    return not name.endswith(_SMALL_SUFFIXES) if file.bytes is None else file.bytes >= _LARGE_BYTES


def _parameters(source: dict[str, str]) -> dict[str, str]:
    """Hosts of files do not tell upper from lower case, nor one slash from two; what is no parameter names no place."""
    return {key: _plain(value) for key, value in source.items() if key != "kind"}


def _plain(value: str) -> str:
    return "/".join(part for part in value.casefold().split("/") if part not in ("", "."))
