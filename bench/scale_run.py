"""One run of `bench/scale.py`: every size in turn, then what is asked of an operator that holds the largest."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import scale_after as after
import scale_bare as bare
import scale_players as players
import scale_process as process
import scale_setup as setup
from paddock_core.resources import names
from paddock_local.bare_kubernetes import free_ports
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.kinds import LLAMA_DEPLOYMENT, POD
from scale_parts import Result, Told, World, counted, deployment, now, side_by_side, since, standing, until
from scale_world import load, requests

SETTLE_SECONDS = 10.0
"""Requests are counted for so long after the last deployment has its benchmark: what is written late is work too."""


async def run(
    api: Any,
    folder: Path,
    *,
    sizes: list[int],
    shapes: list[str],
    subnet: IPv4Network,
    storm_seconds: int,
    profile: Path | None = None,
) -> tuple[list[Result], dict[str, float]]:
    """All sizes, and the figures of the largest by name."""
    policy_server = load("policy_server")
    policy = policy_server.PolicyServer()
    policy.put(*setup.policy(policy_server))
    results: list[Result] = []
    async with contextlib.AsyncExitStack() as parts:
        await parts.enter_async_context(players.tritons(subnet, count=max(sizes) * 2 + 64))
        with free_ports() as port:
            await parts.enter_async_context(policy_server.serving(policy, port=port))
            gateway = players.Gateway()
            await parts.enter_async_context(players.serving(gateway, port=port + 1))
            operator = process.OperatorProcess(
                kubeconfig=api.kubeconfigs["operator"], folder=folder, port=port + 2, policy_url=policy.url,
                token=policy_server.TOKEN, gateway_url=f"http://127.0.0.1:{port + 1}",
                profile=profile,
            )  # fmt: skip
            world = await parts.enter_async_context(_world(api, folder, operator, gateway))
            parts.push_async_callback(operator.stop)
            await setup.make_nodes(world, shapes)
            await operator.start()
            await setup.prepare(world)
            await _delete(world, 1)
            extra: dict[str, float] = {}
            for size in sizes:
                results.append(await _size(world, size))
                if size == max(sizes):
                    extra = await after.largest(world, size, storm_seconds=storm_seconds)
                work = await bare.work(world, results[-1])
                results[-1].gone = await _delete(world, size)
                await operator.stop()
                results[-1].resident_mb = operator.take_most_mb()
                await bare.measure(world, results[-1], work)
                await operator.start()
    return results, extra


@contextlib.asynccontextmanager
async def _world(
    api: Any, folder: Path, operator: process.OperatorProcess, gateway: players.Gateway
) -> AsyncIterator[World]:
    admin = LightkubeCluster(connect(api.kubeconfigs["bench"]), may_write=lambda: None)
    deployments = players.Follower(admin, LLAMA_DEPLOYMENT)
    told = Told()

    def hear(item: dict[str, Any], gone: bool) -> None:  # noqa: FBT001 - as followers tell
        gateway.hear(item, gone)
        told.hear(item, gone)

    deployments.heard = hear
    pods = players.Follower(admin, POD, selector=names.SELECTOR)
    tasks = [asyncio.create_task(follower.run()) for follower in (deployments, pods)]
    try:
        yield World(
            api=api, folder=folder, admin=admin, operator=operator, deployments=deployments, pods=pods, gateway=gateway,
            told=told,
        )  # fmt: skip
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await admin.close()


async def _size(world: World, size: int) -> Result:
    """Apply so many, and wait until all serve; then until their benchmarks are told, which are requests too."""
    before = await process.yardstick()
    result, at, cpu = Result(deployments=size), now(), process.cpu_of_all()
    rounds = await counted(world)
    begin = time.monotonic()
    await side_by_side(lambda n=n: world.admin.create(deployment(size, n)) for n in range(size))  # type: ignore[misc]
    applied = time.monotonic()
    await until(
        lambda: len(world.told.serving) >= size,
        what=f"{size} deployments to serve",
        progress=lambda: standing(world),
    )
    done = time.monotonic()
    result.statuses = {place: list(found) for place, found in world.told.statuses.items()}
    result.applied, result.converged, result.whole = applied - begin, done - applied, done - begin
    result.cpu_of = since(cpu)
    await until(lambda: _tried(world, size), what="their benchmarks", progress=lambda: standing(world))
    await asyncio.sleep(SETTLE_SECONDS)
    result.rounds = await counted(world) - rounds
    result.requests = requests(world.folder, user="paddock-operator", since=at, until=now())
    result.yardstick = (before + await process.yardstick()) / 2
    process.note(f"{size} deployments: {result.whole:.1f} s, {sum(result.requests.values()) / size:.1f} requests each")
    return result


def _tried(world: World, count: int) -> bool:
    """Whether so many tell how their copy did when it was tried."""
    found = [item.get("status", {}).get("revisions") or () for item in world.deployments.objects.values()]
    return sum(any("benchmark" in revision for revision in revisions) for revisions in found) >= count


async def _delete(world: World, size: int) -> float:
    """Delete all deployments; the seconds until they are gone."""
    begin = time.monotonic()
    places = list(world.deployments.objects)
    deletes = [
        lambda place=place: world.admin.delete(LLAMA_DEPLOYMENT, namespace=place[0], name=place[1]) for place in places
    ]
    await side_by_side(deletes)
    await until(lambda: not world.deployments.objects, what=f"{size} deployments to go")
    process.note(f"{size} deployments are gone after {time.monotonic() - begin:.1f} s")
    return time.monotonic() - begin
