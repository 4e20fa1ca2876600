"""How long a frame takes from its append until it is durable, at a steady pace.

`python bench/metering_journal.py FOLDER`. Each request appends an intent and a settlement, as in the gateway; every one
is awaited and timed from the moment at which it was due, so that a slow disk is not hidden by asking less. Prints JSON,
milliseconds.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop
from paddock_core.usage import settlement
from paddock_core.usage.identifiers import uuid7
from paddock_core.usage.journal_frames import Intent, Progress
from paddock_gateway.journal import Journal
from paddock_gateway.main import _SWITCH_SECONDS

RATE, SECONDS, TICK = 2000, 8.0, 0.0025


def intent_of(number: int) -> Intent:
    """A request like that of the load."""
    now = time.time()
    return Intent(
        usage_id=uuid7(unix_ms=int(now * 1000), random=os.urandom(10)),
        tenant="bench",
        key_id="benchbenchab",
        owner_tenant="bench",
        deployment="bench/demo",
        model="smollm2-135m-instruct",
        dialect="openai",
        operation="chat",
        stream=False,
        t_admit=now,
        reserved_tokens=61,
        input_tokens=45,
        acceptance_id="acc-bench-inc",
        end_user_hash="0" * 64,
        gateway_instance="bench",
        journal_seq=number,
        project="web",
    )


async def measure(folder: Path) -> dict[str, float]:
    """The pace for a while; old segments go as the shipper lets them go."""
    journal = Journal(folder=folder, segment_bytes=8 * 1024 * 1024)
    waits: list[float] = []

    async def one(due: float, number: int) -> None:
        intent = intent_of(number)
        await journal.begin(intent)
        waits.append(time.perf_counter() - due)
        progress = Progress(usage_id=intent.usage_id, at=intent.t_admit, engine_tokens=16, sent_tokens=16)
        record = settlement.settle(
            intent=intent,
            progress=progress,
            status=settlement.OK,
            finish_reason="stop",
            final=True,
            ended_at=intent.t_admit,
            seq=number,
        )
        begun = time.perf_counter()
        await journal.settle(record)
        waits.append(time.perf_counter() - begun)

    begin, tasks = time.perf_counter(), []
    for number in range(int(RATE * SECONDS)):
        due = begin + number / RATE
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(one(due if early < 0 else time.perf_counter(), number)))
        if number % RATE == 0:
            journal.release(journal.readable()[-1][0] - 1)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - begin
    await journal.close()
    waits.sort()
    p50, p99 = (waits[int(len(waits) * share)] * 1000 for share in (0.5, 0.99))
    return {"p50": p50, "p99": p99, "requests_per_second": RATE * SECONDS / took}


if __name__ == "__main__":
    sys.setswitchinterval(_SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(Path(sys.argv[1])))))
