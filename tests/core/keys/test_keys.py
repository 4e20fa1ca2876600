"""The form of credentials."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.keys import API_KEY, SIGNATORY, TENANT_ADMIN, format_key, key_id, opens, parse_key, secret_digest

SECRETS = st.binary(min_size=32, max_size=32)
IDS = st.binary(min_size=8, max_size=8).map(key_id)


@given(prefix=st.sampled_from([API_KEY, TENANT_ADMIN, SIGNATORY]), identifier=IDS, secret=SECRETS)
def test_a_formatted_key_is_parsed_into_its_parts(prefix: str, identifier: str, secret: bytes) -> None:
    parsed = parse_key(format_key(prefix, identifier, secret))
    assert parsed is not None
    assert (parsed.prefix, parsed.id, parsed.secret) == (prefix, identifier, secret.hex())


@given(identifier=IDS, secret=SECRETS, at=st.integers(0, 200), letter=st.sampled_from(string.ascii_letters + "_0"))
def test_one_changed_character_is_noticed(identifier: str, secret: bytes, at: int, letter: str) -> None:
    key = format_key(API_KEY, identifier, secret)
    at %= len(key)
    changed = key[:at] + letter + key[at + 1 :]
    assert (parse_key(changed) is not None) == (changed == key)


@given(st.text(max_size=150))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    parsed = parse_key(text)
    assert parsed is None or format_key(parsed.prefix, parsed.id, bytes.fromhex(parsed.secret)) == text


def test_the_secret_does_not_show() -> None:
    parsed = parse_key(format_key(API_KEY, key_id(bytes(8)), bytes(range(32))))
    assert parsed is not None
    assert parsed.secret not in repr(parsed)
    assert len(secret_digest(parsed.secret)) == 64


def test_too_short_material_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        format_key(API_KEY, "a" * 12, b"short")
    with pytest.raises(ValueError, match="random bytes"):
        key_id(b"short")


@given(current=SECRETS, former=SECRETS, other=SECRETS, until=st.floats(0, 1e10), now=st.floats(0, 1e10))
def test_a_former_secret_opens_until_its_time_and_no_other_ever(
    current: bytes, former: bytes, other: bytes, until: float, now: float
) -> None:
    kept: dict[str, Any] = {
        "digest": secret_digest(current.hex()),
        "previous": secret_digest(former.hex()),
        "previous_until": until,
    }
    assert opens(current.hex(), **kept, now=now)
    assert opens(former.hex(), **kept, now=now) == (now < until or former == current)
    assert opens(other.hex(), **kept, now=now) == (other == current or (other == former and now < until))
    assert not opens("", digest=kept["digest"], now=now)
