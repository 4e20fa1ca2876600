"""What the operator's license decisions denied, counted and told to the control plane's audit log every minute."""

import asyncio
import logging

from paddock_core.audit.denials import DenialBook
from paddock_core.licensing.types import Reason, Role, Verb
from paddock_core.resources.conditions import ConditionType

from paddock_operator.decide.outcome import Outcome
from paddock_operator.errors import ControlPlaneError
from paddock_operator.leader import LeaderElector
from paddock_operator.observed import Observed
from paddock_operator.ports import ControlPlane, Manifest, Policy

log = logging.getLogger(__name__)

TELL_SECONDS = 60.0
_REASONS = frozenset(Reason)


class Denials:
    """The book, and the loop that empties it. A round never waits for it."""

    def __init__(self, *, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self.book = DenialBook()

    def note(self, observed: Observed, outcome: Outcome) -> None:
        """Count a round whose license decision was deny."""
        for finding in outcome.findings:
            denied = finding.type == ConditionType.LICENSE_ACCEPTED and finding.status == "False"
            if denied and observed.tenant is not None:
                model = observed.live.spec.model.id
                self._count(str(finding.reason), observed.tenant.entity, model, observed.policy.at)

    def refused(self, document: Manifest, refusal: str, policy: Policy) -> None:
        """Count what the webhook refused; `refusal` begins with the reason."""
        tenant = policy.view.namespace_tenant(str(document["metadata"].get("namespace", "")))
        model = str(document.get("spec", {}).get("model", {}).get("id", ""))
        if tenant is not None and model:
            self._count(refusal.partition(":")[0], tenant.entity, model, policy.at)

    def _count(self, reason: str, entity: str, model: str, at: float) -> None:
        """Only reasons of the license decision: other troubles are no denials."""
        if reason in _REASONS:
            role, verb = Role.DEPLOYER.value, Verb.DEPLOY.value
            self.book.add(entity=entity, role=role, verb=verb, model=model, reason=reason, at=at)

    async def run(self, leader: LeaderElector) -> None:
        """Never returns. What cannot be told now is told with the next minute's."""
        while True:
            await leader.leading.wait()
            await asyncio.sleep(TELL_SECONDS)
            await self.tell()

    async def tell(self) -> None:
        """Tell what was counted so far."""
        taken = self.book.take()
        if not taken:
            return
        try:
            await self._control_plane.tell_denials(taken)
        except ControlPlaneError as error:
            log.info("denials not told", extra={"error": str(error)})
            self.book.put_back(taken)
