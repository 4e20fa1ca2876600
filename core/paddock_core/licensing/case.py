"""What a clause is given to judge, and what it answers."""

from dataclasses import dataclass

from msgspec import Struct

from paddock_core.catalog.types import Clause, LicenseEntry, ModelEntry
from paddock_core.licensing.index import FactsIndex
from paddock_core.licensing.lineage import Lineage
from paddock_core.licensing.types import Reason, Request, Role, Verb
from paddock_core.policy.documents import Acceptance, Entity

CLOCK_SKEW_SECONDS = 300.0
"""How far a decider's clock may lag behind the control plane's before a fresh acceptance counts as not yet given."""

COVERING: dict[Role, tuple[Role, ...]] = {
    Role.OPERATOR: (Role.OPERATOR,),
    Role.DEPLOYER: (Role.DEPLOYER,),
    Role.CONSUMER: (Role.CONSUMER, Role.DEPLOYER, Role.OPERATOR),
    Role.END_USER: (),
}
"""In which roles an entity may have accepted to act in a role: acceptance of the whole agreement covers consuming."""


class Case(Struct, frozen=True, kw_only=True):
    """One clause of one license, put to one entity in one role. A Struct, since a decision makes twenty."""

    request: Request
    entity: Entity
    role: Role
    model: ModelEntry
    license: LicenseEntry
    clause: Clause
    index: FactsIndex
    lineage: Lineage
    source: str = "materials"
    """`materials`: the model is the licensed one or made from it. `outputs`: it was trained on the licensed one's."""
    students: frozenset[str] = frozenset()
    """Families of the model that is to be improved with outputs; none where it is not named or not known."""

    @property
    def verb(self) -> Verb:
        return self.request.verb

    def acceptances(self) -> list[Acceptance]:
        """The entity's acceptances of this license that may cover the role, newest first, as far as they are given."""
        known = self.index.acceptances(self.entity.id, self.license.id)
        roles = COVERING[self.role]
        return [item for item in known if item.role in roles and item.at <= self.request.at + CLOCK_SKEW_SECONDS]

    def offer_command(self) -> str:
        """The command that mends a missing acceptance or statement."""
        # A model that is about to be registered is not there yet, so that no offer could name it.
        made = self.lineage.registered is not None
        what = f"--license {self.license.id}" if made else f"--model {self.model.id}"
        offer = f"paddock license offer --entity {self.entity.id} {what} --role {self.role.value}"
        offer += ' --signatory "NAME <MAIL>"'
        return f"`{offer}`, then its signatory runs `paddock license accept`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one clause says. `until` (Unix seconds) is when it may say otherwise although no fact changed."""

    reason: Reason = Reason.ALLOWED
    message: str = ""
    mendable: bool = True
    until: float | None = None
    acceptances: tuple[str, ...] = ()
    warning: str = ""
    """What must be mended although it is allowed for now."""

    @property
    def allowed(self) -> bool:
        return self.reason is Reason.ALLOWED


PASSED = Verdict()
