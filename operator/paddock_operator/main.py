"""`paddock-operator`: reads the settings, wires the parts, runs them until SIGTERM."""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import metadata

import uvloop
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from pydantic import ValidationError

from paddock_operator.adapters.cluster import LightkubeCluster
from paddock_operator.adapters.controlplane import HttpControlPlane
from paddock_operator.adapters.gateways import GatewayFollower
from paddock_operator.adapters.policy import PolicyFollower
from paddock_operator.admission import Review, review
from paddock_operator.benchmarking import BenchmarkBook
from paddock_operator.cache import Cache
from paddock_operator.cache_use import CacheBook
from paddock_operator.decide.needs import place_problem
from paddock_operator.decide.outcome import Config
from paddock_operator.denying import Denials
from paddock_operator.documents import Documents
from paddock_operator.errors import OperatorError
from paddock_operator.execute import Executor
from paddock_operator.gather import Gatherer
from paddock_operator.gpu_quota import GpuLedger
from paddock_operator.health import Health
from paddock_operator.index import Index
from paddock_operator.leader import LeaderElector
from paddock_operator.logs import configure_logging
from paddock_operator.loop import Loop
from paddock_operator.models.loop import ModelLoop
from paddock_operator.models.reconcile import ModelReconciler
from paddock_operator.networks import offered
from paddock_operator.outside import Follow, Outside, Surroundings, real
from paddock_operator.overdue import overdue
from paddock_operator.pod_times import PodTimes
from paddock_operator.ports import Clock, Load, Manifest
from paddock_operator.probing import ProbeBook
from paddock_operator.purging import Purger
from paddock_operator.queue import WorkQueue
from paddock_operator.reconcile import Reconciler
from paddock_operator.reflector import Reflector
from paddock_operator.report import Reporter
from paddock_operator.secrets import SecretFile
from paddock_operator.settings import OperatorSettings
from paddock_operator.signals_book import SignalBook
from paddock_operator.telemetry import Telemetry
from paddock_operator.tenancy.keeper import TenancyKeeper
from paddock_operator.tenancy.wanted import Rules
from paddock_operator.weights_progress import ProgressBook

log = logging.getLogger(__name__)

SILENT_SECONDS = 180.0
RESYNCS_TO_MISS = 3
SET_ASIDE_SECONDS = 120.0
RELISTS_BEFORE_RESYNC = 0.8
"""The caches list anew a little more often than everything is looked at, so each look rests on a new list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """The wired parts."""

    settings: OperatorSettings
    cluster: LightkubeCluster
    leader: LeaderElector
    policy: PolicyFollower
    cache: Cache
    documents: Documents
    gatherer: Gatherer
    loop: Loop
    reconciler: Reconciler
    models: ModelLoop
    model_reconciler: ModelReconciler
    purger: Purger
    keeper: TenancyKeeper
    denials: Denials
    pod_times: PodTimes
    signals: SignalBook
    gateways: GatewayFollower
    ledger: GpuLedger
    benchmarks: BenchmarkBook
    clock: Clock
    telemetry: Telemetry
    follow: Follow

    def reflectors(self) -> tuple[Reflector, ...]:
        """Everything that is followed."""
        return (self.documents.reflector, *self.cache.reflectors(), *self.keeper.reflectors(), self.models.reflector)

    def deletable(self) -> Iterable[Manifest]:
        """Every object that has a finalizer of ours."""
        return (*self.documents.all(), *self.models.reflector.all())

    def judge(self, new: Manifest, old: Manifest | None) -> Review:
        """The webhook's question."""
        policy = self.policy.current()
        answer = review(
            new=new,
            old=old,
            policy=policy,
            catalog=packaged_catalog(),
            priorities=self.settings.priority_classes,
            placed=partial(
                place_problem,
                schedulers=self.settings.scheduler_names,
                queues=self.settings.volcano_queues,
                taints=self.settings.toleration_keys,
            ),
        )
        if answer.refusal is not None:
            self.denials.refused(new, answer.refusal, policy)
        return answer

    async def run(self) -> None:
        """Until SIGTERM; any part that fails ends all, and whoever supervises the process starts it again."""
        self.policy.load()
        async with asyncio.TaskGroup() as group:
            # All tasks begin before kopf does: at its end it waits for those that began after it.
            tasks = [group.create_task(reflector.run()) for reflector in self.reflectors()]
            tasks.append(group.create_task(self.policy.run()))
            tasks.append(group.create_task(self._lead()))
            resyncing = self.loop.resync_forever(self.cache, self.leader, self.gatherer.knows)
            tasks.append(group.create_task(resyncing))
            tasks.append(group.create_task(self.loop.measure_lag(self.telemetry.lagged)))
            tasks.extend(
                group.create_task(self.loop.work(self.reconciler, self.leader)) for _ in range(self.settings.workers)
            )
            tasks.append(group.create_task(self.models.work(self.model_reconciler, self.leader)))
            tasks.append(group.create_task(self.purger.run(self.leader)))
            tasks.append(group.create_task(self.keeper.run(self.leader)))
            tasks.append(group.create_task(self.denials.run(self.leader)))
            tasks.append(group.create_task(self.pod_times.run(self.leader)))
            tasks.append(group.create_task(self.gateways.run(self.leader)))
            tasks.append(group.create_task(self.ledger.run(self.leader, self.cluster)))
            tasks.append(group.create_task(self.benchmarks.run()))
            await asyncio.sleep(0)
            await self.follow(settings=self.settings, judge=self.judge)
            for task in tasks:
                task.cancel()

    async def _lead(self) -> None:
        """Only with full caches: a decision from half a cache would create what is there already."""
        for reflector in self.reflectors():
            await reflector.synced.wait()
        await self.leader.run()


@contextlib.asynccontextmanager
async def wired(
    settings: OperatorSettings, telemetry: Telemetry, surroundings: Surroundings = real
) -> AsyncIterator[Operator]:
    """Make every part, and close what must be closed."""
    async with surroundings(settings) as outside:
        yield assembled(settings, telemetry, outside)


def assembled(settings: OperatorSettings, telemetry: Telemetry, outside: Outside) -> Operator:
    """Every part, on this outside."""
    clock = outside.clock
    catalog = packaged_catalog()
    config = config_of(settings)
    # The Lease is what leadership is made of: its writes cannot ask for leadership themselves.
    leader = LeaderElector(
        store=LightkubeCluster(outside.api, may_write=lambda: None),
        clock=clock,
        namespace=settings.lease_namespace,
        identity=settings.identity,
    )
    cluster = LightkubeCluster(outside.api, may_write=leader.check)
    index = Index(catalog, registered=lambda: policy.current().view.models)
    ledger = GpuLedger(given=config.given_gpus, term=lambda: leader.term, wake=lambda key: loop.wanted(key))  # noqa: PLW0108 - made later
    loop = Loop(
        cluster=cluster,
        queue=_queue(outside, waited=telemetry.waited),
        index=index,
        clock=clock,
        resync_seconds=settings.resync_seconds,
    )
    models = ModelLoop(cluster=cluster, clock=clock, queue=_queue(outside))
    relist_seconds = settings.resync_seconds * RELISTS_BEFORE_RESYNC
    documents = Documents(cluster=cluster, clock=clock, changed=loop.heard, relist_seconds=relist_seconds)
    cache = Cache(
        cluster=cluster,
        clock=clock,
        changed=loop.child_changed,
        job_changed=loop.job_changed,
        gpu_resource=settings.gpu_resource,
        fault_rules=settings.fault_rules(),
        relist_seconds=relist_seconds,
    )
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    control_plane = HttpControlPlane(outside.internal)

    def policy_changed(changes: tuple[Change, ...] | None, before: PolicyView, after: PolicyView) -> None:
        loop.policy_changed(changes, before, after)
        models.policy_changed()
        purger.policy_changed()
        keeper.policy_changed()

    policy = PolicyFollower(
        client=outside.internal, clock=clock, boot_id=outside.boot_id, folder=settings.cache_dir, heard=policy_changed
    )
    purger = Purger(
        cluster=cluster,
        cache=cache,
        control_plane=control_plane,
        policy=policy,
        catalog=catalog,
        clock=clock,
        config=config,
    )
    keeper = TenancyKeeper(
        cluster=cluster,
        clock=clock,
        policy=policy,
        rules=rules_of(settings),
        granted=ledger.of_tenants,
        served=cache.served,
        classes=cache.device_classes,
    )
    denials = Denials(control_plane=control_plane)
    signals = SignalBook(
        clock=clock,
        wake=loop.wanted,
        loaded=loop.loaded,
        configured=bool(settings.gateway_internal_urls),
        drain_limit_seconds=settings.drain_limit_seconds,
    )
    benchmarks = BenchmarkBook(bencher=outside.bencher, clock=clock, load=_load(settings), changed=loop.child_changed)
    probes = ProbeBook(prober=outside.prober, clock=clock, interval_seconds=settings.probe_interval_seconds)
    gatherer = Gatherer(
        cluster=cluster,
        cache=cache,
        documents=documents,
        policy=policy,
        catalog=catalog,
        probes=probes,
        progress=ProgressBook(reader=outside.progress, clock=clock),
        signals=signals,
        ledger=ledger,
        caches=CacheBook(reader=outside.caches, clock=clock),
        benchmarks=benchmarks,
        clock=clock,
        platform_key=config.platform_key,
    )
    reconciler = Reconciler(
        gatherer=gatherer,
        documents=documents,
        executor=Executor(
            cluster=cluster,
            control_plane=control_plane,
            cache=cache,
            documents=documents,
            config=config,
            time=clock.boottime,
        ),
        reporter=Reporter(cluster=cluster, documents=documents, gateway_url=settings.gateway_url),
        ledger=ledger,
        config=config,
        telemetry=telemetry,
        denied=denials.note,
    )
    return Operator(
        settings=settings,
        cluster=cluster,
        leader=leader,
        policy=policy,
        cache=cache,
        documents=documents,
        gatherer=gatherer,
        telemetry=telemetry,
        loop=loop,
        reconciler=reconciler,
        models=models,
        model_reconciler=ModelReconciler(
            cluster=cluster, registry=control_plane, policy=policy, catalog=catalog, clock=clock
        ),
        purger=purger,
        keeper=keeper,
        denials=denials,
        pod_times=PodTimes(cache=cache, control_plane=control_plane, clock=clock, gpu_resource=settings.gpu_resource),
        signals=signals,
        ledger=ledger,
        gateways=GatewayFollower(
            session=outside.session,
            urls=settings.gateway_internal_urls,
            token=SecretFile(lambda: settings.read_secret(settings.internal_token_file)).read,
            book=signals,
        ),
        benchmarks=benchmarks,
        clock=clock,
        follow=outside.follow,
    )


def _queue(outside: Outside, waited: Callable[[float], None] = lambda _seconds: None) -> WorkQueue:
    return WorkQueue(time=outside.clock.boottime, random_source=outside.chance, waited=waited)


def _load(settings: OperatorSettings) -> Load | None:
    """What copies are tried with; None where they are not."""
    if settings.benchmark_requests == 0:
        return None
    return Load(
        requests=settings.benchmark_requests,
        concurrency=min(settings.benchmark_concurrency, settings.benchmark_requests),
        output_tokens=settings.benchmark_tokens,
        seconds=settings.benchmark_seconds,
    )


def rules_of(settings: OperatorSettings) -> Rules:
    """What the platform decided for the namespaces of all tenants."""
    return Rules(
        given_gpus=settings.tenant_gpus,
        gpu_resource=settings.gpu_resource,
        pods=settings.tenant_pods,
        cluster_queue=settings.cluster_queue,
    )


def config_of(settings: OperatorSettings) -> Config:
    """What decisions and renderings need of the settings."""
    return Config(
        serving_image=settings.serving_image,
        image_pull_policy=settings.image_pull_policy,
        images=settings.read_images(),
        given_gpus=settings.tenant_gpus,
        priority_classes=settings.priority_classes,
        scheduler_names=settings.scheduler_names,
        volcano_queues=settings.volcano_queues,
        toleration_keys=settings.toleration_keys,
        cluster_queue=settings.cluster_queue,
        allow_unpinned_images=settings.allow_unpinned_images,
        weights_volume=settings.weights_volume,
        serving_controlplane_url=settings.serving_controlplane_url or settings.controlplane_url,
        gateway_url=settings.gateway_url.rstrip("/"),
        platform_key=settings.read_secret(settings.platform_key_file),
        drain_seconds=settings.drain_seconds,
        drain_limit_seconds=settings.drain_limit_seconds,
        healing=settings.healing_rules(),
        maintenance=settings.read_maintenance(),
        version=metadata.version("paddock-llm"),
        probe_interval_seconds=settings.probe_interval_seconds,
        hub_token_secret=settings.hub_token_secret,
        hub_url=settings.hub_url,
        source_secret=settings.source_secret,
        source_endpoints=settings.source_endpoints,
        networks=offered(settings.networks, folder=settings.networks_dir),
        monitoring_namespace=settings.monitoring_namespace,
        endpoint_picker=settings.endpoint_picker,
        endpoint_picker_port=settings.endpoint_picker_port,
    )


async def _set_aside() -> None:
    """Never returns. What the caches hold is millions of objects that stay: the search for garbage leaves them out,
    which would otherwise stop the process for a second now and then."""
    while True:
        await asyncio.sleep(SET_ASIDE_SECONDS)
        gc.collect()
        gc.freeze()


def watch_over(operator: Operator, health: Health, telemetry: Telemetry) -> None:
    """Checks and gauges of the running parts."""
    loop, settings = operator.loop, operator.settings
    for reflector in operator.reflectors():
        kind = f"{reflector.kind.api_version}/{reflector.kind.plural} {reflector.selector}".strip()
        health.alive(f"watch {kind}", lambda r=reflector: _silent(r.silent_seconds()))  # type: ignore[misc]
        health.ready(f"list {kind}", lambda r=reflector: None if r.synced.is_set() else "not listed yet")  # type: ignore[misc]
    late = settings.resync_seconds * RESYNCS_TO_MISS
    health.alive(
        "resync", lambda: "resync is overdue" if _leads(operator) and loop.resync_age_seconds() > late else None
    )
    health.ready("policy", lambda: "the policy is expired" if operator.policy.current().expired else None)
    telemetry.gauge("paddock_operator_queue_depth", "Keys that wait", lambda: float(len(loop.queue)))
    telemetry.gauge("paddock_operator_queue_age", "Age of the oldest due key, s", loop.queue.oldest_age_seconds)
    telemetry.gauge(
        "paddock_operator_drifted",
        "Deployments that would be rendered otherwise now",
        lambda: float(operator.reconciler.drifted),
    )
    telemetry.gauge(
        "paddock_operator_deletions_overdue",
        "Objects that were to be deleted long ago and are still there",
        lambda: float(overdue(operator.deletable(), now=operator.clock.now())),
    )
    telemetry.gauge("paddock_operator_leads", "1 if this instance leads", lambda: float(_leads(operator)))
    telemetry.gauge("paddock_operator_gateways", "Gateways that answer", lambda: float(operator.signals.answering()))
    telemetry.gauge(
        "paddock_operator_policy_age", "Seconds since the policy was confirmed", operator.policy.age_seconds
    )


def _leads(operator: Operator) -> bool:
    return operator.leader.leading.is_set()


def _silent(seconds: float) -> str | None:
    return f"nothing heard for {seconds:.0f} s" if seconds > SILENT_SECONDS else None


async def run(settings: OperatorSettings) -> None:
    """Run the operator until SIGTERM."""
    telemetry, health = Telemetry(), Health()
    async with wired(settings, telemetry) as operator:
        watch_over(operator, health, telemetry)
        runner = await health.serve(host=settings.health_host, port=settings.health_port)
        aside = asyncio.create_task(_set_aside())
        try:
            await operator.run()
        finally:
            aside.cancel()
            await runner.cleanup()
            telemetry.close()


def main() -> None:
    """Entry of the command. Exit status 2: the settings are wrong."""
    try:
        settings = OperatorSettings()  # type: ignore[call-arg]  # required ones come from the environment
        configure_logging(settings.log_level)
        log.info("starting", extra={"settings": settings.model_dump(mode="json")})
        uvloop.run(run(settings))
    except (ValidationError, ValueError, OSError, OperatorError) as error:
        print(f"paddock-operator: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
