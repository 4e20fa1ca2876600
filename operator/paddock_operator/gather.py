"""The reads of a round."""

from collections.abc import Iterable
from itertools import zip_longest

from msgspec.structs import replace
from paddock_core.catalog.loader import Catalog
from paddock_core.planning.fit import loaded
from paddock_core.resources import names
from paddock_core.serving.contract import METRICS_PORT, deployment_secret

from paddock_operator.benchmarking import BenchmarkBook, Candidate
from paddock_operator.cache import Cache
from paddock_operator.cache_use import CacheBook
from paddock_operator.decide import revisions
from paddock_operator.decide.copies import pod_url
from paddock_operator.decide.planned import ask_of
from paddock_operator.decide.prepare import SECRET_ROTATION
from paddock_operator.decide.rollout.gate import health_of
from paddock_operator.decide.rollout.types import Health
from paddock_operator.decide.scaling_advice import Demand
from paddock_operator.documents import Documents
from paddock_operator.gateways import Gateways
from paddock_operator.gpu_quota import GpuLedger, created_of
from paddock_operator.lost import LostBook
from paddock_operator.observed import Charged, Child, Observed, WeightsJob, label_of, parse
from paddock_operator.ports import Clock, Cluster, Key, Manifest, PolicySource
from paddock_operator.probing import ProbeBook, served_by
from paddock_operator.signals_book import SignalBook
from paddock_operator.stuck import EventBook, of_children, of_jobs
from paddock_operator.weights_progress import ProgressBook

Revisions = tuple[tuple[str, str], frozenset[tuple[str, str]]]
"""Uid and revision of an object, and of all that belongs to it."""


class Gatherer:
    """Looks at everything that bears on one key: the object and what belongs to it in the caches, the rest in books."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        documents: Documents,
        policy: PolicySource,
        catalog: Catalog,
        probes: ProbeBook,
        progress: ProgressBook,
        signals: SignalBook,
        ledger: GpuLedger,
        caches: CacheBook,
        benchmarks: BenchmarkBook,
        clock: Clock,
        platform_key: bytes,
    ) -> None:
        self._cache = cache
        self._documents = documents
        self._seen: dict[Key, Revisions] = {}
        self._policy = policy
        self._catalog = catalog
        self._probes = probes
        self._progress = progress
        self._signals = signals
        self._ledger = ledger
        self._caches = caches
        self._benchmarks = benchmarks
        self._clock = clock
        self._platform_key = platform_key
        self._events = EventBook(cluster=cluster, clock=clock)
        self.lost = LostBook(cluster=cluster, clock=clock)

    async def gather(self, key: Key) -> Observed:
        """One look. Raises ClusterError where the API server does not answer.

        What is granted is looked up last, with no `await` before the caller can book what it decides from that.
        """
        await self._ledger.counted()
        version = self._cache.version
        children = await self._children(key)
        document = self._documents.get(key)
        if document is None:
            self._seen.pop(key, None)
            self._probes.forget(key)
            return Observed(
                key=key,
                now=self._clock.now(),
                catalog=self._catalog,
                policy=self._policy.current(),
                children=children,
            )
        self._seen[key] = _revisions(document, children)
        deployment, problem = parse(document)
        looked = Observed(
            key=key,
            now=self._clock.now(),
            catalog=self._catalog,
            policy=self._policy.current(),
            inventory=self._cache.inventory(deployment.spec.placement),
            apis=self._cache.served(),
            deployment=deployment,
            problem=problem,
            children=children,
        )
        return await self._with_probes(looked, version=version)

    def knows(self, key: Key) -> bool:
        """True if the last look at a key saw what the caches hold now of it and of its children."""
        document = self._documents.get(key)
        return document is not None and self._seen.get(key) == _revisions(document, self._cache.children(key))

    async def _children(self, key: Key) -> tuple[Child, ...]:
        """All objects of a deployment, with those whose labels were taken off."""
        return await self.lost.look(lambda: self._cache.children(key))

    async def _with_probes(self, looked: Observed, *, version: int) -> Observed:
        looked = await self._with_answers(looked)
        weights, model = await self._weights(looked), names.model_label(looked.live.spec.model.id)
        stuck = (
            *of_children(looked.children, now=looked.now),
            *of_jobs(weights, self._cache.engines(model), now=looked.now),
        )
        warned = await self._events.ask(() if looked.deleting else stuck)
        # What is asked may take time: the caches may know better by now.
        children = looked.children if self._cache.version == version else await self._children(looked.key)
        gateways = self._signals.about(looked.uid)
        return replace(
            looked,
            now=self._clock.now(),
            policy=self._policy.current(),
            children=children,
            weights=weights,
            engines=self._cache.engines(model),
            warned=warned,
            gateways=gateways,
            demand=_demand(gateways),
            health=_health(gateways),
            charged=self._charged(looked),
            faults=self._cache.faults(),
            benchmarked=self._benchmarks.tries,
        )

    async def _with_answers(self, looked: Observed) -> Observed:
        """The same with what pods say themselves: that they answer, how fast, and how full their caches are."""
        pods = looked.leaders()
        if not pods or looked.deleting:
            self._probes.forget(looked.key)
            return looked
        secret = deployment_secret(platform_key=self._platform_key, deployment_uid=looked.uid, rotation=SECRET_ROTATION)
        told = await self._probes.ask(
            looked.key,
            pods,
            secret=secret,
            served=served_by(looked.live.status.routing),
            flowing=_flowing(self._signals.about(looked.uid)),
        )
        answering = [pod for pod in pods if pod.uid in told.probes and told.probes[pod.uid] is None]
        benchmarks = self._benchmarks.ask(
            looked.key,
            uid=looked.uid,
            candidates=[Candidate(revision=label_of(pod, names.REVISION), url=pod_url(pod)) for pod in answering],
            known=revisions.benchmarks(looked),
            secret=secret,
        )
        kv_use = await self._caches.ask(_cache_urls(looked, answering))
        return replace(
            looked,
            probes=told.probes,
            silent=told.silent,
            doubted=told.doubted,
            probe_after_seconds=told.again_seconds,
            benchmarks=benchmarks,
            kv_use=kv_use,
        )

    def _charged(self, looked: Observed) -> Charged:
        return self._ledger.charged(looked.key, created=created_of(looked.metadata), view=self._policy.current().view)

    async def _weights(self, looked: Observed) -> WeightsJob:
        model = looked.model
        precision = None if model is None else loaded(model=model, ask=ask_of(looked.live.spec))
        if model is None or precision is None:
            return WeightsJob(job=None)
        digest = names.model_digest(model, precision=precision)
        return await self._progress.asked(self._cache.weights(names.weights_job_name(digest)))


def _cache_urls(looked: Observed, answering: Iterable[Child]) -> dict[str, str]:
    """Metrics of each pod, by its uid, where the deployment is scaled by the use of its caches."""
    scaling = looked.live.spec.scaling
    if scaling is None or scaling.kv_use_percent is None:
        return {}
    return {pod.uid: pod_url(pod, port=METRICS_PORT) for pod in answering}


def _demand(gateways: Gateways) -> Demand | None:
    """What is asked, by all gateways together; None where none answers."""
    if not gateways.fresh:
        return None
    ttft = [revision.ttft_ms for revision in gateways.revisions]
    return Demand(
        in_flight=gateways.in_flight,
        held=gateways.held,
        idle_seconds=gateways.idle_seconds,
        ttft_ms=tuple(map(sum, zip_longest(*ttft, fillvalue=0))),
        complete=gateways.complete,
    )


def _flowing(gateways: Gateways) -> frozenset[str]:
    """Revisions from which gateways get answers."""
    return frozenset(item.revision for item in gateways.revisions if item.requests > item.errors)


def _health(gateways: Gateways) -> dict[str, Health]:
    """How each revision answers, by all gateways together."""
    revisions = gateways.revisions
    names_ = dict.fromkeys(item.revision for item in revisions)
    return {name: health_of(item for item in revisions if item.revision == name) for name in names_}


def _revisions(document: Manifest, children: Iterable[Child]) -> Revisions:
    metadata = document["metadata"]
    own = (metadata["uid"], metadata["resourceVersion"])
    return own, frozenset((child.uid, child.manifest["metadata"]["resourceVersion"]) for child in children)
