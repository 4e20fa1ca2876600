"""Tokens that let a Job do what was decided, a download or a purge: signed, bound to one subject, valid for a while.

`dt.<base64url of JSON>.<HMAC-SHA256 in hex>`. Nothing is stored: the platform's key vouches for the content, and the
decision itself is made again when the token is used.
"""

import base64
import binascii
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Literal

import msgspec

_PREFIX = "dt"


Verb = Literal["download", "purge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token is for: `subject` is a model to download, or a purge. `expires_at` is Unix time in seconds."""

    verb: Verb
    subject: str
    expires_at: float


class DecisionTokens:
    """Issues and reads decision tokens."""

    def __init__(self, *, platform_key: bytes, seconds: float) -> None:
        self._key = hmac.new(platform_key, b"decision-token", hashlib.sha256).digest()
        self._seconds = seconds

    def issue(self, *, subject: str, verb: Verb = "download") -> tuple[str, float]:
        """A token for this, and the Unix time at which it expires."""
        expires_at = time.time() + self._seconds
        claims = msgspec.json.encode(Claims(verb=verb, subject=subject, expires_at=expires_at))
        payload = base64.urlsafe_b64encode(claims).decode().rstrip("=")
        return f"{_PREFIX}.{payload}.{self._sign(payload)}", expires_at

    def claims_of(self, token: str) -> Claims | None:
        """What a token is for, or None if it is not one of ours or has expired."""
        parts = token.split(".")
        if len(parts) != 3 or parts[0] != _PREFIX:
            return None
        payload, signature = parts[1], parts[2]
        if not hmac.compare_digest(self._sign(payload).encode(), signature.encode()):
            return None
        try:
            content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            claims = msgspec.json.decode(content, type=Claims)
        except (binascii.Error, msgspec.DecodeError):
            return None
        return claims if claims.expires_at > time.time() else None

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()
