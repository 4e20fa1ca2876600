"""The form of every bearer credential: `<prefix>_<id>_<secret>_<crc>`.

The prefix says what it opens (`pk` an API key, `pa` a tenant's admin, `ps` a signatory, `pr` a reviewer of grants).
The id is public and is what logs may show; the secret is 32 random bytes in hex; the checksum is the CRC-32 of
everything before it, so that a mistyped or truncated credential is turned away before anything is looked up. Only
`secret_digest` is ever stored: the secret has 256 bits, so a plain SHA-256 cannot be guessed backwards.
"""

import base64
import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass, field

ID_CHARACTERS = 12
ID_BYTES = 8
"""Random bytes from which `key_id` makes an id (60 bits of them are used)."""
SECRET_BYTES = 32

API_KEY = "pk"
TENANT_ADMIN = "pa"
SIGNATORY = "ps"
REVIEWER = "pr"

SCOPES = {
    "chat": "ask for chat completions",
    "completions": "ask for completions of a text",
    "models:read": "list the models that it may call",
}
"""What an API key can be confined to. Names stay as they are: keys hold them."""

_SHAPE = re.compile(r"([a-z]{2,4})_([a-z2-7]{12})_([0-9a-f]{64})_([0-9a-f]{8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedKey:
    """A credential taken apart. The secret never shows in a `repr`."""

    prefix: str
    id: str
    secret: str = field(repr=False)


def key_id(random: bytes) -> str:
    """The id made from `ID_BYTES` random bytes: 12 characters of lower-case base32."""
    if len(random) < ID_BYTES:
        raise ValueError(f"an id needs {ID_BYTES} random bytes, got {len(random)}")
    return base64.b32encode(random[:ID_BYTES]).decode().lower()[:ID_CHARACTERS]


def format_key(prefix: str, key_id: str, secret: bytes) -> str:
    """The credential in the form that its holder keeps. `secret` is 32 random bytes."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, got {len(secret)}")
    body = f"{prefix}_{key_id}_{secret.hex()}"
    return f"{body}_{_checksum(body)}"


def parse_key(text: str) -> ParsedKey | None:
    """The parts of a credential, or None if its form or its checksum is wrong."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    prefix, identifier, secret, checksum = match.groups()
    if _checksum(text[: -len(checksum) - 1]) != checksum:
        return None
    return ParsedKey(prefix=prefix, id=identifier, secret=secret)


def secret_digest(secret: str) -> str:
    """What is stored of a secret: SHA-256 of its text, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def opens(secret: str, *, digest: str, previous: str = "", previous_until: float = 0.0, now: float) -> bool:
    """True if the secret is the one with this digest, or the one before it, while that still counts. `now` and
    `previous_until` are Unix seconds. What it takes to tell does not depend on how much of a secret is right."""
    presented = secret_digest(secret)
    current = hmac.compare_digest(presented, digest)
    former = hmac.compare_digest(presented, previous)
    return current or (former and now < previous_until)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
