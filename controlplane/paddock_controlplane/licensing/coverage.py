"""Whether an active grant covers an entity for a license, whatever its time: the decision looks at that."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.licensing.models import GrantRow


async def granted(session: AsyncSession, *, entity: str, license_id: str) -> bool:
    """True if one does."""
    found = await session.scalar(
        select(GrantRow.id)
        .where(
            GrantRow.state == "active",
            or_(GrantRow.entity == entity, GrantRow.affiliates.contains([entity])),
            GrantRow.licenses.contains([license_id]),
        )
        .limit(1)
    )
    return found is not None
