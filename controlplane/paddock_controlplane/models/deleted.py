"""What is kept of a registered model that was deleted: the licenses of its bytes.

Without it, a deletion would make the bytes unknown here: they could come back under another base, and the end of a
license would no longer find the files.
"""

import msgspec
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import WeightSet
from paddock_core.licensing.lineage import Lineage, LineageError, trace
from paddock_core.licensing.registration import DeletedModel
from paddock_core.licensing.types import Facts
from paddock_core.policy.documents import RegisteredModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.models.tables import DeletedModelRow


async def known(database: Database) -> tuple[DeletedModel, ...]:
    """Every deleted model, whoever's it was: lineages cross tenants."""

    async def work(session: AsyncSession) -> tuple[DeletedModel, ...]:
        return tuple(_document(row) for row in await session.scalars(select(DeletedModelRow)))

    return await database.run(EVERYTHING, work)


async def keep(session: AsyncSession, *, model: RegisteredModel, facts: Facts, catalog: Catalog) -> None:
    """Keep what binds the bytes of a model that is being deleted, and of its owner's earlier ones with its id."""
    owner = model.owner or ""
    row = await session.get(DeletedModelRow, (model.id, owner), with_for_update=True)
    if row is None:
        row = DeletedModelRow(id=model.id, owner=owner, licenses=[], output_licenses=[], modality=[], weights=[])
        session.add(row)
    lineage = _lineage(model, facts, catalog)
    if lineage is not None:
        row.licenses = sorted({*row.licenses, *lineage.licenses})
        row.output_licenses = sorted({*row.output_licenses, *lineage.output_licenses})
        row.modality = sorted({*row.modality, *lineage.model.modality})
    weights = msgspec.to_builtins(model.weights)
    if weights is not None and weights not in row.weights:
        row.weights = [*row.weights, weights]
    await session.flush()


def _lineage(model: RegisteredModel, facts: Facts, catalog: Catalog) -> Lineage | None:
    try:
        return trace(model=model.id, registered={**facts.models, model.id: model}, catalog=catalog)
    except LineageError:
        # A newer catalogue lacks its root: nothing more is known of its licenses than an earlier deletion kept.
        return None


def _document(row: DeletedModelRow) -> DeletedModel:
    return DeletedModel(
        id=row.id,
        licenses=tuple(row.licenses),
        output_licenses=tuple(row.output_licenses),
        modality=tuple(row.modality),
        weights=msgspec.convert(row.weights, tuple[WeightSet, ...]),
    )
