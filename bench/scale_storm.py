"""The storm of `bench/scale.py`: changes of pods' statuses, so many a minute, by a process of its own.

Each change is of a condition, which nobody of us may overlook. It begins at once, and prints how many changes were
made and how many seconds they took, as JSON.

Usage: python bench/scale_storm.py KUBECONFIG FILE CHANGES-A-MINUTE SECONDS
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx2
import uvloop
from paddock_operator.adapters.cluster import connect
from paddock_operator.kinds import POD

CONDITION = "bench.paddock.dev/Storm"
AT_ONCE = 32


async def main(kubeconfig: str, file: str, a_minute: str, seconds: str) -> None:
    """Change the pods in turn; `file` has their namespaces and names."""
    places: list[tuple[str, str]] = json.loads(await asyncio.to_thread(Path(file).read_text))
    rate, total = int(a_minute) / 60, int(a_minute) * int(seconds) // 60
    # Fewer at once than there are pods: two writes of one would only meet in a conflict.
    slots = asyncio.Semaphore(min(AT_ONCE, max(1, len(places) // 2)))
    async with connect(Path(kubeconfig)) as client:
        begin, made = time.monotonic(), list[asyncio.Task[bool]]()
        async with asyncio.TaskGroup() as changes:
            for number in range(total):
                await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                await slots.acquire()
                change = changes.create_task(_change(client, places[number % len(places)], number))
                change.add_done_callback(lambda _: slots.release())
                made.append(change)
        took = time.monotonic() - begin
    print(json.dumps({"changes": sum(change.result() for change in made), "seconds": took}))


async def _change(client: httpx2.AsyncClient, place: tuple[str, str], number: int) -> bool:
    """Whether it was done: a pod may have gone meanwhile."""
    condition = {"type": CONDITION, "status": "True", "reason": "Bench", "message": str(number)}
    try:
        answer = await client.patch(
            f"{POD.path(namespace=place[0], name=place[1])}/status",
            content=json.dumps({"status": {"conditions": [condition]}}),
            headers={"Content-Type": "application/strategic-merge-patch+json"},
        )
    except httpx2.HTTPError:
        return False
    return answer.is_success


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
