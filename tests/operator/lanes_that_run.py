"""Lanes in which pods are asked, by the clock of a virtual event loop."""

import asyncio
from collections.abc import Awaitable, Callable

from paddock_operator.lanes import Lanes

from faults.cluster.simulated.virtual_time import VirtualClock, run


def beside(scenario: Callable[[VirtualClock, Lanes], Awaitable[None]]) -> None:
    """Play a scenario while its lanes ask."""

    async def whole() -> None:
        lanes = Lanes()
        asking = asyncio.create_task(lanes.run())
        try:
            await scenario(VirtualClock(), lanes)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    run(whole())
