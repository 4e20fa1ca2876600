"""The bare client of `bench/scale.py`: writes objects to an API server by the operator's own HTTP client, and no more.

It takes the next object as soon as it has a request free. It prints `ready` once all is read, begins when a line comes
in, prints `written` at the end, and stays until its input ends, so that its CPU time can be read.

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
    objects: list[dict[str, Any]] = json.loads(await asyncio.to_thread(Path(file).read_text))
    cluster = LightkubeCluster(connect(Path(kubeconfig)), may_write=lambda: None)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    rest = iter(objects)
    async with asyncio.TaskGroup() as writers:
        for _ in range(int(at_once)):
            writers.create_task(_write(cluster, rest))
    print("written", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await cluster.close()


async def _write(cluster: LightkubeCluster, rest: Iterator[dict[str, Any]]) -> None:
    for item in rest:
        if kind_of(item) == LLAMA_DEPLOYMENT:
            await cluster.replace(item, subresource="status")
        else:
            await cluster.apply(item)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
