"""The metadata of a GGUF file (versions 2 and 3, little-endian), without its tensors.

Layout: magic, version, number of tensors, number of pairs; then the pairs: key, type, value. A string is a 64-bit
length and its bytes, an array is its element type, a 64-bit count and its elements.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

from paddock_serving.errors import TokenizerError

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING: Final = 8
_ARRAY: Final = 9
_MAX_ELEMENTS: Final = 4_000_000
_MAX_STRING: Final = 16 * 1024 * 1024
_MAX_PAIRS: Final = 65_536


def read_metadata(path: Path) -> dict[str, Any]:
    """Every pair of the file. Raises TokenizerError if it is not a GGUF file that this version reads."""
    try:
        with path.open("rb", buffering=1 << 20) as handle:
            return _read(handle)
    except (struct.error, ValueError, OSError, RecursionError) as error:
        raise TokenizerError(f"{path.name} is not a readable GGUF file ({error}): fetch it again") from error


def _read(handle: BinaryIO) -> dict[str, Any]:
    magic, version, _tensors, pairs = struct.unpack("<4sIQQ", _exactly(handle, 24))
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError(f"magic {magic!r}, version {version}")
    metadata: dict[str, Any] = {}
    for _ in range(_bounded(pairs, _MAX_PAIRS)):
        key = _string(handle)
        metadata[key] = _value(handle, _number(handle, "I"))
    return metadata


def _value(handle: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(handle)
    if kind == _ARRAY:
        element, count = _number(handle, "I"), _bounded(_number(handle, "Q"), _MAX_ELEMENTS)
        if element in _SCALARS:
            layout = f"<{count}{_SCALARS[element]}"
            return list(struct.unpack(layout, _exactly(handle, struct.calcsize(layout))))
        return [_value(handle, element) for _ in range(count)]
    if kind not in _SCALARS:
        raise ValueError(f"a value of unknown type {kind}")
    return _number(handle, _SCALARS[kind])


def _number(handle: BinaryIO, code: str) -> Any:
    layout = f"<{code}"
    return struct.unpack(layout, _exactly(handle, struct.calcsize(layout)))[0]


def _string(handle: BinaryIO) -> str:
    return _exactly(handle, _bounded(_number(handle, "Q"), _MAX_STRING)).decode("utf-8", errors="replace")


def _bounded(count: int, limit: int) -> int:
    if count > limit:
        raise ValueError(f"a count of {count} where at most {limit} makes sense")
    return count


def _exactly(handle: BinaryIO, size: int) -> bytes:
    data = handle.read(size)
    if len(data) != size:
        raise ValueError("the file ends in the middle of its metadata")
    return data
