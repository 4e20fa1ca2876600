"""The journal's bytes: what a gateway writes before a request may begin, while it runs, and when it is settled.

A segment is `MAGIC` and then frames; a frame is length (u32), CRC-32 (u32) of kind and payload, kind (u8), payload
(MessagePack), little-endian. Segments are allocated ahead of use, so a length of zero means "no more frames here".
A frame that is cut off or does not match its CRC ends what `decode_frames` reads: a crash can tear only the last one.
Where a disk has damaged bytes in the middle, `salvage_frames` finds the frames behind them.
"""

import re
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from paddock_core.usage.record import UsageRecord

MAGIC = b"PDKJNL01"
INTENT = 1
CHECKPOINT = 2
SETTLEMENT = 3

_HEADER = struct.Struct("<IIB")
HEADER_BYTES = _HEADER.size
MAX_PAYLOAD = 64 * 1024


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was admitted: all that a usage record needs beside its outcome. Fields as in UsageRecord."""

    usage_id: str
    tenant: str
    key_id: str
    owner_tenant: str
    deployment: str
    model: str
    dialect: str
    operation: str
    stream: bool
    t_admit: float
    reserved_tokens: int
    input_tokens: int
    acceptance_id: str
    end_user_hash: str | None
    gateway_instance: str
    journal_seq: int
    project: str | None = None
    end_user_group: str | None = None


class Progress(msgspec.Struct, kw_only=True):
    """How far a request has come. Written to the journal now and then as its checkpoint."""

    usage_id: str
    at: float
    """Unix seconds of the last change."""
    engine_tokens: int = 0
    """Sum of the engine's counts so far."""
    sent_tokens: int = 0
    """Of those, the ones handed to the client's connection."""
    first_token_at: float | None = None


_CANDIDATE = re.compile(rb"(?=[\s\S]{2}[\x00\x01]\x00[\s\S]{4}[\x01-\x03])")
"""Where a header may begin: a length up to MAX_PAYLOAD, any checksum, a known kind."""

Payload = Intent | Progress | UsageRecord
_KINDS: dict[int, type[Payload]] = {INTENT: Intent, CHECKPOINT: Progress, SETTLEMENT: UsageRecord}
_NUMBERS: dict[type[Payload], int] = {kind: number for number, kind in _KINDS.items()}
_encoder = msgspec.msgpack.Encoder()
_decoders = {number: msgspec.msgpack.Decoder(kind) for number, kind in _KINDS.items()}
_kind_sums = {number: zlib.crc32(bytes([number])) for number in _KINDS}
EVERY_KIND = frozenset(_KINDS)


class FrameTooLargeError(ValueError):
    """A payload does not fit a frame; something unbounded got into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What a stretch of journal held."""

    payloads: tuple[Payload, ...]
    end: int
    """Offset after the last whole frame."""
    damaged: bool
    """True if bytes that are no whole frame follow `end`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvaged:
    """What a stretch of journal held, damage in its middle left out."""

    payloads: tuple[Payload, ...]
    end: int
    """Offset after the last whole frame."""
    gaps: tuple[tuple[int, int], ...]
    """Begin and end of each stretch without a whole frame that is followed by one."""
    torn: bool
    """True if bytes that are no whole frame follow `end`."""


def encode_frame(payload: Payload) -> bytes:
    """One frame. Raises FrameTooLargeError above MAX_PAYLOAD bytes."""
    body = _encoder.encode(payload)
    if len(body) > MAX_PAYLOAD:
        raise FrameTooLargeError(f"journal payload of {len(body)} bytes is larger than {MAX_PAYLOAD}")
    kind = _NUMBERS[type(payload)]
    checksum = zlib.crc32(body, _kind_sums[kind])
    return _HEADER.pack(len(body), checksum, kind) + body


def decode_frames(data: bytes, *, offset: int = 0, kinds: Collection[int] = EVERY_KIND) -> Decoded:
    """Read whole frames from `offset` on until the first that is not whole, or the zeros of unused space.

    Frames of other `kinds` are checked and passed over.
    """
    payloads: list[Payload] = []
    while True:
        if len(data) - offset < HEADER_BYTES:
            return Decoded(payloads=tuple(payloads), end=offset, damaged=any(data[offset:]))
        length, checksum, kind = _HEADER.unpack_from(data, offset)
        if length == 0:
            return Decoded(payloads=tuple(payloads), end=offset, damaged=checksum != 0 or kind != 0)
        if kind in kinds:
            payload = _read(data, offset, length, checksum, kind)
            if payload is None:
                return Decoded(payloads=tuple(payloads), end=offset, damaged=True)
            payloads.append(payload)
        elif _body(data, offset, length, checksum, kind) is None:
            return Decoded(payloads=tuple(payloads), end=offset, damaged=True)
        offset += HEADER_BYTES + length


def salvage_frames(data: bytes, *, offset: int = 0, kinds: Collection[int] = EVERY_KIND) -> Salvaged:
    """Read every whole frame from `offset` on, also behind damage. No damage can pass for a frame: each has its CRC.

    Frames of other `kinds` are checked and passed over.
    """
    payloads: list[Payload] = []
    gaps: list[tuple[int, int]] = []
    used = len(data.rstrip(b"\0"))
    while True:
        decoded = decode_frames(data, offset=offset, kinds=kinds)
        payloads += decoded.payloads
        found = _next_frame(data, decoded.end, used)
        if found is None:
            return Salvaged(
                payloads=tuple(payloads), end=decoded.end, gaps=tuple(gaps), torn=decoded.damaged or decoded.end < used
            )
        gaps.append((decoded.end, found))
        offset = found


def _next_frame(data: bytes, begin: int, end: int) -> int | None:
    for candidate in _CANDIDATE.finditer(data, begin, max(begin, end)):
        start = candidate.start()
        if _read(data, start, *_HEADER.unpack_from(data, start)) is not None:
            return start
    return None


def _body(data: bytes, offset: int, length: int, checksum: int, kind: int) -> bytes | None:
    start = offset + HEADER_BYTES
    if length > MAX_PAYLOAD or start + length > len(data) or kind not in _decoders:
        return None
    body = data[start : start + length]
    return body if zlib.crc32(body, _kind_sums[kind]) == checksum else None


def _read(data: bytes, offset: int, length: int, checksum: int, kind: int) -> Payload | None:
    body = _body(data, offset, length, checksum, kind)
    if body is None:
        return None
    try:
        return _decoders[kind].decode(body)
    except msgspec.DecodeError:
        return None
