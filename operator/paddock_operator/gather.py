"""The reads of a round."""

from paddock_core.catalog.loader import Catalog
from paddock_core.planning.fit import loaded
from paddock_core.resources import names
from paddock_core.serving.contract import deployment_secret

from paddock_operator.cache import Cache
from paddock_operator.decide.desired import SECRET_ROTATION
from paddock_operator.decide.planned import ask_of
from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import LLAMA_DEPLOYMENT
from paddock_operator.observed import Observed, WeightsJob, parse
from paddock_operator.ports import Clock, Cluster, Key, PolicySource
from paddock_operator.probing import ProbeBook
from paddock_operator.stuck import EventBook, of_children, of_jobs
from paddock_operator.weights_progress import ProgressBook


class Gatherer:
    """Looks at everything that bears on one key: the object itself freshly, the rest from the caches."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        policy: PolicySource,
        catalog: Catalog,
        probes: ProbeBook,
        progress: ProgressBook,
        clock: Clock,
        platform_key: bytes,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._policy = policy
        self._catalog = catalog
        self._probes = probes
        self._progress = progress
        self._clock = clock
        self._platform_key = platform_key
        self._events = EventBook(cluster=cluster, clock=clock)

    async def gather(self, key: Key) -> Observed:
        """One look. Raises ClusterError where the API server does not answer."""
        children = self._cache.children(key)
        try:
            document = await self._cluster.get(LLAMA_DEPLOYMENT, namespace=key.namespace, name=key.name)
        except NotFoundError:
            return Observed(
                key=key,
                now=self._clock.now(),
                catalog=self._catalog,
                policy=self._policy.current(),
                children=children,
            )
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
        return await self._with_probes(looked)

    async def _with_probes(self, looked: Observed) -> Observed:
        probes: dict[str, str | None] = {}
        pods = looked.leaders()
        if pods and not looked.deleting:
            secret = deployment_secret(
                platform_key=self._platform_key, deployment_uid=looked.uid, rotation=SECRET_ROTATION
            )
            probes = await self._probes.ask(pods, secret=secret)
        weights, model = await self._weights(looked), names.model_label(looked.live.spec.model.id)
        stuck = (
            *of_children(self._cache.children(looked.key), now=looked.now),
            *of_jobs(weights, self._cache.engines(model), now=looked.now),
        )
        warned = await self._events.ask(() if looked.deleting else stuck)
        # All that was asked takes time: the caches may know better by now.
        return Observed(
            key=looked.key,
            now=self._clock.now(),
            catalog=looked.catalog,
            policy=self._policy.current(),
            inventory=looked.inventory,
            apis=looked.apis,
            deployment=looked.deployment,
            problem=looked.problem,
            children=self._cache.children(looked.key),
            weights=weights,
            engines=self._cache.engines(model),
            probes=probes,
            warned=warned,
        )

    async def _weights(self, looked: Observed) -> WeightsJob:
        model = looked.model
        precision = None if model is None else loaded(model=model, ask=ask_of(looked.live.spec))
        if model is None or precision is None:
            return WeightsJob(job=None)
        digest = names.model_digest(model, precision=precision)
        return await self._progress.asked(self._cache.weights(names.weights_job_name(digest)))
