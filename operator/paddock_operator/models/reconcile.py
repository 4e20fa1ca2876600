"""One round for one LlamaModel: look, decide, act, report. Nothing is remembered that is not kept elsewhere."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import msgspec
from paddock_core.catalog.loader import Catalog
from paddock_core.resources.conditions import (
    ConditionReason,
    Finding,
    ModelConditionType,
    fails,
    holds,
    merge,
    unknown,
)
from paddock_core.resources.llamamodel import FINALIZER, Status

from paddock_operator.errors import ClusterError, ConflictError, ControlPlaneError, RegistrationRefusedError
from paddock_operator.kinds import LLAMA_MODEL
from paddock_operator.models.decide import REGISTERED, ModelOutcome, Step, decide
from paddock_operator.models.observed import ObservedModel, look
from paddock_operator.ports import Clock, Cluster, Manifest, ModelRegistry, PolicySource
from paddock_operator.report import event_about, transitions
from paddock_operator.times import format_time

log = logging.getLogger(__name__)

REFUSED_RETRY_SECONDS = 30.0


class ModelReconciler:
    """The steps of a round, wired."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        registry: ModelRegistry,
        policy: PolicySource,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._registry = registry
        self._policy = policy
        self._catalog = catalog
        self._clock = clock

    async def reconcile(self, name: str) -> float | None:
        """One round; after how many seconds to look again, None if only on change. Raises OperatorError: try again."""
        observed = await look(
            name,
            cluster=self._cluster,
            policy=self._policy.current(),
            catalog=self._catalog,
            now=self._clock.now(),
        )
        if observed is None:
            return None
        outcome = decide(observed)
        failure: ControlPlaneError | None = None
        try:
            told = await self._act(observed, outcome.steps)
        except RegistrationRefusedError as error:
            outcome = replace(outcome, look_after_seconds=REFUSED_RETRY_SECONDS)
            told = _refused(observed, error)
        except ControlPlaneError as error:
            failure = error
            text = f"{error}{_way_out(observed) if observed.deleting else ''}"
            told = unknown(ModelConditionType.REGISTERED, ConditionReason.CONTROL_PLANE_UNREACHABLE, text)
        if Step.REMOVE_FINALIZER in outcome.steps and told is None:
            return None
        await self._report(observed, outcome if told is None else replace(outcome, findings=_told(outcome, told)))
        if failure is not None:
            raise failure
        return outcome.look_after_seconds

    async def _act(self, observed: ObservedModel, steps: Sequence[Step]) -> Finding | None:
        """Take the steps in order; what the condition Registered says after them, None if what was found."""
        told = None
        for step in steps:
            match step:
                case Step.ADD_FINALIZER:
                    await self._finalizers(observed, wanted=True)
                case Step.PUT:
                    await self._registry.put_model(observed.model.registered())
                    told = REGISTERED
                case Step.DROP:
                    await self._registry.drop_model(observed.model.name)
                case Step.REMOVE_FINALIZER:
                    await self._finalizers(observed, wanted=False)
        return told

    async def _finalizers(self, observed: ObservedModel, *, wanted: bool) -> None:
        others = [name for name in observed.metadata.get("finalizers", ()) if name != FINALIZER]
        finalizers = [*others, FINALIZER] if wanted else others
        version = observed.metadata["resourceVersion"]
        patch: Manifest = {"metadata": {"finalizers": finalizers or None, "resourceVersion": version}}
        await self._cluster.merge(LLAMA_MODEL, namespace=None, name=observed.model.name, patch=patch)

    async def _report(self, observed: ObservedModel, outcome: ModelOutcome) -> None:
        """Write the status if it changed, and an Event for each transition. Raises ClusterError."""
        if not outcome.findings:
            return
        model, generation = observed.model, int(observed.metadata.get("generation", 0))
        old = model.status
        now = format_time(observed.now)
        conditions = merge(old=old.conditions, found=outcome.findings, generation=generation, now=now)
        new = Status(observed_generation=generation, licenses=outcome.licenses, conditions=conditions)
        if new == old:
            return
        head = {"apiVersion": LLAMA_MODEL.api_version, "kind": LLAMA_MODEL.name}
        place = {"name": model.name, "uid": observed.uid}
        await self._cluster.apply({**head, "metadata": place, "status": msgspec.to_builtins(new)}, subresource="status")
        for condition in transitions(old.conditions, conditions):
            try:
                await self._cluster.create(event_about({**head, **place}, condition, at=observed.now))
            except ConflictError:
                continue
            except ClusterError as error:
                log.warning("event not written", extra={"model": model.name, "error": str(error)})


def _way_out(observed: ObservedModel) -> str:
    """What a person may do who cannot wait: the registration stays, and has to be dropped by hand later."""
    name = observed.model.name
    patch = """-p '{"metadata":{"finalizers":null}}'"""
    return (
        ". It is being deleted, and goes when its registration is dropped; this is tried again every few minutes. By"
        f" force: `kubectl patch llamamodel {name} --type merge {patch}`, and `paddock model delete {name}` when the"
        " control plane is back"
    )


def _refused(observed: ObservedModel, error: RegistrationRefusedError) -> Finding:
    """What the control plane refuses: to register it, or to let it go while others were made from it."""
    kind = ModelConditionType.REGISTERED
    if observed.deleting:
        return holds(kind, error.reason, f"it is being deleted, and goes when it may: {error}")
    return fails(kind, error.reason, str(error))


def _told(outcome: ModelOutcome, told: Finding) -> tuple[Finding, ...]:
    others = [finding for finding in outcome.findings if finding.type != told.type]
    order = list(ModelConditionType)
    return tuple(sorted((*others, told), key=lambda finding: order.index(ModelConditionType(finding.type))))
