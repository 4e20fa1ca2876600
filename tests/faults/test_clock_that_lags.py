"""Workers of the queue and a clock that is a hair behind the loop's timers."""

import asyncio
import random

from paddock_operator.ports import Key
from paddock_operator.queue import WorkQueue

from faults.cluster.simulated.virtual_time import run

WORKERS = 8


def test_workers_that_are_woken_too_early_do_not_spin() -> None:
    async def scenario() -> float:
        clock = asyncio.get_running_loop()
        queue = WorkQueue(time=lambda: clock.time() * (1 - 1e-9), random_source=random.Random(1))
        keys = [Key(namespace="acme", name=f"chat-{number}") for number in range(WORKERS)]
        for key in keys:
            queue.add(key, after_seconds=5.0)

        async def worker(turns: int) -> Key:
            # Each comes a turn of the loop later than the one before, so that one of them is always about to look.
            await asyncio.sleep(5.0)
            for _ in range(turns):
                await asyncio.sleep(0)
            return await queue.take()

        assert sorted(await asyncio.gather(*map(worker, range(WORKERS)))) == sorted(keys)
        return clock.time()

    assert 5.0 <= run(scenario()) < 5.1
