"""Removing what no license holds any more: the control plane's orders, and downloads that nobody licensed waits for.

Level-triggered like everything else: each look starts from the orders in the policy and from what the cluster holds,
does one idempotent step for each, and may be killed after any. An order waits until no pod runs the model; then its
weights Job goes, then the control plane is told that it begins (nobody can come to need the files after that), then
a Job removes them and tells their digests itself. The order disappears from the policy, and with it that Job.
"""

import asyncio
import logging
from collections.abc import Iterable

from paddock_core.catalog.loader import Catalog
from paddock_core.policy.documents import Purge
from paddock_core.resources import names

from paddock_operator.cache import Cache
from paddock_operator.decide import license  # noqa: A004
from paddock_operator.decide.outcome import Config
from paddock_operator.decide.weights import RETRY_SECONDS
from paddock_operator.errors import ConflictError, OperatorError
from paddock_operator.kinds import JOB, LLAMA_DEPLOYMENT, SECRET
from paddock_operator.leader import LeaderElector
from paddock_operator.manifests.render import PurgeRendering, render_purge
from paddock_operator.observed import parse
from paddock_operator.ports import Clock, Cluster, ControlPlane, Manifest, Policy, PolicySource
from paddock_operator.times import parse_time

log = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
BUSY_SECONDS = 1.0
WRITING = (names.WEIGHTS, names.ENGINE)
"""Components whose Jobs bring files onto the volume."""


class Purger:
    """One loop beside the workers; only the leader's does anything."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        control_plane: ControlPlane,
        policy: PolicySource,
        catalog: Catalog,
        clock: Clock,
        config: Config,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._control_plane = control_plane
        self._policy = policy
        self._catalog = catalog
        self._clock = clock
        self._config = config
        self._changed = asyncio.Event()

    def policy_changed(self) -> None:
        """Look soon."""
        self._changed.set()

    async def run(self, leader: LeaderElector) -> None:
        """Never returns. What fails is tried again with the next look."""
        while True:
            await leader.leading.wait()
            self._changed.clear()
            try:
                busy = await self.look()
            except OperatorError as error:
                log.warning("a purge did not get on", extra={"error": str(error)})
                busy = True
            try:
                async with asyncio.timeout(BUSY_SECONDS if busy else IDLE_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def look(self) -> bool:
        """One step for everything that is to go; true as long as something is. Raises OperatorError: look again."""
        policy = self._policy.current()
        if policy.expired:
            # What such a copy says may be over: nothing is taken away by it.
            return False
        orders = policy.view.purges
        for job in self._cache.jobs(names.PURGE):
            if _label(job, names.PURGE_ORDER) not in orders:
                await self._delete(job)
        for order in orders.values():
            await self._step(order)
        await self._end_downloads(policy)
        return bool(orders)

    async def _step(self, order: Purge) -> None:
        job = self._cache.find(JOB, namespace=names.WEIGHTS_NAMESPACE, name=names.purge_job_name(order.id))
        if job is not None:
            if self._failed_long_ago(job):
                await self._delete(job)
            return
        label = names.model_label(order.model)
        if order.state == "ordered" and self._cache.pods(component=names.SERVING, model=label):
            return
        writing = [item for item in self._writing() if _label(item, names.MODEL) == label]
        for item in writing:
            await self._delete(item)
        if writing or any(self._cache.pods(component=component, model=label) for component in WRITING):
            return
        token = await self._control_plane.start_purge(purge=order.id)
        if token is None:
            return
        for manifest in render_purge(PurgeRendering(order=order, token=token, config=self._config)):
            await self._cluster.apply(manifest)
        log.info("purge started", extra={"purge": order.id, "model": order.model, "why": order.why})

    def _writing(self) -> list[Manifest]:
        """Jobs that fetch a model's files, or make others from them."""
        return [job for component in WRITING for job in self._cache.jobs(component)]

    def _failed_long_ago(self, job: Manifest) -> bool:
        """A failed Job is left for people to look at for a while."""
        for item in job.get("status", {}).get("conditions") or ():
            if item["type"] == "Failed" and item["status"] == "True":
                return self._clock.now() - parse_time(item["lastTransitionTime"]) >= RETRY_SECONDS
        return False

    async def _end_downloads(self, policy: Policy) -> None:
        """A Job that still runs goes, if deployments wait for it and none of them is licensed any more."""
        running = [job for job in self._writing() if _runs(job)]
        if not running:
            return
        deployments = (await self._cluster.list(LLAMA_DEPLOYMENT)).items
        for job in running:
            label = _label(job, names.MODEL)
            waiting = [item for item in deployments if names.model_label(_model(item)) == label]
            if waiting and not any(self._licensed(item, policy) for item in waiting):
                log.info("work on files that are no longer licensed is ended", extra={"job": job["metadata"]["name"]})
                await self._delete(job)

    def _licensed(self, document: Manifest, policy: Policy) -> bool:
        """True if it is, and where that cannot be said: only what is certain takes something away."""
        deployment, problem = parse(document)
        tenant = policy.view.namespace_tenant(str(document["metadata"]["namespace"]))
        if problem is not None:
            return True
        if tenant is None:
            return False
        decision = license.ask(
            spec=deployment.spec, tenant=tenant, view=policy.view, catalog=self._catalog, at=policy.at
        )
        return decision.allowed

    async def _delete(self, job: Manifest) -> None:
        """A Job with its pods and its Secret; one that is gone already, or new under this name, is fine."""
        place = job["metadata"]
        if "deletionTimestamp" in place:
            return
        try:
            await self._cluster.delete(JOB, namespace=place["namespace"], name=place["name"], uid=place["uid"])
        except ConflictError:
            return
        await self._cluster.delete(SECRET, namespace=place["namespace"], name=place["name"])


def _label(manifest: Manifest, name: str) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(name, ""))


def _model(document: Manifest) -> str:
    return str(document.get("spec", {}).get("model", {}).get("id", ""))


def _runs(job: Manifest) -> bool:
    metadata, conditions = job["metadata"], _held(job.get("status", {}).get("conditions") or ())
    ended = "deletionTimestamp" in metadata or names.RESULT in (metadata.get("annotations") or {})
    return not ended and conditions.isdisjoint(("Complete", "Failed", "SuccessCriteriaMet"))


def _held(conditions: Iterable[Manifest]) -> set[str]:
    return {str(item["type"]) for item in conditions if item.get("status") == "True"}
