"""Events pushed to a receiver: each row at least once, in order, through refusals, lost answers and crashes."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.problems import SettingsError
from paddock_controlplane.usage import sink as sink_module
from paddock_controlplane.usage.sink import EventSink
from sqlalchemy import text

from tests.waiting import until

pytestmark = pytest.mark.postgres
TOKEN = "receiver-token"


@dataclass
class Receiver:
    """Takes batches of CloudEvents as OpenMeter does: 204, or what `answers` says first."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    batches: int = 0

    async def events(self, request: web.Request) -> web.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        batch = json.loads(await request.read())
        self.heads.append(dict(request.headers))
        self.batches += 1
        status = self.answers.pop(0) if self.answers else 204
        if status != 400:
            self.taken += batch  # a lost answer, too: the receiver has the events
        return web.Response(status=status)

    @property
    def ids(self) -> list[str]:
        """Ids in the order in which they came first."""
        return list(dict.fromkeys(event["id"] for event in self.taken))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    held = Receiver()
    app = web.Application()
    app.router.add_post("/api/v1/events", held.events)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    held.url = f"http://127.0.0.1:{port}/api/v1/events"
    yield held
    await runner.cleanup()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_module, "WAIT_SECONDS", 0.02)
    monkeypatch.setattr(sink_module, "BATCH", 3)


def sink(api: Any, receiver: Receiver) -> EventSink:
    return EventSink(database=api.state.database, url=receiver.url, token=lambda: TOKEN)


@contextlib.asynccontextmanager
async def sending(*sinks: EventSink) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.run()) for one in sinks]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_every_row_comes_in_the_order_of_arrival(api: Any, ledger: Any, receiver: Receiver) -> None:
    rows = [ledger.record(number) for number in range(8)]
    await ledger.enter(api, rows[:5])
    async with sending(one := sink(api, receiver)):
        await until(lambda: len(receiver.ids) == 5)
        await ledger.enter(api, rows[5:])
        await until(lambda: len(receiver.ids) == 8)
    assert receiver.ids == [row["usage_id"] for row in rows]
    assert len(receiver.taken) == 8
    assert {event["source"] for event in receiver.taken} == {"urn:paddock:ledger"}
    assert receiver.heads[0]["Content-Type"] == "application/cloudevents-batch+json"
    assert (one.sent, one.failures) == (8, 0)


async def test_refusals_and_lost_answers_lose_nothing(api: Any, ledger: Any, receiver: Receiver) -> None:
    rows = [ledger.record(number) for number in range(7)]
    await ledger.enter(api, rows)
    receiver.answers = [503, 400, 204, 500, 307]
    async with sending(one := sink(api, receiver)):
        await until(lambda: len(receiver.ids) == 7)
        await until(lambda: one.sent == 7)
    assert receiver.ids == [row["usage_id"] for row in rows]
    assert one.failures == 4
    assert one.behind >= 0


async def test_a_process_that_dies_after_the_receiver_took_a_batch_sends_it_again(
    api: Any, ledger: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [ledger.record(number) for number in range(4)]
    await ledger.enter(api, rows)

    async def dies(*_: Any) -> None:
        raise asyncio.CancelledError

    dead = sink(api, receiver)
    monkeypatch.setattr(dead, "_move", dies)
    monkeypatch.setattr(dead, "_let_go", lambda: asyncio.sleep(0))
    task = asyncio.create_task(dead.run())
    await asyncio.gather(task, return_exceptions=True)
    assert len(receiver.taken) == 3
    later = sink(api, receiver)
    async with aiohttp.ClientSession() as http:
        assert await later.send_some(http) == 0  # the lease is not over
        async with api.state.database.transaction(EVERYTHING) as session:
            await session.execute(text("UPDATE usage_sinks SET held_until = now() - interval '1 second'"))
        while await later.send_some(http):
            pass
    assert [event["id"] for event in receiver.taken] == [row["usage_id"] for row in [*rows[:3], *rows]]


async def test_of_several_control_planes_one_sends_and_another_goes_on(
    api: Any, ledger: Any, receiver: Receiver
) -> None:
    first, second = sink(api, receiver), sink(api, receiver)
    await ledger.enter(api, [ledger.record(number) for number in range(6)])
    async with sending(first):
        await until(lambda: first.sent == 6)
        async with sending(second):
            await asyncio.sleep(0.2)
            assert second.sent == 0
    await ledger.enter(api, [ledger.record(number) for number in range(6, 9)])
    async with sending(second):
        await until(lambda: second.sent == 3)
    assert len(receiver.taken) == len(receiver.ids) == 9


async def test_the_control_plane_sends_by_its_settings(
    ledger: Any, receiver: Receiver, server: Any, database: str, make_settings: Any, tmp_path: Path, running_app: Any
) -> None:
    token = tmp_path / "receiver_token"
    token.write_text(TOKEN + "\n")
    settings = make_settings(server.dsn(database), tmp_path).model_copy(
        update={"events_sink_url": receiver.url, "events_sink_token_file": token}
    )
    async with running_app(settings) as app:
        await ledger.enter(app, [ledger.record(1, at=time.time())])
        await until(lambda: receiver.ids)
        await until(lambda: app.state.sink.sent == 1)
        metrics = await app("GET", "/metrics")
    assert "paddock_events_sent_total" in metrics.text
    with pytest.raises(SettingsError, match="EVENTS_SINK_TOKEN_FILE"):
        settings.model_copy(update={"events_sink_token_file": tmp_path / "none"}).events_sink_token()
