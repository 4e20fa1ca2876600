"""A resync looks at everything of which something is new, or whose next look is not due anyway."""

import random
from typing import Any

from paddock_core.catalog.packaged import packaged_catalog
from paddock_operator.index import Index
from paddock_operator.loop import CHILD_SECONDS, Loop
from paddock_operator.ports import Key
from paddock_operator.queue import WorkQueue

SAME, NEWS, NEVER, ORPHAN = (Key("acme", name) for name in ("same", "news", "never", "orphan"))


class Parts:
    """What a loop needs: a list of deployments, an owner of children that is gone, a clock that stands."""

    def __init__(self) -> None:
        self.time = 100.0

    async def relist(self) -> list[dict[str, Any]]:
        return [{"metadata": {"namespace": key.namespace, "name": key.name}} for key in (SAME, NEWS, NEVER)]

    def owners(self) -> set[Key]:
        return {SAME, ORPHAN}

    def boottime(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time


def made() -> tuple[Loop, Parts]:
    parts: Any = Parts()
    loop = Loop(
        queue=WorkQueue(time=parts.boottime, random_source=random.Random(1)),
        index=Index(packaged_catalog(), registered=dict),
        clock=parts,
        resync_seconds=3600,
    )
    return loop, parts


async def taken(loop: Loop) -> set[Key]:
    """Every key that is due now."""
    found = set()
    while loop.queue.oldest_age_seconds() > 0:
        found.add(await loop.queue.take())
    return found


async def test_without_knowledge_everything_is_looked_at() -> None:
    loop, parts = made()
    cache: Any = parts
    await loop.resync(cache, parts.relist, spread_seconds=0.0)
    parts.time += 1
    assert await taken(loop) == {SAME, NEWS, NEVER, ORPHAN}


async def test_what_is_known_and_looked_at_anyway_is_left_in_peace() -> None:
    loop, parts = made()
    cache: Any = parts
    for key in (SAME, NEWS):
        loop.queue.add(key, after_seconds=1000.0)
    await loop.resync(cache, parts.relist, spread_seconds=0.0, known=lambda key: key in (SAME, NEVER))
    parts.time += 1
    assert await taken(loop) == {NEWS, NEVER, ORPHAN}
    assert SAME in loop.queue


async def test_children_rarely_change_alone_and_a_wish_waits_for_nobody() -> None:
    loop, parts = made()
    loop.child_changed(SAME)
    loop.wanted(NEWS)
    parts.time += CHILD_SECONDS / 2
    assert await taken(loop) == {NEWS}
    parts.time += CHILD_SECONDS
    assert await taken(loop) == {SAME}
