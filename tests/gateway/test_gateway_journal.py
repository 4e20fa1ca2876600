"""The journal by itself: durable, bounded, deleted only when nothing needs it, and readable after any cut."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from paddock_core.usage.journal_frames import Intent, Progress, encode_frame
from paddock_core.usage.record import UsageRecord
from paddock_gateway import journal as journal_module
from paddock_gateway.deployments import Routes
from paddock_gateway.engine import Engine
from paddock_gateway.errors import JournalCrowdedError, JournalFullError
from paddock_gateway.journal import CROWD, Journal
from paddock_gateway.recover import Reaper, left_open, recover
from paddock_gateway.segments import create, payloads_in_order, segment_numbers

from tests.gateway.journal_rows import intent, outcome


def journal(folder: Path, *, segment_bytes: int = 2**20) -> Journal:
    return Journal(folder=folder, segment_bytes=segment_bytes)


async def test_frames_gather_while_a_crowd_is_open_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    numbers = range(3 * CROWD)
    async with asyncio.timeout(300):
        for start in range(0, len(numbers), 5):  # the crowd forms in the middle, with a commit under way
            await asyncio.gather(*(writer.begin(intent(number)) for number in numbers[start : start + 5]))
        assert writer.open_requests == len(numbers)
        await asyncio.gather(*(writer.settle(outcome(number)) for number in numbers))
        await writer.begin(intent(len(numbers)))
    await writer.close()
    found = list(payloads_in_order(tmp_path, segment_numbers(tmp_path)))
    assert [item.journal_seq for item in found if isinstance(item, Intent)] == [*numbers, len(numbers)]
    assert [item.journal_seq for item in found if isinstance(item, UsageRecord)] == [*numbers]


async def test_a_crowd_shares_its_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = journal_module.write_durably

    def counted(descriptor: int, data: bytes, offset: int) -> None:
        written.append(len(data))
        write(descriptor, data, offset)

    writer = journal(tmp_path)
    await asyncio.gather(*(writer.begin(intent(number)) for number in range(CROWD)))
    monkeypatch.setattr(journal_module, "write_durably", counted)
    tasks = []
    for number in range(8):  # one after the other, each in a turn of the loop of its own
        tasks.append(asyncio.create_task(writer.settle(outcome(number))))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    await writer.close()
    assert len(written) < 8


async def test_what_is_awaited_is_on_disk(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    await writer.begin(intent(1))
    assert list(payloads_in_order(tmp_path, segment_numbers(tmp_path))) == [intent(1)]
    await writer.settle(outcome(1))
    assert list(payloads_in_order(tmp_path, segment_numbers(tmp_path))) == [intent(1), outcome(1)]
    await writer.close()


async def test_frames_of_many_requests_share_commits_and_keep_their_order(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    await asyncio.gather(*(writer.begin(intent(number)) for number in range(200)))
    written = [item.usage_id for item in payloads_in_order(tmp_path, segment_numbers(tmp_path))]
    await writer.close()
    assert written == [f"usage-{number:03}" for number in range(200)]


async def test_a_crash_leaves_each_open_request_to_be_settled_once(tmp_path: Path) -> None:
    first = journal(tmp_path)
    for number in range(4):
        await first.begin(intent(number))
    await first.settle(outcome(0))
    first.checkpoint(Progress(usage_id="usage-001", at=101.5, engine_tokens=9, sent_tokens=8))
    await first.settle(outcome(2))
    await first.close()
    second = journal(tmp_path)
    requests = left_open(tmp_path)
    for request in requests:
        second.keep_open(request.intent.usage_id)
        second.release(10)
    assert (len(requests), second.open_requests) == (2, 2)
    waiting: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def told(name: str, change: int) -> None:
        waiting[name] += change
        most[name] = max(most[name], waiting[name])

    engine = Engine(connect_timeout=1)
    reaper = Reaper(engine=engine, routes=synced_routes(), platform_key=b"key", patience=5, waiting=told)
    await recover(requests=requests, journal=second, reaper=reaper)
    await second.close()
    assert most.total()
    assert not waiting.total()
    assert left_open(tmp_path) == ()
    rows = [item for item in payloads_in_order(tmp_path, segment_numbers(tmp_path)) if isinstance(item, UsageRecord)]
    assert sorted(row.usage_id for row in rows) == [f"usage-{number:03}" for number in range(4)]
    by_id = {row.usage_id: row for row in rows}
    lost, early = by_id["usage-001"], by_id["usage-003"]
    assert (lost.status, lost.output_tokens, lost.input_tokens, lost.usage_source) == ("gateway_lost", 8, 10, "bounded")
    assert (early.status, early.output_tokens, early.input_tokens) == ("gateway_lost", 0, 0)


def synced_routes() -> Routes:
    """The deployments are known, and the one of these requests is not among them any more."""
    routes = Routes()
    routes.replace([])
    return routes


async def test_a_journal_cut_at_any_byte_is_read_up_to_there(tmp_path: Path) -> None:
    source = tmp_path / "source"
    writer = journal(source, segment_bytes=2**16)
    await writer.begin(intent(1))
    await writer.begin(intent(2))
    await writer.settle(outcome(1))
    await writer.close()
    (number,) = segment_numbers(source)
    data = (source / f"{number:012d}.journal").read_bytes()
    end = len(data.rstrip(b"\0"))
    whole = list(payloads_in_order(source, [number]))
    for cut in range(end):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / f"{number:012d}.journal").write_bytes(data[:cut] + b"\0" * 64)
        read = list(payloads_in_order(folder, [number]))
        assert read == whole[: len(read)]
        assert len(read) < len(whole)
        shutil.rmtree(folder)


def segments_in_use(writer: Journal) -> list[int]:
    """Without the one that is made ahead."""
    return [number for number, _ in writer.readable()]


async def test_segments_rotate_and_go_only_when_shipped_and_settled(tmp_path: Path) -> None:
    writer = journal(tmp_path, segment_bytes=2**16)
    await writer.begin(intent(0))
    for number in range(1, 400):
        await writer.begin(intent(number))
        await writer.settle(outcome(number))
    numbers = segments_in_use(writer)
    assert len(numbers) > 2
    writer.release(numbers[-1])
    assert segments_in_use(writer) == numbers
    await writer.settle(outcome(0))
    writer.release(numbers[1])
    assert segments_in_use(writer) == numbers[2:]
    writer.release(numbers[-1])
    assert segments_in_use(writer) == numbers[-1:]
    await writer.close()


async def test_the_next_segment_is_there_before_it_is_needed_and_goes_if_it_never_was(tmp_path: Path) -> None:
    writer = journal(tmp_path, segment_bytes=2**16)
    async with asyncio.timeout(300):
        while len(segment_numbers(tmp_path)) < 2:  # noqa: ASYNC110 - a thread makes it
            await asyncio.sleep(0.01)
    await writer.begin(intent(1))
    await writer.settle(outcome(1))
    used, ahead = segment_numbers(tmp_path)
    writer.release(ahead)
    assert segment_numbers(tmp_path) == [used, ahead]
    await writer.close()
    assert segment_numbers(tmp_path) == [used]


async def test_a_segment_made_ahead_by_a_process_that_died_is_read_as_empty(tmp_path: Path) -> None:
    create(tmp_path, 1, 2**16)
    left = create(tmp_path, 2, 2**16)
    left.path.write_bytes(left.path.read_bytes()[: 2**15])  # and not quite made
    writer = journal(tmp_path, segment_bytes=2**16)
    assert left_open(tmp_path) == ()
    await writer.begin(intent(1))
    await writer.settle(outcome(1))
    assert segments_in_use(writer) == [1, 2, 3]
    writer.release(2)
    assert segments_in_use(writer) == [3]
    await writer.close()


async def test_room_for_settlements_is_kept_before_an_intent_is_taken(tmp_path: Path, monkeypatch: Any) -> None:
    allocate, allocated = os.posix_fallocate, []

    def no_more_space(descriptor: int, offset: int, size: int) -> None:
        if allocated:
            raise OSError(28, "No space left on device")
        allocated.append(size)
        allocate(descriptor, offset, size)

    monkeypatch.setattr("paddock_gateway.segments.os.posix_fallocate", no_more_space)
    writer = journal(tmp_path, segment_bytes=2**16)
    taken = 0
    while writer._has_room(len(encode_frame(intent(taken)))):
        await writer.begin(intent(taken))
        taken += 1
    with pytest.raises(JournalFullError):
        await writer.begin(intent(taken))
    assert taken > 10
    for number in range(taken):
        await writer.settle(outcome(number))
    await writer.close()
    (segment,) = segment_numbers(tmp_path)
    assert writer.path(segment).stat().st_size == 2**16
    rows = [item for item in payloads_in_order(tmp_path, [segment]) if isinstance(item, UsageRecord)]
    assert len(rows) == taken


async def test_too_many_open_requests_are_not_called_a_full_disk(tmp_path: Path) -> None:
    writer = journal(tmp_path, segment_bytes=2**15)
    taken = 0
    with pytest.raises(JournalCrowdedError, match="as many open requests"):  # noqa: PT012 - counts the ones before
        while True:
            await writer.begin(intent(taken))
            taken += 1
    await writer.settle(outcome(0))
    await writer.begin(intent(taken))
    await writer.close()
    assert taken > 5


async def test_a_cancelled_waiter_leaves_batch_and_journal_whole(tmp_path: Path) -> None:
    writer = journal(tmp_path)
    waiters = [asyncio.create_task(writer.begin(intent(number))) for number in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [None, None]
    assert writer.has_begun("usage-000")
    for number in range(3):
        await writer.settle(outcome(number))
    await writer.close()
    assert not writer.has_begun("usage-000")


async def test_a_waiter_that_is_cancelled_during_a_rotation_does_not_stop_it(tmp_path: Path) -> None:
    writer = journal(tmp_path, segment_bytes=2**16)
    writer._segment.planned = 2**16
    waiters = [asyncio.create_task(writer.begin(intent(number))) for number in range(2)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1] is None
    assert not writer.has_begun("usage-000")
    writer._segment.planned = 2**16
    await writer.begin(intent(2))
    await writer.close()
    assert len(segment_numbers(tmp_path)) == 3


ROOT = Path(__file__).parents[2]
FULL_DISK = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.gateway.test_gateway_journal import intent, outcome, journal, segment_numbers, payloads_in_order
from tests.gateway.test_gateway_journal import JournalFullError, UsageRecord

async def main():
    folder = Path(sys.argv[1]) / "journal"
    writer = journal(folder, segment_bytes=2**17)
    Path(sys.argv[1], "ballast").write_bytes(bytes(300_000))
    taken, refused = 0, 0
    for number in range(2000):
        try:
            await writer.begin(intent(number))
            taken += 1
        except JournalFullError:
            refused += 1
            continue
        if number % 2:
            await writer.settle(outcome(number))
    for number in range(0, taken, 2):
        if f"usage-{number:03}" in writer._open:
            await writer.settle(outcome(number))
    rows = [p for p in payloads_in_order(folder, segment_numbers(folder)) if isinstance(p, UsageRecord)]
    assert refused > 0, "the disk never filled"
    assert writer.failures == 0 and writer.open_requests == 0
    assert len({row.usage_id for row in rows}) == len(rows) == taken, (len(rows), taken)
    Path(sys.argv[1], "ballast").unlink()
    writer._rotation_retry = 0.0
    await writer.begin(intent(5000))
    await writer.close()
    print("ok", taken, refused)

asyncio.run(main())
"""


def test_a_disk_that_is_really_full_refuses_and_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = tmp_path / "full.py"
    script.write_text(FULL_DISK)
    mount = f"mount -t tmpfs -o size=600k tmpfs {folder} && exec {sys.executable} {script} {folder} {ROOT}"
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.startswith("ok")
