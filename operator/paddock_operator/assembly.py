"""Wires the parts of the operator."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change

from paddock_operator.adapters.cluster import LightkubeCluster
from paddock_operator.adapters.cluster_time import ClusterClock
from paddock_operator.adapters.controlplane import HttpControlPlane
from paddock_operator.adapters.gateways import GatewayFollower
from paddock_operator.adapters.policy import PolicyFollower
from paddock_operator.benchmarking import BenchmarkBook
from paddock_operator.cache import Cache
from paddock_operator.cache_use import CacheBook
from paddock_operator.configured import config_of, load_of, rules_of
from paddock_operator.decide.outcome import Config
from paddock_operator.denying import Denials
from paddock_operator.documents import Documents
from paddock_operator.execute import Executor
from paddock_operator.gather import Gatherer
from paddock_operator.gpu_quota import GpuLedger
from paddock_operator.index import Index
from paddock_operator.lanes import Lanes
from paddock_operator.leader import LeaderElector
from paddock_operator.loop import Loop
from paddock_operator.models.loop import ModelLoop
from paddock_operator.models.reconcile import ModelReconciler
from paddock_operator.outside import Outside, Surroundings, real
from paddock_operator.pod_times import PodTimes
from paddock_operator.ports import Clock
from paddock_operator.probing import ProbeBook
from paddock_operator.process import Operator
from paddock_operator.purging import Purger
from paddock_operator.queue import WorkQueue
from paddock_operator.reconcile import Reconciler
from paddock_operator.report import Reporter
from paddock_operator.reviewing import Reviewer
from paddock_operator.secrets import SecretFile
from paddock_operator.settings import OperatorSettings
from paddock_operator.signals_book import SignalBook
from paddock_operator.telemetry import Telemetry
from paddock_operator.tenancy.keeper import TenancyKeeper
from paddock_operator.weights_progress import ProgressBook

PolicyHeard = Callable[[tuple[Change, ...] | None, PolicyView, PolicyView], None]

RELISTS_BEFORE_RESYNC = 0.8
"""The caches list anew a little more often than everything is looked at, so each look rests on a new list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What all parts stand on."""

    settings: OperatorSettings
    telemetry: Telemetry
    outside: Outside
    clock: Clock
    """The cluster's."""
    config: Config
    leader: LeaderElector
    cluster: LightkubeCluster
    control_plane: HttpControlPlane

    @property
    def relist_seconds(self) -> float:
        return self.settings.resync_seconds * RELISTS_BEFORE_RESYNC


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What hears of the world, and the queues that it wakes."""

    policy: PolicyFollower
    tell: list[PolicyHeard]
    """Who is told of a change of the policy, in this order."""
    ledger: GpuLedger
    loop: Loop
    models: ModelLoop
    documents: Documents
    cache: Cache
    signals: SignalBook
    benchmarks: BenchmarkBook
    lanes: Lanes
    probes: ProbeBook


@contextlib.asynccontextmanager
async def wired(
    settings: OperatorSettings, telemetry: Telemetry, surroundings: Surroundings = real
) -> AsyncIterator[Operator]:
    """Make every part, and close what must be closed."""
    async with surroundings(settings) as outside:
        yield assembled(settings, telemetry, outside)


def assembled(settings: OperatorSettings, telemetry: Telemetry, outside: Outside) -> Operator:
    """Every part, on this outside."""
    ground = _ground(settings, telemetry, outside)
    heard = _heard(ground)
    denials = Denials(control_plane=ground.control_plane)
    gatherer = _gatherer(ground, heard)
    purger, keeper = _purger(ground, heard), _keeper(ground, heard)
    heard.tell.extend((lambda *_: purger.policy_changed(), lambda *_: keeper.policy_changed()))
    return Operator(
        settings=ground.settings,
        cluster=ground.cluster,
        leader=ground.leader,
        policy=heard.policy,
        cache=heard.cache,
        documents=heard.documents,
        gatherer=gatherer,
        telemetry=ground.telemetry,
        loop=heard.loop,
        reconciler=_reconciler(ground, heard, gatherer=gatherer, denials=denials),
        models=heard.models,
        model_reconciler=_model_reconciler(ground, heard),
        purger=purger,
        keeper=keeper,
        denials=denials,
        reviewer=_reviewer(ground, heard, denials),
        pod_times=_pod_times(ground, heard),
        signals=heard.signals,
        ledger=heard.ledger,
        gateways=_gateways(ground, heard),
        benchmarks=heard.benchmarks,
        lanes=heard.lanes,
        probes=heard.probes,
        clock=ground.clock,
        follow=ground.outside.follow,
    )


def _ground(settings: OperatorSettings, telemetry: Telemetry, outside: Outside) -> _Ground:
    clock = ClusterClock(outside.clock)
    clock.listen(outside.api)
    # The Lease is what leadership is made of: its writes cannot ask for leadership themselves.
    leader = LeaderElector(
        store=LightkubeCluster(outside.api, may_write=lambda: None),
        clock=clock,
        namespace=settings.lease_namespace,
        identity=settings.identity,
    )
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    return _Ground(
        settings=settings,
        telemetry=telemetry,
        outside=outside,
        clock=clock,
        config=config_of(settings),
        leader=leader,
        cluster=LightkubeCluster(outside.api, may_write=leader.check),
        control_plane=HttpControlPlane(outside.internal),
    )


def _heard(ground: _Ground) -> _Heard:
    tell: list[PolicyHeard] = []
    policy = _policy(ground, tell)
    loop = _loop(ground, policy)
    models = ModelLoop(cluster=ground.cluster, clock=ground.clock, queue=_queue(ground.outside))
    lanes = Lanes()
    tell += [loop.policy_changed, lambda *_: models.policy_changed()]
    documents = Documents(
        cluster=ground.cluster, clock=ground.clock, changed=loop.heard, relist_seconds=ground.relist_seconds
    )
    return _Heard(
        policy=policy,
        tell=tell,
        ledger=GpuLedger(given=ground.config.given_gpus, term=lambda: ground.leader.term, wake=loop.wanted),
        loop=loop,
        models=models,
        documents=documents,
        cache=_cache(ground, loop),
        signals=SignalBook(
            clock=ground.clock,
            wake=loop.wanted,
            loaded=loop.loaded,
            confirmed=lambda key: loop.confirmed(key, serves=documents.is_served(key)),
            configured=bool(ground.settings.gateway_internal_urls),
            drain_limit_seconds=ground.settings.drain_limit_seconds,
        ),
        benchmarks=BenchmarkBook(
            bencher=ground.outside.bencher,
            clock=ground.clock,
            load=load_of(ground.settings),
            changed=loop.child_changed,
            late_seconds=loop.queue.oldest_age_seconds,
        ),
        lanes=lanes,
        probes=ProbeBook(
            prober=ground.outside.prober,
            clock=ground.clock,
            interval_seconds=ground.settings.probe_interval_seconds,
            lanes=lanes,
            changed=loop.wanted,
        ),
    )


def _policy(ground: _Ground, tell: list[PolicyHeard]) -> PolicyFollower:
    def changed(changes: tuple[Change, ...] | None, before: PolicyView, after: PolicyView) -> None:
        for hear in tell:
            hear(changes, before, after)

    return PolicyFollower(
        client=ground.outside.internal,
        clock=ground.clock,
        boot_id=ground.outside.boot_id,
        folder=ground.settings.cache_dir,
        heard=changed,
    )


def _loop(ground: _Ground, policy: PolicyFollower) -> Loop:
    index = Index(packaged_catalog(), registered=lambda: policy.current().view.models)
    return Loop(
        queue=_queue(ground.outside, waited=ground.telemetry.waited),
        index=index,
        clock=ground.clock,
        resync_seconds=ground.settings.resync_seconds,
    )


def _cache(ground: _Ground, loop: Loop) -> Cache:
    return Cache(
        cluster=ground.cluster,
        clock=ground.clock,
        changed=loop.child_changed,
        job_changed=loop.job_changed,
        gpu_resource=ground.settings.gpu_resource,
        fault_rules=ground.settings.fault_rules(),
        relist_seconds=ground.relist_seconds,
    )


def _purger(ground: _Ground, heard: _Heard) -> Purger:
    return Purger(
        cluster=ground.cluster,
        cache=heard.cache,
        control_plane=ground.control_plane,
        policy=heard.policy,
        catalog=packaged_catalog(),
        clock=ground.clock,
        config=ground.config,
    )


def _keeper(ground: _Ground, heard: _Heard) -> TenancyKeeper:
    return TenancyKeeper(
        cluster=ground.cluster,
        clock=ground.clock,
        policy=heard.policy,
        rules=rules_of(ground.settings),
        granted=heard.ledger.of_tenants,
        served=heard.cache.served,
        classes=heard.cache.device_classes,
    )


def _gatherer(ground: _Ground, heard: _Heard) -> Gatherer:
    return Gatherer(
        cluster=ground.cluster,
        cache=heard.cache,
        documents=heard.documents,
        policy=heard.policy,
        catalog=packaged_catalog(),
        probes=heard.probes,
        progress=ProgressBook(reader=ground.outside.progress, clock=ground.clock, lanes=heard.lanes),
        signals=heard.signals,
        ledger=heard.ledger,
        caches=CacheBook(reader=ground.outside.caches, clock=ground.clock, lanes=heard.lanes),
        benchmarks=heard.benchmarks,
        clock=ground.clock,
        platform_key=ground.config.platform_key,
    )


def _model_reconciler(ground: _Ground, heard: _Heard) -> ModelReconciler:
    return ModelReconciler(
        cluster=ground.cluster,
        registry=ground.control_plane,
        policy=heard.policy,
        catalog=packaged_catalog(),
        clock=ground.clock,
    )


def _pod_times(ground: _Ground, heard: _Heard) -> PodTimes:
    return PodTimes(
        cache=heard.cache,
        control_plane=ground.control_plane,
        clock=ground.clock,
        gpu_resource=ground.settings.gpu_resource,
    )


def _gateways(ground: _Ground, heard: _Heard) -> GatewayFollower:
    return GatewayFollower(
        session=ground.outside.session,
        urls=ground.settings.gateway_internal_urls,
        token=SecretFile(lambda: ground.settings.read_secret(ground.settings.internal_token_file)).read,
        book=heard.signals,
    )


def _reconciler(ground: _Ground, heard: _Heard, *, gatherer: Gatherer, denials: Denials) -> Reconciler:
    return Reconciler(
        gatherer=gatherer,
        documents=heard.documents,
        executor=Executor(
            cluster=ground.cluster,
            control_plane=ground.control_plane,
            cache=heard.cache,
            documents=heard.documents,
            config=ground.config,
            ended=gatherer.lost.ended,
            time=ground.clock.boottime,
        ),
        reporter=Reporter(cluster=ground.cluster, documents=heard.documents, gateway_url=ground.settings.gateway_url),
        ledger=heard.ledger,
        config=ground.config,
        telemetry=ground.telemetry,
        denied=denials.note,
    )


def _reviewer(ground: _Ground, heard: _Heard, denials: Denials) -> Reviewer:
    return Reviewer(
        settings=ground.settings,
        policy=heard.policy,
        catalog=packaged_catalog(),
        stored=heard.documents.get,
        deployments=heard.documents.all,
        inventory=heard.cache.inventory,
        refused=denials.refused,
    )


def _queue(outside: Outside, waited: Callable[[float], None] = lambda _seconds: None) -> WorkQueue:
    return WorkQueue(time=outside.clock.boottime, random_source=outside.chance, waited=waited)
