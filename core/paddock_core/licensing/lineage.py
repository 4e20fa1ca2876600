"""What a model was made from: its base, the base's base, and the models on whose outputs it was trained.

A model of the catalogue was made from itself. A registered one inherits the licenses of its base, and from each of its
teachers the clauses that also bind what is made with outputs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import ModelEntry
from paddock_core.policy.documents import RegisteredModel

_DEEPEST = 16
"""Most generations that are followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A model with its ancestors."""

    model: ModelEntry
    """The model as asked for; a registered one has the dimensions, modality and licenses of its root."""
    ids: frozenset[str]
    """The model and every base it was made from."""
    families: frozenset[str]
    registered: RegisteredModel | None = None
    teachers: tuple["Lineage", ...] = ()
    """Those of the bases too."""

    @property
    def licenses(self) -> tuple[str, ...]:
        """Licenses of the materials it is made of."""
        return self.model.licenses

    @property
    def output_licenses(self) -> tuple[str, ...]:
        """Licenses of the models whose outputs went into it, theirs in turn included."""
        found = [name for teacher in self.teachers for name in (*teacher.licenses, *teacher.output_licenses)]
        return tuple(dict.fromkeys(found))


class LineageError(ValueError):
    """The lineage cannot be followed; the message says where and what to do."""


def trace(*, model: str, registered: Mapping[str, RegisteredModel], catalog: Catalog) -> Lineage:
    """The lineage of a model.

    Raises:
        LineageError: a model in it is not known, or it leads back to itself.
    """
    return _trace(model, registered, catalog, frozenset())


def _trace(name: str, registered: Mapping[str, RegisteredModel], catalog: Catalog, below: frozenset[str]) -> Lineage:
    entry = catalog.models.get(name)
    if entry is not None:
        return Lineage(model=entry, ids=frozenset((name,)), families=frozenset((entry.family, *entry.derived_from)))
    made = registered.get(name)
    if made is None:
        raise LineageError(f"no model {name} in the catalogue or registered: see `paddock model list`")
    if name in below or len(below) >= _DEEPEST:
        raise LineageError(f"model {name} is made from itself, or from too many generations: register its true base")
    below = below | {name}
    base = _trace(made.base, registered, catalog, below)
    teachers = tuple(_trace(teacher, registered, catalog, below) for teacher in made.teachers)
    model = replace(base.model, id=made.id, title=made.id, public_name=made.public_name or made.id)
    return Lineage(
        model=model,
        ids=base.ids | {name},
        families=base.families,
        registered=made,
        teachers=(*base.teachers, *teachers),
    )


def sources(lineage: Lineage) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What went into the model, `materials` and `outputs`, each with its licenses."""
    yield "materials", lineage.licenses
    if lineage.teachers:
        yield "outputs", lineage.output_licenses
