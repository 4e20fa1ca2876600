"""The kinds of places that weights come from, and what each must be told. A module of the same name in
`paddock_serving.weights.sources` fetches from it; a test compares both."""

from collections.abc import Mapping
from typing import Final

SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "huggingface": ("repository",),
    "local": (),
    "python_package": ("package",),
}
"""Kind to the parameters without which nothing can be fetched."""


def problem(source: Mapping[str, str]) -> str | None:
    """What a source lacks, and what to do; None where it lacks nothing."""
    kind = source.get("kind", "")
    required = SOURCES.get(kind)
    if required is None:
        return f"no source of kind {kind!r}: it is one of {', '.join(SOURCES)}"
    missing = [name for name in required if not source.get(name)]
    if not missing:
        return None
    return f"a source of kind {kind} needs {', '.join(missing)}, for example {_EXAMPLES[kind]}"


_EXAMPLES: Final[Mapping[str, str]] = {
    "huggingface": "{kind: huggingface, repository: owner/name}",
    "python_package": "{kind: python_package, package: name}",
}
