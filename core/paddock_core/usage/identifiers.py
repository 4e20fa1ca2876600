"""UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then random bits. Sorts by time of admission."""

RANDOM_BYTES = 10


def uuid7(*, unix_ms: int, random: bytes) -> str:
    """The canonical text form. `random` is at least 10 random bytes, of which 74 bits are used."""
    if len(random) < RANDOM_BYTES:
        raise ValueError(f"a UUIDv7 needs {RANDOM_BYTES} random bytes, got {len(random)}")
    bits = int.from_bytes(random[:RANDOM_BYTES], "big")
    value = (unix_ms & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (bits >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | bits & 0x3FFF_FFFF_FFFF_FFFF
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
