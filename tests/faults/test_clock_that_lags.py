"""Workers of the queue and a clock that is a hair behind the loop's timers."""

import asyncio
import random

from paddock_operator.ports import Key
from paddock_operator.queue import WorkQueue

from faults.cluster.simulated.virtual_time import run


def test_a_worker_that_is_woken_too_early_does_not_spin() -> None:
    async def scenario() -> float:
        clock = asyncio.get_running_loop()
        queue = WorkQueue(time=lambda: clock.time() * (1 - 1e-9), random_source=random.Random(1))
        key = Key(namespace="acme", name="chat")
        queue.add(key, after_seconds=5.0)
        assert await queue.take() == key
        return clock.time()

    assert 5.0 <= run(scenario()) < 5.1
