"""The kinds of places that weights come from, and what each must be told. A module of the same name in
`paddock_serving.weights.sources` fetches from it; a test compares both."""

from collections.abc import Iterable, Mapping
from typing import Final

SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "http": ("url",),
    "huggingface": ("repository",),
    "local": (),
    "oci": ("repository",),
    "pvc": ("claim",),
    "python_package": ("package",),
    "s3": ("bucket",),
}
"""Kind to the parameters without which nothing can be fetched."""

_EXAMPLES: Final[Mapping[str, str]] = {
    "http": "{kind: http, url: https://files.example.com/model}",
    "huggingface": "{kind: huggingface, repository: owner/name}",
    "oci": "{kind: oci, repository: registry.example.com/models/name}",
    "pvc": "{kind: pvc, claim: models}",
    "python_package": "{kind: python_package, package: name}",
    "s3": "{kind: s3, bucket: models, prefix: name}",
}
_OWNED: Final = "models-of-"
_ADDRESSED: Final[Mapping[str, str]] = {"http": "url", "huggingface": "endpoint", "oci": "repository", "s3": "endpoint"}
"""Kind to the parameter that says which server is spoken to; where it is absent, it is the platform's own choice."""


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


def forbidden(source: Mapping[str, str], *, owner: str, endpoints: Iterable[str]) -> str | None:
    """Why a model that a tenant registered may not be fetched from there, and what to do; None where it may.

    The Job that fetches stands inside the platform's network: which server it speaks to is not for a tenant to choose,
    beyond the `endpoints` (URLs, `https://` where they name none) that the platform allows. A claim is the owner's own
    by its name. What the platform's team registers itself (`owner` is empty) is not asked about.
    """
    if not owner:
        return None
    kind = source.get("kind", "")
    if kind == "pvc" and source.get("claim") != _OWNED + owner:
        return f"a model of {owner} is fetched from the claim {_OWNED}{owner} alone: name that one"
    address = source.get(_ADDRESSED.get(kind, ""), "")
    if not address or any(_within(address, allowed) for allowed in endpoints):
        return None
    return f"the platform does not fetch tenants' models from {address}: its team can add the server to sourceEndpoints"


def with_scheme(address: str) -> str:
    """An address as a URL without a slash at its end; one that names no scheme is spoken to over TLS."""
    return (address if "://" in address else f"https://{address}").rstrip("/")


def _within(address: str, allowed: str) -> bool:
    """True if the address is the allowed one, or a path below it. Name and password in a URL are never within."""
    return "@" not in address and f"{with_scheme(address)}/".startswith(f"{with_scheme(allowed)}/")
