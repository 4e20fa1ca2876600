"""One round for one key: gather, decide, execute, report. Nothing is remembered that the cluster does not hold."""

import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace
from paddock_core.resources.conditions import TRUE, ConditionReason, ConditionType, Finding, fails

from paddock_operator.condition_book import ConditionBook
from paddock_operator.decide.actions import Action, AddFinalizer, Delete
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Config, Outcome
from paddock_operator.decide.quota import settle
from paddock_operator.documents import Documents
from paddock_operator.errors import (
    ClusterError,
    ConflictError,
    ControlPlaneError,
    DownloadDeniedError,
    NotFoundError,
    OperatorError,
)
from paddock_operator.execute import Executor
from paddock_operator.gather import Gatherer
from paddock_operator.gpu_quota import GpuLedger, created_of
from paddock_operator.observed import Observed
from paddock_operator.ports import Key
from paddock_operator.report import Reporter
from paddock_operator.telemetry import Telemetry
from paddock_operator.times import parse_time

log = logging.getLogger(__name__)

DENIED_RETRY_SECONDS = 60.0
REFUSED_RETRY_SECONDS = 60.0
REFUSED_DO = (
    "Correct what it names in spec.placement; where that is not the tenant's, the platform team looks at the admission"
    " policy, webhook or quota that refuses, and at the operator's rights. It is tried again, at last every minute"
)
OUTDATED_RETRY_SECONDS = 0.1
"""The round saw an object that has changed since: the next one sees the change."""


class Reconciler:
    """The four steps, wired."""

    def __init__(
        self,
        *,
        gatherer: Gatherer,
        documents: Documents,
        executor: Executor,
        reporter: Reporter,
        ledger: GpuLedger,
        config: Config,
        telemetry: Telemetry,
        denied: Callable[[Observed, Outcome], None],
    ) -> None:
        self._gatherer = gatherer
        self._documents = documents
        self._executor = executor
        self._reporter = reporter
        self._ledger = ledger
        self._config = config
        self._telemetry = telemetry
        self._denied = denied
        self._drifted: set[Key] = set()

    @property
    def drifted(self) -> int:
        """Deployments that run what would be rendered otherwise now, as far as this process has looked at them."""
        return len(self._drifted)

    @property
    def conditions(self) -> ConditionBook:
        """How many deployments show which condition, as far as this process has looked at them."""
        return self._reporter.conditions

    async def reconcile(self, key: Key) -> float | None:
        """One round; after how many seconds to look again, None if only on change. Raises OperatorError: try again."""
        with self._telemetry.round(key):
            observed = await self._gatherer.gather(key)
            outcome = settle(observed, decide(observed, self._config))
            self._ledger.book(key, outcome.life.quota, created=created_of(observed.metadata))
            if await self._is_outdated(observed, outcome):
                return OUTDATED_RETRY_SECONDS
            self._denied(observed, outcome)
            (self._drifted.add if outcome.life.drifted else self._drifted.discard)(key)
            decided, told = outcome, False
            failure: OperatorError | None = None
            try:
                told, actions = await self._tell_grant(observed, outcome)
                writes, refused, needed = await self._executor.execute(actions, observed)
                outcome = _without_needed(observed, _with_refused(outcome, refused), needed)
            except (ClusterError, ControlPlaneError) as error:
                failure, writes = error, 0
                outcome = _told(outcome, error)
            done = (told and outcome is decided) or _finalizer_removed(observed, outcome)
            if not isinstance(failure, ConflictError) and not done:
                try:
                    changed = await self._reporter.report(observed, outcome)
                except (ConflictError, NotFoundError):
                    # Somebody was faster, or the event of its end was lost: either way it is looked at anew.
                    await self._documents.fresh(key)
                    return OUTDATED_RETRY_SECONDS
                log.debug("round", extra={"key": str(key), "writes": writes, "status_changed": changed})
        if isinstance(failure, DownloadDeniedError):
            return DENIED_RETRY_SECONDS
        if failure is not None:
            raise failure
        return outcome.look_after_seconds

    async def _tell_grant(self, observed: Observed, outcome: Outcome) -> tuple[bool, Sequence[Action]]:
        """Write the status first where GPUs were granted, so that a crash before the next write forgets none of them.

        Whether it was written, and the actions that are left: the finalizer goes on before the object is another one.
        """
        quota, noted = outcome.life.quota, None if observed.deployment is None else observed.live.status.quota
        if quota is None or quota.gpus <= (0 if noted is None else noted.gpus) or observed.deployment is None:
            return False, outcome.actions
        first = [action for action in outcome.actions if isinstance(action, AddFinalizer)]
        await self._executor.execute(first, observed)
        told = await self._reporter.report(observed, outcome)
        return told, [action for action in outcome.actions if not isinstance(action, AddFinalizer)]

    async def _is_outdated(self, observed: Observed, outcome: Outcome) -> bool:
        """What is taken away does not come back, so nothing is taken by an old look at what is wished."""
        if not any(isinstance(action, Delete) for action in outcome.actions):
            return False
        document = await self._documents.fresh(observed.key)
        if observed.deployment is None:
            # That nothing was heard of it does not say that it is gone: a watch may be silent, a list be late.
            return document is not None
        seen = observed.metadata["resourceVersion"]
        return document is None or document["metadata"]["resourceVersion"] != seen


def _finalizer_removed(observed: Observed, outcome: Outcome) -> bool:
    """True if the object is gone after this round, so that there is nobody to tell."""
    return observed.deleting and observed.has_finalizer and not observed.children and outcome.routing is None


def _with_refused(outcome: Outcome, refused: tuple[str, ...]) -> Outcome:
    """The same outcome, in which the last condition says what pods serve without, and which the cluster refused."""
    if not refused or not outcome.findings:
        return outcome
    *others, last = outcome.findings
    text = f"{last.message}; refused beside that, and tried again: {'; '.join(refused)}"
    wait = min(outcome.look_after_seconds or REFUSED_RETRY_SECONDS, REFUSED_RETRY_SECONDS)
    return replace(outcome, findings=(*others, replace(last, message=text)), look_after_seconds=wait)


def _without_needed(observed: Observed, outcome: Outcome, needed: tuple[str, ...]) -> Outcome:
    """The same outcome, in which Serving and Progressing say that Kubernetes refuses copies, or what they need."""
    if not needed:
        return outcome
    more = f" (and {len(needed) - 1} more)" if len(needed) > 1 else ""
    text = f"Kubernetes refuses {needed[0]}{more}, and nothing is made that needs it. {REFUSED_DO}"
    finding = fails(ConditionType.SERVING, ConditionReason.APPLY_FAILED, text)
    wait = _refused_for(observed)
    wait = wait if outcome.look_after_seconds is None else min(outcome.look_after_seconds, wait)
    return replace(outcome, findings=_replaced(outcome.findings, finding), refused=text, look_after_seconds=wait)


def _refused_for(observed: Observed) -> float:
    """For how long they have been refused, 1 s to a minute: so long is waited for the next try."""
    found = () if observed.deployment is None else observed.live.status.conditions
    since = [
        parse_time(item.last_transition_time)
        for item in found
        if item.type == ConditionType.PROGRESSING and item.reason == ConditionReason.APPLY_FAILED
    ]
    return min(max(1.0, observed.now - since[0]), REFUSED_RETRY_SECONDS) if since else 1.0


def _told(outcome: Outcome, error: OperatorError) -> Outcome:
    """The same outcome, in which the condition that the failed action served says what went wrong."""
    if isinstance(error, DownloadDeniedError):
        finding = fails(ConditionType.WEIGHTS_READY, ConditionReason.DOWNLOAD_DENIED, str(error))
    elif isinstance(error, ControlPlaneError):
        finding = fails(ConditionType.WEIGHTS_READY, ConditionReason.CONTROL_PLANE_UNREACHABLE, str(error))
    else:
        finding = fails(ConditionType.SERVING, ConditionReason.APPLY_FAILED, f"{error}; it is tried again")
    return replace(outcome, findings=_replaced(outcome.findings, finding))


def _replaced(findings: tuple[Finding, ...], new: Finding) -> tuple[Finding, ...]:
    """A serving deployment goes on serving when a write fails: a condition that holds goes on to, and says so too."""
    return tuple(_over(old, new) if old.type == new.type else old for old in findings)


def _over(old: Finding, new: Finding) -> Finding:
    return replace(old, message=f"{old.message}; but {new.message}") if old.status == TRUE else new
