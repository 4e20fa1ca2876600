"""A signatory's answers, and what is still wrong with them."""

from collections.abc import Iterator
from dataclasses import dataclass

from paddock_core.catalog.types import LicenseEntry
from paddock_core.licensing.types import Role
from paddock_core.policy.documents import LicensePolicy

from paddock_controlplane.licensing.errors import AnswerMissing
from paddock_controlplane.licensing.models import CredentialRow
from paddock_controlplane.licensing.questions import promise, threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who signs."""

    name: str
    title: str
    email: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """The statement of monthly active users."""

    band: str
    month: str
    method: str
    affiliates_included: bool
    value: int | None = None
    current: int | None = None
    affiliates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the signatory answered."""

    person: Person
    jurisdiction: str
    users: Users | None
    flow_down: bool | None
    agree: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Something wrong with an answer; `at` is the place in the body of an acceptance."""

    at: str
    message: str


def flaws(
    entry: LicenseEntry, role: Role, answers: Answers, policy: LicensePolicy, credential: CredentialRow
) -> list[Flaw]:
    """Everything that is wrong with the answers, in the order in which it is asked."""
    found: list[Flaw] = []
    if answers.person.email.casefold() != credential.email.casefold():
        told = "the link was issued to another address: only that person signs with it; ask for a link of your own"
        found.append(Flaw(at="person.email", message=told))
    found.extend(_of_users(entry, role, answers.users, policy))
    if promise(entry, role) is not None and answers.flow_down is None:
        told = "not answered: does the entity pass the acceptable-use terms on to its users?"
        found.append(Flaw(at="flow_down", message=told))
    if not answers.agree:
        found.append(Flaw(at="agree", message="must be true: an acceptance that does not agree is none"))
    return found


def check_answers(
    entry: LicenseEntry, role: Role, answers: Answers, policy: LicensePolicy, credential: CredentialRow
) -> None:
    """Every question that the license asks of this role is answered, and as asked.

    Raises:
        AnswerMissing: names every answer that is not; its member `errors` has their places.
    """
    found = flaws(entry, role, answers, policy, credential)
    if found:
        told = "; ".join(f"{flaw.at}: {flaw.message}" for flaw in found)
        raise AnswerMissing(told, errors=[{"at": flaw.at, "message": flaw.message} for flaw in found])


def _of_users(entry: LicenseEntry, role: Role, users: Users | None, policy: LicensePolicy) -> Iterator[Flaw]:
    limit, at = threshold(entry, role, policy), "monthly_active_users"
    if limit is None:
        return
    if users is None:
        yield Flaw(at=at, message="not answered: state the band, month and method")
        return
    window = str(limit.params["window"])
    if users.month != window:
        yield Flaw(at=f"{at}.month", message=f"state them for {window}, the month of the license")
    if users.band == "le_700m" and (users.value or 0) > int(limit.params["value"]):
        yield Flaw(at=f"{at}.value", message="the value lies above the band le_700m: state gt_700m, or mend the value")
    if not users.affiliates_included:
        told = "count the products of affiliates too: the license asks for the sum"
        yield Flaw(at=f"{at}.affiliates_included", message=told)
    if policy.threshold == "conservative" and users.current is None:
        yield Flaw(at=f"{at}.current", message="this platform also asks for the users of the last full month")
