"""Objects that belong to entities, kept small: a follower of a large platform holds hundreds of thousands of them.

A decision reads those of one or two entities, so they lie packed in one bundle an entity: MessagePack, compressed
against a bundle that looks like all others, since entities accept the same words of the same licenses.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec


class Owned(Protocol):
    """An object that belongs to an entity."""

    @property
    def id(self) -> str: ...

    @property
    def entity(self) -> str: ...


T = TypeVar("T", bound=Owned)
_LEVEL = 1
_WINDOW = 32 * 1024
"""Bytes of the dictionary that deflate can look back to."""


class _Owner(msgspec.Struct):
    """What of a body says whose it is."""

    entity: str


class Packed(Mapping[str, T], Generic[T]):
    """Objects of one kind by id, as any mapping, and by entity (`of`), which is quick."""

    __slots__ = ("_bundles", "_decode", "_model", "_size")

    def __init__(self, kind: type[T], *, bundles: dict[str, bytes], model: bytes, size: int) -> None:
        self._decode = msgspec.msgpack.Decoder(tuple[kind, ...]).decode  # type: ignore[valid-type]
        self._bundles, self._model, self._size = bundles, model, size

    @classmethod
    def from_raw(cls, kind: type[T], bodies: Iterable[msgspec.Raw]) -> "Packed[T]":
        """From the JSON of each object. Raises msgspec.ValidationError where one does not fit the kind."""
        owner = msgspec.json.Decoder(_Owner).decode
        decode = msgspec.json.Decoder(kind).decode
        grouped: defaultdict[str, list[msgspec.Raw]] = defaultdict(list)
        for body in bodies:
            grouped[owner(body).entity].append(body)
        packed: Packed[T] = cls(kind, bundles={}, model=b"", size=0)
        for entity, mine in grouped.items():
            packed._put(entity, tuple(decode(body) for body in mine))
        return packed

    def of(self, entity: str) -> tuple[T, ...]:
        """The objects of an entity."""
        bundle = self._bundles.get(entity)
        if bundle is None:
            return ()
        inflate = zlib.decompressobj(zdict=self._model)
        return self._decode(inflate.decompress(bundle))

    def changed(self, news: Mapping[str, Any]) -> "Packed[T]":
        """A copy with these objects by id put in; None takes one out."""
        copy: Packed[T] = object.__new__(Packed)
        copy._decode, copy._model, copy._size = self._decode, self._model, self._size
        copy._bundles = dict(self._bundles)
        gone = {name for name, item in news.items() if item is None}
        owners = {item.entity for item in news.values() if item is not None}
        if gone:  # rare: records end by their state, and an id alone does not say whose it was
            owners |= {item.entity for item in self.values() if item.id in gone}
        for owner in owners:
            kept = {item.id: item for item in copy.of(owner) if item.id not in gone}
            kept |= {name: item for name, item in news.items() if item is not None and item.entity == owner}
            copy._put(owner, tuple(kept.values()))
        return copy

    def _put(self, entity: str, items: tuple[Any, ...]) -> None:
        self._size += len(items) - (len(self.of(entity)) if entity in self._bundles else 0)
        if not items:
            self._bundles.pop(entity, None)
            return
        plain = msgspec.msgpack.encode(items)
        self._model = self._model or plain[-_WINDOW:]
        deflate = zlib.compressobj(_LEVEL, zdict=self._model)
        self._bundles[entity] = deflate.compress(plain) + deflate.flush()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        return (item.id for item in self._items())

    def __getitem__(self, key: str) -> T:
        """Looks through everything: ask `of` where the entity is known."""
        for item in self._items():
            if item.id == key:
                return item
        raise KeyError(key)

    def _items(self) -> Iterator[T]:
        return (item for entity in self._bundles for item in self.of(entity))
