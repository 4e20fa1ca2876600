"""Random ids and credentials."""

import os

from paddock_core.keys import ID_BYTES, SECRET_BYTES, ParsedKey, format_key, key_id, parse_key


def new_id(prefix: str) -> str:
    """An id such as `acc-4k2jd...`: a kind and 60 random bits."""
    return f"{prefix}-{key_id(os.urandom(ID_BYTES))}"


def new_credential(prefix: str) -> tuple[str, ParsedKey]:
    """A new credential as its holder keeps it, and its parts."""
    return renewed_credential(prefix, key_id(os.urandom(ID_BYTES)))


def renewed_credential(prefix: str, identifier: str) -> tuple[str, ParsedKey]:
    """A new secret for a credential that keeps its id."""
    text = format_key(prefix, identifier, os.urandom(SECRET_BYTES))
    parsed = parse_key(text)
    if parsed is None:
        raise AssertionError("a credential that was just formatted can be parsed")
    return text, parsed
