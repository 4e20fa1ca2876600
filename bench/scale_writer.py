"""The bare client of `bench/scale.py`: writes objects to an API server by the operator's own HTTP client, and no more.

What belongs together is written in its order, the next as soon as a request is free. It prints `ready` once all is
read, begins when a line comes in, prints `written` at the end, and stays until its input ends, so that its CPU time can
be read.

Usage: python bench/scale_writer.py KUBECONFIG FILE REQUESTS-AT-ONCE
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.kinds import LLAMA_DEPLOYMENT, kind_of


async def main(kubeconfig: str, file: str, at_once: str) -> None:
    """Write everything once."""
    work: list[list[dict[str, Any]]] = json.loads(await asyncio.to_thread(Path(file).read_text))
    cluster = LightkubeCluster(connect(Path(kubeconfig)), may_write=lambda: None)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    rest = iter(work)
    async with asyncio.TaskGroup() as writers:
        for _ in range(int(at_once)):
            writers.create_task(_write(cluster, rest))
    print("written", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await cluster.close()


async def _write(cluster: LightkubeCluster, rest: Iterator[list[dict[str, Any]]]) -> None:
    for items in rest:
        revision = ""
        for item in items:
            if kind_of(item) != LLAMA_DEPLOYMENT:
                await cluster.apply(item)
                continue
            metadata = item["metadata"]
            if "status" in item:
                # It names the revision that it replaces, as the operator's does.
                new = {**item, "metadata": {**metadata, "resourceVersion": revision}}
                stored = await cluster.replace(new, subresource="status")
            else:
                place = {"namespace": metadata["namespace"], "name": metadata["name"]}
                patch = {"metadata": {"annotations": metadata["annotations"]}}
                stored = await cluster.merge(LLAMA_DEPLOYMENT, **place, patch=patch)
            revision = stored["metadata"]["resourceVersion"]


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
