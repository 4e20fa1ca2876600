"""The bare client of `bench/scale.py` and its work: the operator's writes, once more."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import scale_process as process
from paddock_core.resources import names
from paddock_local.bare_kubernetes import start
from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import ALL as KINDS
from paddock_operator.kinds import JOB, LLAMA_DEPLOYMENT, NAMESPACE, POD, Kind, kind_of
from scale_parts import (
    GROUP_EVERY,
    Place,
    Result,
    World,
    deployment,
    now,
    running,
    side_by_side,
    since,
    standing,
    until,
)
from scale_world import requests

AT_ONCE = (8, 32)
"""Requests under way: as many as the operator's workers, and four times as many. The faster run counts."""
PROGRAM = Path(__file__).with_name("scale_writer.py")


async def work(world: World, result: Result) -> list[list[dict[str, Any]]]:
    """What the operator wrote for each deployment until all served, in its order: the patch of the deployment that
    brings the finalizer (here an annotation, which nobody has to take off again), the status in which its GPUs are
    granted, the objects, and each status after that. What deployments share is there and stays."""
    by_owner: dict[Place, list[dict[str, Any]]] = {}
    for kind in KINDS:
        for item in await _listed(world, kind):
            labels = item["metadata"].get("labels") or {}
            owner = labels.get(names.DEPLOYMENT_NAMESPACE, ""), labels.get(names.DEPLOYMENT_NAME, "")
            if kind not in (POD, JOB, NAMESPACE) and not item["metadata"].get("ownerReferences"):
                by_owner.setdefault(owner, []).append(_again(item))
    found: list[list[dict[str, Any]]] = []
    for owner in by_owner.keys() & result.statuses.keys():
        first, *others = (_status(owner, status) for status in result.statuses[owner])
        found.append([_marked(owner), first, *by_owner[owner], *others])
    return found


async def _listed(world: World, kind: Kind) -> list[dict[str, Any]]:
    try:
        return (await world.admin.list(kind, selector=names.SELECTOR)).items
    except NotFoundError:
        return []


def _again(item: dict[str, Any]) -> dict[str, Any]:
    metadata = {name: item["metadata"].get(name) for name in ("name", "namespace", "labels", "annotations")}
    bare = {name: value for name, value in item.items() if name != "status"}
    return {**bare, "metadata": {name: value for name, value in metadata.items() if value}}


def _deployment(owner: Place, **more: Any) -> dict[str, Any]:
    metadata = {"namespace": owner[0], "name": owner[1], **more}
    return {"apiVersion": LLAMA_DEPLOYMENT.api_version, "kind": LLAMA_DEPLOYMENT.name, "metadata": metadata}


def _marked(owner: Place) -> dict[str, Any]:
    return _deployment(owner, annotations={"bench.paddock.dev/marked": "yes"})


def _status(owner: Place, status: dict[str, Any]) -> dict[str, Any]:
    return {**_deployment(owner), "status": status}


async def measure(world: World, result: Result, work: list[list[dict[str, Any]]]) -> None:
    """The same writes by a process that thinks nothing and waits for nothing, once for each of AT_ONCE; the fastest run
    counts. The custom resources are there before it begins."""
    for writers in AT_ONCE:
        await _run(world, result, work, writers=writers)
    process.note(f"bare client: {result.bare:.1f} s with {result.bare_writers} requests at once")


async def _run(world: World, result: Result, work: list[list[dict[str, Any]]], *, writers: int) -> None:
    size = result.deployments
    await side_by_side(lambda n=n: world.admin.create(deployment(size, n)) for n in range(size))  # type: ignore[misc]
    groups = sum(1 for number in range(size) if number % GROUP_EVERY == GROUP_EVERY - 1)
    await until(lambda: len(world.deployments.objects) >= size, what="the deployments to be heard of")
    with _client(world, work, writers=writers) as client:
        await until(client.is_ready, what="the bare client to be ready")
        at, cpu, begin = now(), process.cpu_of_all(), time.monotonic()
        client.go()
        await until(
            lambda: client.has_written() and running(world) >= size + groups,
            what="the bare client's pods",
            progress=lambda: standing(world),
        )
        took, spent = time.monotonic() - begin, since(cpu)
    asked = sum(requests(world.folder, user="bare-client", since=at, until=now()).values())
    process.note(f"bare client, {writers} at once: {took:.1f} s, {asked / size:.1f} requests each")
    if not result.bare or took < result.bare:
        result.bare, result.bare_writers, result.bare_cpu_of, result.bare_requests = took, writers, spent, asked
    await _remove(world, [item for items in work for item in _once(items)])


def _once(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One write of each object, to find it by."""
    by_place = {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]): item for item in items}
    return list(by_place.values())


async def _remove(world: World, items: list[dict[str, Any]]) -> None:
    """All that belongs to one deployment, and the deployments: the next run shall find none of it."""
    await side_by_side(
        lambda item=item: world.admin.delete(  # type: ignore[misc]
            kind_of(item), namespace=item["metadata"].get("namespace"), name=item["metadata"]["name"]
        )
        for item in items
    )
    await until(lambda: running(world) == 0 and not world.deployments.objects, what="the bare client's pods to go")


class _Client:
    """The process: it says when it is ready and when all is written, and ends when its input does."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def is_ready(self) -> bool:
        return self._says("ready")

    def has_written(self) -> bool:
        return self._says("written")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def _says(self, word: str) -> bool:
        said = self._log.read_text()
        assert self._process.poll() is None, f"the bare client ended: {said[-2000:]}"
        return word in said.splitlines()


@contextlib.contextmanager
def _client(world: World, work: list[list[dict[str, Any]]], *, writers: int) -> Iterator[_Client]:
    objects, log = world.folder / "bare-work.json", world.folder / f"bare-{writers}.log"
    objects.write_text(json.dumps(work))
    command = [sys.executable, str(PROGRAM), str(world.api.kubeconfigs["bare"]), str(objects), str(writers)]
    with log.open("wb") as output:
        started = start(command, output=output, stdin=subprocess.PIPE)
    try:
        yield _Client(started, log)
    finally:
        started.terminate()
        started.communicate()
