"""What a license asks of whoever accepts it in a role, read from its clauses."""

from dataclasses import dataclass

from paddock_core.catalog.types import Clause, LicenseEntry
from paddock_core.licensing.clauses.acceptable_use import PROMISING_ROLES
from paddock_core.licensing.clauses.threshold import bound_roles
from paddock_core.licensing.types import Role
from paddock_core.policy.documents import LicensePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of an offer; `field` is where the acceptance carries the answer."""

    field: str
    text: str
    month: str | None = None
    """The month that the license names, YYYY-MM, where users are asked for."""
    threshold: int | None = None
    """The number of users above which the licensor's grant is needed."""
    current: bool = False
    """The users of the last full month are asked for too."""
    promise: str | None = None
    """The duty that is to be promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """A clause in plain words."""

    clause: str
    text: str


def duties(entry: LicenseEntry) -> list[Duty]:
    """Every duty of a license."""
    return [Duty(clause=f"{entry.id}#{clause.id}", text=clause.duty) for clause in entry.clauses]


def threshold(entry: LicenseEntry, role: Role, policy: LicensePolicy) -> Clause | None:
    """The clause that asks for a statement of monthly active users, or None if this role is not asked."""
    return next(
        (
            clause
            for clause in entry.clauses
            if clause.type == "scale_threshold" and role.value in bound_roles(params=clause.params, policy=policy)
        ),
        None,
    )


def promise(entry: LicenseEntry, role: Role) -> Clause | None:
    """The clause that asks for the promise to pass terms on, or None if this role is not asked."""
    return next(
        (
            clause
            for clause in entry.clauses
            if clause.params.get("flow_down") and role.value in clause.params.get("flow_down_roles", PROMISING_ROLES)
        ),
        None,
    )


def questions(entry: LicenseEntry, role: Role, policy: LicensePolicy) -> list[Question]:
    """What the signatory is asked."""
    asked = [
        Question(field="person", text="Who signs: name, title, e-mail, and by what authority for the entity?"),
        Question(field="jurisdiction", text="In which country is the entity established (two-letter code)?"),
    ]
    limit, passing_on = threshold(entry, role, policy), promise(entry, role)
    if limit is not None:
        asked.append(_users(limit, careful=policy.threshold == "conservative"))
    if passing_on is not None:
        duty = passing_on.duty
        asked.append(Question(field="flow_down", text=f"Does the entity promise this? {duty}", promise=duty))
    asked.append(Question(field="agree", text=f"Does the entity agree to {entry.title} as {role.value}?"))
    return asked


def _users(limit: Clause, *, careful: bool) -> Question:
    number, month = int(limit.params["value"]), str(limit.params["window"])
    text = (
        f"Did all products and services of the entity and its affiliates together have at most (le_700m) or more "
        f"than (gt_700m) {number:,} monthly active users in {month}, and how was that counted?"
    )
    if careful:
        text += " How many were there in the last full month (current)?"
    return Question(field="monthly_active_users", text=text, month=month, threshold=number, current=careful)
