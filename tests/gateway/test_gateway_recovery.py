"""What becomes of requests whose gateway died: the engine's count where it can be asked, and who ships the journal."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest
from paddock_core.usage.journal_frames import Intent
from paddock_gateway.adopt import folder_lock
from paddock_gateway.journal import Journal
from paddock_gateway.refused import RefusedRecords
from paddock_gateway.segments import segment_numbers

from tests.gateway.journal_rows import intent, outcome, progress

LONG_AGO = 1000.0


async def left_behind(folder: Path, *, open_requests: tuple[Intent, ...], settled: tuple[Intent, ...] = ()) -> None:
    """A journal as a process leaves it that dies after a checkpoint of 32 tokens for each open request."""
    journal = Journal(folder=folder, segment_bytes=2**18)
    for request in (*open_requests, *settled):
        await journal.begin(request)
    for request in settled:
        await journal.settle(outcome(request))
    for request in open_requests:
        journal.checkpoint(progress(request, 32))
    await journal.close()


def age(folder: Path) -> None:
    """The folder as it looks a good while after its process died."""
    for path in folder.iterdir():
        os.utime(path, (time.time() - LONG_AGO,) * 2)


async def test_a_stream_is_billed_by_the_count_that_the_engine_kept(world: Any, play: Any) -> None:
    await left_behind(
        world.settings.journal_dir / "gateway-0", open_requests=(intent("streamed"), intent("whole", stream=False))
    )
    world.triton.totals = 47
    async with world.gateway():
        rows = {row["usage_id"]: row for row in await world.controlplane.settled(2)}
    assert sorted(world.triton.asked) == ["streamed", "whole"]
    streamed, whole = rows["streamed"], rows["whole"]
    assert (streamed["output_tokens"], streamed["billed_from"], streamed["usage_source"]) == (47, "engine", "counted")
    assert (streamed["output_tokens_engine"], streamed["output_tokens_sent"]) == (47, 32)
    assert (whole["output_tokens"], whole["billed_from"], whole["output_tokens_engine"]) == (32, "sent", 47)


async def test_an_engine_that_does_not_know_the_request_leaves_the_checkpoint(world: Any) -> None:
    await left_behind(world.settings.journal_dir / "gateway-0", open_requests=(intent("streamed"),))
    async with world.gateway():
        (row,) = await world.controlplane.settled(1)
    assert world.triton.asked == ["streamed"]
    assert (row["output_tokens"], row["usage_source"], row["output_tokens_engine"]) == (32, "bounded", None)


async def test_an_engine_that_is_away_for_too_long_leaves_the_checkpoint(world: Any, play: Any) -> None:
    """Meanwhile the segments that the request rests on stay."""
    folder = world.settings.journal_dir / "gateway-0"
    await left_behind(folder, open_requests=(intent("old"),))
    (segment,) = segment_numbers(folder)
    world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"] = []
    async with world.gateway(reap_seconds=3.0) as app:
        journal = app._wiring.journal
        assert journal.open_requests == 1
        journal.release(segment)
        assert segment in segment_numbers(folder)
        (row,) = await world.controlplane.settled(1)
        assert (row["usage_id"], row["output_tokens"], row["usage_source"]) == ("old", 32, "bounded")
        await play.until(lambda: journal.open_requests == 0)
    assert world.triton.asked == []


async def test_a_journal_that_another_gateway_left_is_settled_and_shipped_once(world: Any, play: Any) -> None:
    other = world.settings.journal_dir / "gateway-7"
    await left_behind(other, open_requests=(intent("lost"),), settled=(intent("one"), intent("two")))
    RefusedRecords(other).add(outcome(intent("refused")), "no")
    with folder_lock(other) as held:
        assert held
    age(other)
    world.triton.totals = 40
    async with world.gateway(adopt_after_seconds=0.5):
        rows = {row["usage_id"]: row for row in await world.controlplane.settled(4)}
        await play.until(lambda: segment_numbers(other) == [] and len(RefusedRecords(other)) == 0)
    assert sorted(rows) == ["lost", "one", "refused", "two"]
    assert (rows["lost"]["status"], rows["lost"]["output_tokens"]) == ("gateway_lost", 40)
    assert sorted(world.controlplane.deliveries) == ["lost", "one", "refused", "two"]


@pytest.mark.parametrize("why", ["locked", "fresh"])
async def test_a_journal_that_is_in_use_or_was_a_moment_ago_is_left_alone(world: Any, *, why: str) -> None:
    other = world.settings.journal_dir / "gateway-7"
    await left_behind(other, open_requests=(), settled=(intent("one"),))
    with folder_lock(other) as held:
        assert held
        if why == "locked":
            age(other)
        async with world.gateway(adopt_after_seconds=0.3 if why == "locked" else 3600.0):
            await asyncio.sleep(1.0)
    assert world.controlplane.records == {}
    assert segment_numbers(other) == [1]


async def test_what_cannot_be_shipped_stays_and_its_owner_finds_it_again(world: Any, play: Any) -> None:
    other = world.settings.journal_dir / "gateway-7"
    await left_behind(other, open_requests=(), settled=(intent("one"),))
    with folder_lock(other):
        pass
    age(other)
    async with world.gateway(adopt_after_seconds=0.5):
        world.controlplane.hangs = lambda _: True
        await asyncio.sleep(1.5)
        assert segment_numbers(other) == [1]
    world.controlplane.hangs = lambda _: False
    async with world.gateway(instance="gateway-7"):
        (row,) = await world.controlplane.settled(1)
    assert row["usage_id"] == "one"


async def test_damage_in_a_journal_that_was_left_is_kept(world: Any, play: Any) -> None:
    other = world.settings.journal_dir / "gateway-7"
    await left_behind(other, open_requests=(), settled=(intent("one"), intent("two")))
    segment = other / "000000000001.journal"
    data = bytearray(segment.read_bytes())
    end = len(data.rstrip(b"\0"))
    data[end - 20] ^= 0xFF
    segment.write_bytes(data)
    with folder_lock(other):
        pass
    age(other)
    async with world.gateway(adopt_after_seconds=0.5):
        rows = {row["usage_id"]: row["status"] for row in await world.controlplane.settled(2)}
        await play.until(lambda: not segment.exists())
    assert rows == {"one": "ok", "two": "gateway_lost"}
    assert segment.with_name(segment.name + ".damaged").read_bytes() == data
