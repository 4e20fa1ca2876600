"""Tokens that let a Job do what a license decision allowed: signed, bound to one model, valid for a while.

`dt.<base64url of JSON>.<HMAC-SHA256 in hex>`. Nothing is stored: the platform's key vouches for the content, and the
decision itself is made again when the token is used.
"""

import base64
import binascii
import hashlib
import hmac
import time
from dataclasses import dataclass

import msgspec

_PREFIX = "dt"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claims:
    verb: str
    model: str
    expires_at: float


class DecisionTokens:
    """Issues and reads decision tokens."""

    def __init__(self, *, platform_key: bytes, seconds: float) -> None:
        self._key = hmac.new(platform_key, b"decision-token", hashlib.sha256).digest()
        self._seconds = seconds

    def issue(self, *, model: str) -> tuple[str, float]:
        """A token for the download of a model, and the Unix time at which it expires."""
        expires_at = time.time() + self._seconds
        claims = msgspec.json.encode(_Claims(verb="download", model=model, expires_at=expires_at))
        payload = base64.urlsafe_b64encode(claims).decode().rstrip("=")
        return f"{_PREFIX}.{payload}.{self._sign(payload)}", expires_at

    def model_of(self, token: str) -> str | None:
        """The model that a token is for, or None if it is not one of ours or has expired."""
        parts = token.split(".")
        if len(parts) != 3 or parts[0] != _PREFIX:
            return None
        payload, signature = parts[1], parts[2]
        if not hmac.compare_digest(self._sign(payload).encode(), signature.encode()):
            return None
        try:
            content = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            claims = msgspec.json.decode(content, type=_Claims)
        except (binascii.Error, msgspec.DecodeError):
            return None
        return claims.model if claims.verb == "download" and claims.expires_at > time.time() else None

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()
