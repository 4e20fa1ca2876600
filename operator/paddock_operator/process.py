"""The parts of an operator that runs, and how they run together."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from paddock_operator.adapters.cluster import LightkubeCluster
from paddock_operator.adapters.gateways import GatewayFollower
from paddock_operator.adapters.policy import PolicyFollower
from paddock_operator.benchmarking import BenchmarkBook
from paddock_operator.cache import Cache
from paddock_operator.denying import Denials
from paddock_operator.documents import Documents
from paddock_operator.gather import Gatherer
from paddock_operator.gpu_quota import GpuLedger
from paddock_operator.lanes import Lanes
from paddock_operator.leader import LeaderElector
from paddock_operator.loop import Loop
from paddock_operator.models.loop import ModelLoop
from paddock_operator.models.reconcile import ModelReconciler
from paddock_operator.outside import Follow
from paddock_operator.pod_times import PodTimes
from paddock_operator.ports import Clock, Manifest
from paddock_operator.probing import ProbeBook
from paddock_operator.purging import Purger
from paddock_operator.reconcile import Reconciler
from paddock_operator.reflector import Reflector
from paddock_operator.reviewing import Reviewer
from paddock_operator.settings import OperatorSettings
from paddock_operator.signals_book import SignalBook
from paddock_operator.telemetry import Telemetry
from paddock_operator.tenancy.keeper import TenancyKeeper


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
    reviewer: Reviewer
    pod_times: PodTimes
    signals: SignalBook
    gateways: GatewayFollower
    ledger: GpuLedger
    benchmarks: BenchmarkBook
    lanes: Lanes
    probes: ProbeBook
    clock: Clock
    telemetry: Telemetry
    follow: Follow

    def reflectors(self) -> tuple[Reflector, ...]:
        """Everything that is followed."""
        return (self.documents.reflector, *self.cache.reflectors(), *self.keeper.reflectors(), self.models.reflector)

    def deletable(self) -> Iterable[Manifest]:
        """Every object that has a finalizer of ours."""
        return (*self.documents.all(), *self.models.reflector.all())

    async def run(self) -> None:
        """Until SIGTERM; any part that fails ends all, and whoever supervises the process starts it again."""
        self.policy.load()
        async with asyncio.TaskGroup() as group:
            # All tasks begin before kopf does: at its end it waits for those that began after it.
            tasks = [group.create_task(reflector.run()) for reflector in self.reflectors()]
            tasks.append(group.create_task(self.policy.run()))
            tasks.append(group.create_task(self._lead()))
            resyncing = self.loop.resync_forever(self.cache, self.documents.relist, self.leader, self.gatherer.knows)
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
            tasks.append(group.create_task(self.lanes.run()))
            await asyncio.sleep(0)
            await self.follow(settings=self.settings, judge=self.reviewer.judge)
            for task in tasks:
                task.cancel()

    async def _lead(self) -> None:
        """Only with full caches: a decision from half a cache would create what is there already."""
        for reflector in self.reflectors():
            await reflector.synced.wait()
        await self.leader.run()
