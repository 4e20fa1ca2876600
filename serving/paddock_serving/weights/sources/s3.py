"""Objects below a prefix of an S3 bucket: `{kind: s3, bucket: NAME, prefix: PATH, region: REGION, endpoint: URL}`.

AWS by default, any server of its API by `endpoint`. Requests are signed where there are credentials. Which objects
belong to the checkpoint is listed in the catalogue entry, else it is all of them directly below the prefix, with the
digests of a SHA256SUMS beside them. An object without a digest is held to its entity tag while it is fetched.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import httpx
from paddock_core.catalog.sources import with_scheme

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.sigv4 import SigV4
from paddock_serving.weights.sources.base import (
    Checkpoint,
    Expected,
    Source,
    catalogued,
    credentials_digest,
    pinned,
)
from paddock_serving.weights.sums import SUMS, parse_sums, with_sums
from paddock_serving.weights.web import TIMEOUT, Web

_REGION: Final = re.compile(r"[a-z0-9-]{1,40}")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_MOST_PAGES: Final = 20


class Bucket:
    """A Source over the S3 API, path style, which every server of it speaks."""

    def __init__(self, *, base: str, prefix: str, listed: tuple[Expected, ...], access: str, web: Web) -> None:
        self._base = base
        self._prefix = prefix
        self._listed = listed
        self._access = access
        self._web = web

    def place(self) -> str:
        """Bucket and prefix on their server."""
        return f"s3:{self._base}/{self._prefix}"

    def access(self) -> str:
        """A digest of the credentials, if there are any."""
        return self._access

    def files(self) -> tuple[Expected, ...]:
        """The catalogue's list, completed by the bucket's own. Raises WeightsError if objects are missing."""
        if pinned(self._listed) and all(file.bytes is not None for file in self._listed):
            return self._listed
        found = {file.name: file for file in self._objects()}
        if not self._listed:
            sums = found.pop(SUMS, None)
            digests = parse_sums(self._web.get(self._url(SUMS)).text, place=self.place()) if sums else {}
            if not found:
                raise WeightsError(f"{self.place()} holds no objects: copy the checkpoint's files there")
            return with_sums(found.values(), digests, place=self.place())
        absent = [file.name for file in self._listed if file.name not in found]
        if absent:
            raise WeightsError(f"{self.place()} has no {', '.join(absent[:5])}: copy the checkpoint's files there")
        return tuple(_completed(file, found[file.name]) for file in self._listed)

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        """Read from an offset, of the object as it was listed."""
        held = {} if file.tag is None else {"If-Match": file.tag}
        with self._web.read(self._url(file.name), file, offset=offset, headers=held) as chunks:
            yield chunks

    def close(self) -> None:
        """End its connections."""
        self._web.close()

    def _url(self, name: str) -> str:
        return f"{self._base}/{quote(self._prefix + name, safe='/-_.~')}"

    def _objects(self) -> Iterator[Expected]:
        """Those directly below the prefix (ListObjectsV2)."""
        token = ""
        for _ in range(_MOST_PAGES):
            more = {"continuation-token": token} if token else {}
            asked = {"delimiter": "/", "list-type": "2", "prefix": self._prefix, **more}
            page = _parse(self._web.get(f"{self._base}?{_query(asked)}").content, place=self.place())
            for item in page.iterfind("{*}Contents"):
                name = _text(item, "Key").removeprefix(self._prefix)
                if name and not name.startswith("."):
                    yield Expected(name=name, bytes=int(_text(item, "Size")), tag=_text(item, "ETag") or None)
            token = _text(page, "NextContinuationToken")
            if not token:
                return
        raise WeightsError(f"{self.place()} holds too many objects for a checkpoint: name a deeper prefix")


def _query(parameters: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(parameters.items()))


def _parse(body: bytes, *, place: str) -> ET.Element:
    if b"<!" in body:
        # A listing has no document type, and so no entities that could grow without bound.
        raise WeightsError(f"{place} answered no listing: is its endpoint an S3 server?")
    try:
        return ET.fromstring(body)  # noqa: S314 - bounded, and without entities
    except ET.ParseError as error:
        raise WeightsError(f"{place} answered no listing ({error}): is its endpoint an S3 server?") from error


def _text(item: ET.Element, name: str) -> str:
    return item.findtext(f"{{*}}{name}") or ""


def _completed(file: Expected, found: Expected) -> Expected:
    size = found.bytes if file.bytes is None else file.bytes
    return Expected(name=file.name, bytes=size, sha256=file.sha256, tag=found.tag)


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:
    """The bucket that the catalogue names. Raises WeightsError for a name that is none."""
    source = checkpoint.weights.source
    region, bucket, prefix = source.get("region", "us-east-1"), source["bucket"], source.get("prefix", "").strip("/")
    if _REGION.fullmatch(region) is None or _BUCKET.fullmatch(bucket) is None:
        raise WeightsError(f"{bucket!r} in {region!r} is no bucket in a region: mend the source")
    endpoint = with_scheme(source.get("endpoint") or f"https://s3.{region}.amazonaws.com")
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key.get_secret_value()
    token = settings.s3_session_token.get_secret_value()
    auth = SigV4(access_key_id=key, secret_access_key=secret, session_token=token, region=region) if key else None
    web = Web(
        # Another host must not get the signed headers, and S3 redirects only where region or endpoint is wrong.
        client=httpx.Client(timeout=TIMEOUT, follow_redirects=False),
        place=f"{endpoint}/{bucket}",
        refused="put a key that may read the bucket into the Secret for sources (docs/weights.md)",
        auth=auth,
    )
    base = f"{endpoint}/{bucket}"
    listed, access = catalogued(checkpoint), credentials_digest(key, secret)
    return Bucket(base=base, prefix=f"{prefix}/" if prefix else "", listed=listed, access=access, web=web)
