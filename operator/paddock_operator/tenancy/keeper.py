"""Keeps namespaces as the policy wants them: rights in those of tenants, bounds in those that serve.

Level-triggered like everything else: each look compares what there is with what should be, and may be killed after any
write. A namespace that does not exist yet gets its rights when it comes. An expired policy changes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from paddock_core.policy.view import PolicyView
from paddock_core.resources import names

from paddock_operator.comparing import contains
from paddock_operator.errors import ClusterError, ConflictError, NotFoundError, OperatorError
from paddock_operator.kinds import LIMIT_RANGE, LOCAL_QUEUES, NAMESPACE, RESOURCE_QUOTA, ROLE_BINDING, Kind, kind_of
from paddock_operator.leader import LeaderElector
from paddock_operator.ports import Clock, Cluster, Manifest, PolicySource
from paddock_operator.reflector import Reflector
from paddock_operator.tenancy import wanted
from paddock_operator.tenancy.wanted import Rules

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
RETRY_SECONDS = 2.0
TENANTS = f"{names.SELECTOR},{names.COMPONENT}={names.TENANT_SPACE}"
SERVING = f"{names.SELECTOR},{names.COMPONENT}={names.SERVING_SPACE}"


Keeps = Callable[[Manifest], bool]


class TenancyKeeper:
    """One loop beside the workers; only the leader's does anything.

    `granted` tells what each tenant's deployments have of GPUs, `served` which optional kinds the cluster has,
    `classes` which device classes.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        clock: Clock,
        policy: PolicySource,
        rules: Rules,
        granted: Callable[[PolicyView], Mapping[str, int]],
        served: Callable[[], frozenset[Kind]],
        classes: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._cluster = cluster
        self._policy = policy
        self._rules = rules
        self._granted = granted
        self._served = served
        self._classes = classes
        self._changed = asyncio.Event()

        def follow(kind: Kind, selector: str, *, optional: bool = False, keeps: Keeps = _any) -> Reflector:
            return Reflector(
                cluster=cluster,
                kind=kind,
                clock=clock,
                changed=self._hear,
                selector=selector,
                keeps=keeps,
                reduce=_reduced,
                optional=optional,
            )

        queues = {kind: follow(kind, SERVING, optional=True, keeps=_is_served) for kind in LOCAL_QUEUES}
        self._reflectors = {
            NAMESPACE: follow(NAMESPACE, ""),
            ROLE_BINDING: follow(ROLE_BINDING, TENANTS, keeps=_is_ours),
            RESOURCE_QUOTA: follow(RESOURCE_QUOTA, SERVING),
            LIMIT_RANGE: follow(LIMIT_RANGE, SERVING),
            **queues,
        }

    def reflectors(self) -> Iterable[Reflector]:
        """Every reflector, to be run and to be watched over."""
        return self._reflectors.values()

    def policy_changed(self) -> None:
        """Look soon."""
        self._changed.set()

    async def run(self, leader: LeaderElector) -> None:
        """Never returns. What fails is tried again with the next look."""
        while True:
            await leader.leading.wait()
            self._changed.clear()
            seconds = LOOK_SECONDS
            try:
                await self.look()
            except OperatorError as error:
                log.warning("namespaces are not as they should be", extra={"error": str(error)})
                seconds = RETRY_SECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Bring every namespace to what it should be. Raises OperatorError, after all others were looked at."""
        policy = self._policy.current()
        if policy.expired:
            return
        failed: list[ClusterError] = []
        bindings = self._reflectors[ROLE_BINDING].all()
        for binding in wanted.unwanted(bindings, policy.view):
            await _noting(self._remove(ROLE_BINDING, binding), failed)
        for kind, queue in self._queues_left():
            await _noting(self._remove(kind, queue), failed)
        for manifest in self._wanted(policy.view):
            await _noting(self._apply(manifest), failed)
        if failed:
            raise failed[0]

    def _wanted(self, view: PolicyView) -> list[Manifest]:
        existing = [item["metadata"] for item in self._reflectors[NAMESPACE].all()]
        alive = [str(item["name"]) for item in existing if "deletionTimestamp" not in item]
        serving = wanted.of_serving(
            view,
            alive,
            rules=self._rules,
            granted=self._granted(view),
            apis=self._served(),
            classes=self._classes(),
        )
        return [*wanted.of_tenants(view, alive), *serving]

    async def _apply(self, manifest: Manifest) -> None:
        place, reflector = manifest["metadata"], self._reflectors[kind_of(manifest)]
        live = reflector.get(namespace=place["namespace"], name=place["name"])
        if live is not None and contains(live, manifest):
            return
        try:
            await self._cluster.apply(manifest)
        except NotFoundError:
            # The namespace went meanwhile: when it comes again, so does the look.
            log.info("namespace is gone", extra={"namespace": place["namespace"]})

    def _queues_left(self) -> list[tuple[Kind, Manifest]]:
        """Queues that were made while the platform named a ClusterQueue, where it names none now."""
        if self._rules.cluster_queue:
            return []
        kind = next((kind for kind in LOCAL_QUEUES if self._reflectors[kind].served), None)
        return [] if kind is None else [(kind, queue) for queue in self._reflectors[kind].all()]

    async def _remove(self, kind: Kind, manifest: Manifest) -> None:
        place = manifest["metadata"]
        log.info("taken away", extra={"kind": kind.name, "namespace": place["namespace"]})
        try:
            await self._cluster.delete(kind, namespace=place["namespace"], name=place["name"], uid=place["uid"])
        except ConflictError:
            log.info("made anew meanwhile", extra={"kind": kind.name, "namespace": place["namespace"]})

    def _hear(self, _manifest: Manifest) -> None:
        self._changed.set()


async def _noting(doing: Awaitable[None], failed: list[ClusterError]) -> None:
    """One namespace that cannot be written must not keep the others waiting."""
    try:
        await doing
    except ClusterError as error:
        failed.append(error)


def _any(_manifest: Manifest) -> bool:
    return True


def _is_served(queue: Manifest) -> bool:
    place = queue["metadata"]
    return place["name"] == names.QUEUE and names.tenant_served_in(str(place["namespace"])) is not None


def _is_ours(binding: Manifest) -> bool:
    """Others may write our labels on theirs, which the operator may not touch."""
    return bool(binding["metadata"]["name"] == names.TENANT_BINDING)


def _reduced(manifest: Manifest) -> Manifest:
    """Without what others write: who manages which field, and how much of a quota is used."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    return {**{name: value for name, value in manifest.items() if name != "status"}, "metadata": metadata}
