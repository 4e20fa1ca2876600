"""What the platform decides where the licenses leave room: one row, which every follower learns of."""

from dataclasses import asdict, fields

from paddock_core.policy.documents import LicensePolicy
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.licensing.models import LicensePolicyRow

_ID = "platform"


async def license_policy(session: AsyncSession) -> LicensePolicy:
    """The policy in force."""
    row = await session.get(LicensePolicyRow, _ID)
    if row is None:
        return LicensePolicy()
    return LicensePolicy(**{field.name: getattr(row, field.name) for field in fields(LicensePolicy)})


async def set_license_policy(session: AsyncSession, *, policy: LicensePolicy, actor: str) -> LicensePolicy:
    """Put another policy in force; gateways and the operator decide by it from the next request on."""
    values = {name: value for name, value in asdict(policy).items() if name != "id"}
    statement = insert(LicensePolicyRow).values(id=_ID, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
    event = Event(
        actor=actor,
        action="license.policy",
        subject=_ID,
        detail=values,
        changes=[PolicyChange(kind="license_policy", id=_ID, body=policy)],
    )
    await record(session, event)
    return policy
