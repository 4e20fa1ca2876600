"""Asking a container registry for the digest behind a tag, over its HTTP API (OCI distribution, v2)."""

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from paddock_cli.errors import CliError, DeniedError, NotFoundError, UnreachableError

TIMEOUT_SECONDS = 30.0
ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
USER, PASSWORD = "PADDOCK_REGISTRY_USER", "PADDOCK_REGISTRY_PASSWORD"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_LOCAL = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a repository is asked for: the registry's base URL, and the name below it."""

    url: str
    name: str


def place_of(repository: str, *, mirror: str | None = None) -> Place:
    """The registry of `host/name`, or the mirror in its stead. A registry on this machine is spoken to without TLS.

    Raises CliError for a repository without a host.
    """
    host, slash, name = repository.partition("/")
    if not slash or not (("." in host) or (":" in host) or host == "localhost"):
        raise CliError(
            f"{repository} names no registry", advice="write it as host/name, for example registry.example/llm"
        )
    if mirror is not None:
        return Place(url=mirror.rstrip("/"), name=name)
    scheme = "http" if host.partition(":")[0] in _LOCAL else "https"
    return Place(url=f"{scheme}://{host}", name=name)


def resolve(*, repository: str, tag: str, mirror: str | None = None) -> str:
    """The digest that a tag has now. Raises a CliError that says what to do."""
    place = place_of(repository, mirror=mirror)
    url = f"{place.url}/v2/{place.name}/manifests/{tag}"
    try:
        with httpx.Client(timeout=TIMEOUT_SECONDS, headers={"Accept": ACCEPT}) as client:
            answer = _asked(client, "HEAD", url, place)
            digest = answer.headers.get("Docker-Content-Digest") if answer.is_success else None
            if answer.is_success and digest is None:
                answer = _asked(client, "GET", url, place)
                digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}" if answer.is_success else None
    except httpx.TransportError as error:
        advice = "give one that can be reached with --registry-mirror, or run this where it can"
        raise UnreachableError(f"{place.url} does not answer: {error}", advice=advice) from error
    _check(answer, place=place, tag=tag)
    if digest is None or not _DIGEST.fullmatch(digest):
        raise CliError(f"{place.url} gave no digest of {place.name}:{tag}", advice="is it a container registry?")
    return str(digest)


def _asked(client: httpx.Client, method: str, url: str, place: Place) -> httpx.Response:
    """Ask; where a token is demanded, get one and ask again."""
    answer = client.request(method, url)
    if answer.status_code != httpx.codes.UNAUTHORIZED:
        return answer
    challenge = answer.headers.get("WWW-Authenticate", "")
    kind, _, rest = challenge.partition(" ")
    if kind.lower() == "basic":
        return client.request(method, url, auth=_credentials())
    if kind.lower() != "bearer":
        return answer
    token = _token(client, dict(_PARAMETER.findall(rest)), place)
    return client.request(method, url, headers={"Authorization": f"Bearer {token}"})


def _token(client: httpx.Client, challenge: dict[str, str], place: Place) -> str:
    realm = challenge.pop("realm", "")
    theirs, ours = urlsplit(realm), urlsplit(place.url)
    if theirs.scheme != "https" and theirs.netloc != ours.netloc:
        raise DeniedError(f"{place.url} sends us to {realm or 'nowhere'} for a token", advice="it must be an https URL")
    answer = client.get(realm, params=challenge, auth=_credentials())
    if not answer.is_success:
        raise _denied(place, f"{theirs.netloc} gave no token ({answer.status_code})")
    document: Any = answer.json()
    token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(token, str):
        raise CliError(f"{theirs.netloc} gave no token", advice="is it the registry's own token service?")
    return token


def _credentials() -> tuple[str, str] | None:
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    return (user, password) if user and password else None


def _check(answer: httpx.Response, *, place: Place, tag: str) -> None:
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise _denied(place, f"{place.url} does not let us see {place.name}:{tag}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise NotFoundError(
            f"{place.url} has no {place.name}:{tag}", advice="build and push it (serving/images/), or name where it is"
        )
    if not answer.is_success:
        raise CliError(f"{place.url} answered {answer.status_code} for {place.name}:{tag}", advice="try again later")


def _denied(place: Place, message: str) -> DeniedError:
    return DeniedError(message, advice=f"set {USER} and {PASSWORD} for {place.url}")
