"""The key pair with which the pods of a deployment's groups let one another in: derived, never stored elsewhere."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

_KIND = b"ssh-ed25519"
_MAGIC = b"openssh-key-v1\0"
_BLOCK = 8
_LINE = 70


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 pair in OpenSSH's two file forms."""

    private: str
    public: str


@lru_cache(maxsize=4096)
def seed(*, platform_key: bytes, deployment_uid: str, rotation: int) -> bytes:
    """`HMAC-SHA256(platform_key, "group:<uid>:<rotation>")`: 32 bytes, as an ed25519 key is."""
    return hmac.new(platform_key, f"group:{deployment_uid}:{rotation}".encode(), hashlib.sha256).digest()


def key_pair(made_from: bytes) -> KeyPair:
    """The pair of a seed: always the same text, so that a Secret with it is written only once.

    The private file's form is written here (PROTOCOL.key of OpenSSH): libraries put a random number into it.
    """
    key = Ed25519PrivateKey.from_private_bytes(made_from)
    own = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = _string(_KIND) + _string(public)
    check = hashlib.sha256(b"check" + made_from).digest()[:4]
    secret = check * 2 + blob + _string(own + public) + _string(b"")
    padded = secret + bytes(range(1, -len(secret) % _BLOCK + 1))
    whole = _MAGIC + _string(b"none") * 2 + _string(b"") + (1).to_bytes(4) + _string(blob) + _string(padded)
    text = base64.b64encode(whole).decode()
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    private = "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])
    return KeyPair(private, f"{_KIND.decode()} {base64.b64encode(blob).decode()}\n")


def _string(content: bytes) -> bytes:
    return len(content).to_bytes(4) + content
