"""Daily sketches go after a while; a month keeps who was in its days."""

from datetime import date

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.active_users.models import UsersDayRow


async def forget_days(session: AsyncSession, *, before: date) -> None:
    """Drop the sketches of days before this one."""
    await session.execute(delete(UsersDayRow).where(UsersDayRow.day < before))
