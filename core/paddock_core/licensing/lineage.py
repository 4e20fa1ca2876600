"""What a model was made from: its base, what was merged with that, their parents, and the models that taught it.

A model of the catalogue was made from itself. A registered one inherits the licenses of all its parents, and from each
of its teachers, on whose outputs it was trained, the clauses that also bind what is made with outputs. This is the one
place where an id becomes a model: whoever plans, serves or licenses a model asks `resolve` or `trace`, and both kinds
of model are one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import ModelEntry
from paddock_core.licensing.kinds import MODEL_KINDS
from paddock_core.planning.fit import FORMATS
from paddock_core.policy.documents import RegisteredModel

_Source = TypeVar("_Source", ModelEntry, RegisteredModel)
_DEEPEST = 16
"""Most generations that are followed."""
_MOST = 64
"""Most registered models that are followed for one lineage."""
_KEPT = 4096
"""Lineages that stay at hand: the same few are asked for all the time."""
_kept: dict[str, tuple[object, list["Lineage"], tuple["Lineage", ...], "Lineage"]] = {}
"""By id: what a lineage was made from, and the lineage, which stands for those very objects alone; none changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A model with its ancestors."""

    model: ModelEntry
    """The model as asked for; a registered one has the dimensions of its root, the modality and licenses of all its
    parents, and its own weights: none where it was registered without, or is only a part of a model."""
    ids: frozenset[str]
    """The model and every parent it was made from."""
    families: frozenset[str]
    """Those that all its parents are of: what is exempt in one family is not by being merged with another."""
    registered: RegisteredModel | None = None
    teachers: tuple["Lineage", ...] = ()
    """Those of the bases too."""
    output_licenses: tuple[str, ...] = ()
    """Licenses of the models whose outputs went into it, theirs in turn included."""

    @property
    def licenses(self) -> tuple[str, ...]:
        """Licenses of the materials it is made of."""
        return self.model.licenses


class LineageError(ValueError):
    """The lineage cannot be followed; the message says where and what to do."""


class LineageCycleError(LineageError):
    """A model was made from itself, by way of others perhaps, or from too many."""


def trace(*, model: str, registered: Mapping[str, RegisteredModel], catalog: Catalog) -> Lineage:
    """The lineage of a model.

    Raises:
        LineageError: a model in it is not known, or it leads back to itself.
    """
    return _Tracer(registered, catalog, {}).trace(model, frozenset())


def resolve(*, model: str, registered: Mapping[str, RegisteredModel], catalog: Catalog) -> ModelEntry | None:
    """The model with this id, of the catalogue or registered, or None where it, or what it was made from, is not known.

    A registered model that cannot be served has no weights; `unserved` says why.
    """
    entry = catalog.models.get(model)
    if entry is not None:
        return entry
    try:
        return trace(model=model, registered=registered, catalog=catalog).model
    except LineageError:
        return None


@dataclass(frozen=True, slots=True)
class _Tracer:
    """One question; what several ancestors share is followed once."""

    registered: Mapping[str, RegisteredModel]
    catalog: Catalog
    known: dict[str, Lineage]

    def trace(self, name: str, below: frozenset[str]) -> Lineage:
        entry = self.catalog.models.get(name)
        if entry is not None:
            return _remembered(name, entry, [], (), _catalogued)
        if name in self.known:
            return self.known[name]
        made = self.registered.get(name)
        if made is None:
            raise LineageError(f"no model {name} in the catalogue or registered: see `paddock model list`")
        if name in below or len(below) >= _DEEPEST or len(self.known) >= _MOST:
            raise LineageCycleError(
                f"model {name} is made from itself, or from too many generations: register its true base"
            )
        below = below | {name}
        parents = [self.trace(parent, below) for parent in (made.base, *made.merged_with)]
        direct = tuple(self.trace(teacher, below) for teacher in made.teachers)
        self.known[name] = _remembered(name, made, parents, direct, _made)
        return self.known[name]


def _remembered(
    name: str,
    source: _Source,
    parents: list[Lineage],
    direct: tuple[Lineage, ...],
    make: Callable[[_Source, list[Lineage], tuple[Lineage, ...]], Lineage],
) -> Lineage:
    """A pure function's answer, kept by the identity of what it was made from."""
    former = _kept.get(name)
    if former is not None and former[0] is source and _same(former[1], parents) and _same(former[2], direct):
        return former[3]
    if len(_kept) >= _KEPT:
        _kept.clear()
    found = make(source, parents, direct)
    _kept[name] = (source, parents, direct, found)
    return found


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _catalogued(entry: ModelEntry, _parents: list[Lineage], _direct: tuple[Lineage, ...]) -> Lineage:
    families = frozenset((entry.family, *entry.derived_from))
    return Lineage(model=entry, ids=frozenset((entry.id,)), families=families)


def _made(made: RegisteredModel, parents: list[Lineage], direct: tuple[Lineage, ...]) -> Lineage:
    base = parents[0]
    inherited = [teacher for parent in parents for teacher in parent.teachers]
    unique = {teacher.model.id: teacher for teacher in (*inherited, *direct)}
    from_outputs = [name for teacher in unique.values() for name in (*teacher.licenses, *teacher.output_licenses)]
    known = [name for parent in parents for name in parent.output_licenses]
    materials = replace(
        base.model,
        licenses=tuple(dict.fromkeys(name for parent in parents for name in parent.licenses)),
        modality=tuple(dict.fromkeys(sense for parent in parents for sense in parent.model.modality)),
    )
    return Lineage(
        model=_entry(made, materials),
        ids=frozenset((made.id,)).union(*(parent.ids for parent in parents)),
        families=base.families.intersection(*(parent.families for parent in parents)),
        registered=made,
        teachers=tuple(unique.values()),
        output_licenses=tuple(dict.fromkeys((*known, *from_outputs))),
    )


def _entry(made: RegisteredModel, base: ModelEntry) -> ModelEntry:
    """The made model as an entry like those of the catalogue: never with the weights of what it was made from."""
    entry = replace(base, id=made.id, title=made.id, public_name=made.public_name or made.id, weights={}, sources=())
    kind = MODEL_KINDS.get(made.kind)
    if made.weights is None or kind is None or not kind.whole:
        return entry
    engines = [engine.value for engine, form in FORMATS.items() if form == made.weights.format]
    engine = base.default_engine if base.default_engine in engines else next(iter(engines), base.default_engine)
    return replace(
        entry, weights={made.precision: made.weights}, default_precision=made.precision, default_engine=engine
    )


def sources(lineage: Lineage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What went into the model, `materials` and `outputs`, each with its licenses."""
    yield "materials", lineage.licenses
    if lineage.teachers:
        yield "outputs", lineage.output_licenses
