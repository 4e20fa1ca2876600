"""The gateway's process: what runs beside the server, in which order it starts and stops."""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import uvloop
from pydantic import ValidationError

from paddock_gateway.active_users import ActiveUsers
from paddock_gateway.adopt import folder_lock
from paddock_gateway.app import App
from paddock_gateway.assembly import StartError, background, read_secret, settle_the_lost, wire
from paddock_gateway.clock import SYSTEM, Clock
from paddock_gateway.export import Exported, start_export
from paddock_gateway.internal import internal_port
from paddock_gateway.journal import Journal
from paddock_gateway.logs import configure_logging
from paddock_gateway.protocol import bounded, server_of
from paddock_gateway.recover import left_open
from paddock_gateway.refused import RefusedRecords
from paddock_gateway.secrets import SecretFile, presenting
from paddock_gateway.settings import Settings
from paddock_gateway.ship import Shipper
from paddock_gateway.wiring import Wiring

_log = logging.getLogger(__name__)
_LOCK_TRIES, _LOCK_TRY_SECONDS = 40, 0.25
_COLLECT_AFTER = 20_000
"""Objects made beyond those freed before the collector looks; requests free theirs by reference counting."""
_SWITCH_SECONDS = 0.0005
"""How long the event loop may keep the interpreter while the journal's thread wants it. Python's default of 5 ms would
be added to every commit under load."""


def main() -> None:
    """Entry of `paddock-gateway`."""
    configure_logging()
    sys.setswitchinterval(_SWITCH_SECONDS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each stream holds two connections
    try:
        settings = Settings.model_validate({})
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except (ValidationError, StartError) as error:
        _log.critical("the gateway cannot start", extra={"error": str(error)})
        sys.exit(2)


async def serve(settings: Settings, *, clock: Clock = SYSTEM) -> None:
    """Run until SIGTERM or SIGINT, then finish, settle and ship what is left."""
    _log.info("starting", extra={"settings": settings.described()})
    async with running(settings, clock=clock) as app:
        server = server_of(
            app,
            protocol=bounded(max_head_bytes=settings.max_header_bytes, head_seconds=settings.body_timeout_seconds),
            keep_alive_seconds=75,
            stop_seconds=int(settings.shutdown_seconds) + 6,
            host=settings.host,
            port=settings.port,
            backlog=4096,
        )
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        serving = asyncio.create_task(server.serve())
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        server.leave()
        await app.finish(settings.shutdown_seconds)
        await serving
    _log.info("stopped")


def _shipper(settings: Settings, internal: str, journal: Journal, exported: Exported | None) -> Shipper:
    users = ActiveUsers(
        url=settings.controlplane_url,
        token=internal,
        period=settings.active_users_seconds,
        most=settings.active_users_most,
        sent=journal.settled_event.set,
    )
    return Shipper(
        journal=journal,
        refused=RefusedRecords(settings.journal_dir / settings.instance),
        users=users,
        url=settings.controlplane_url,
        token=internal,
        batch=settings.ship_batch,
        linger=settings.ship_linger_seconds,
        exported=exported,
    )


@asynccontextmanager
async def running(settings: Settings, *, clock: Clock) -> AsyncIterator[App]:
    """Everything but the server itself. On the way out: journal closed, records shipped as far as possible."""
    internal = read_secret(settings.internal_token_file)
    folder = settings.journal_dir / settings.instance
    secret = SecretFile(settings.internal_token_file, text=internal)
    async with _lock(folder), aiohttp.ClientSession(trust_env=False, middlewares=(presenting(secret),)) as session:
        # Before the journal makes segments of its own: one made ahead goes again where the disk is full.
        requests = await asyncio.to_thread(left_open, folder)
        journal = Journal(folder=folder, segment_bytes=settings.journal_segment_bytes)
        exported = start_export(settings.instance)
        shipper = _shipper(settings, internal, journal, exported)
        wiring = wire(
            settings=settings,
            clock=clock,
            internal=internal,
            journal=journal,
            shipper=shipper,
            exported=exported,
            session=session,
        )
        for request in requests:
            journal.keep_open(request.intent.usage_id)
        work = (*background(wiring, shipper, session), settle_the_lost(requests, wiring, shipper, session))
        tasks = [asyncio.create_task(each) for each in work]
        for task in tasks:
            task.add_done_callback(_ended)
        _tame_collector()
        app = App(wiring)
        tasks.append(asyncio.create_task(app.end_with_rights()))
        tasks[-1].add_done_callback(_ended)
        host, port = settings.internal_host, settings.internal_port
        try:
            async with internal_port(book=wiring.signals, token=secret, host=host, port=port):
                yield app
        finally:
            await _stop(tasks, wiring, shipper, session)


async def _stop(
    tasks: list[asyncio.Task[None]], wiring: Wiring, shipper: Shipper, session: aiohttp.ClientSession
) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    wiring.engine.close()
    try:
        async with asyncio.timeout(5):
            while await shipper.ship_available(session):
                pass
            await shipper.users.send(session)
            await shipper.ship_available(session)
            await wiring.leases.close(session)
    except TimeoutError:
        _log.warning("usage is left in the journal: the next start ships it")
    await wiring.journal.close()
    wiring.telemetry.close()


def _tame_collector() -> None:
    """What exists by now lives as long as the process: looking through it again and again would cost every request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 50)


def _ended(task: asyncio.Task[None]) -> None:
    """A background task never ends by itself; if one does, the process is restarted rather than left half alive."""
    if not task.cancelled():
        _log.critical("a background task ended", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def _lock(folder: Path) -> AsyncIterator[None]:
    """Hold the journal folder. Another gateway may have it for a moment, to ship what it took to be left."""
    for attempt in range(_LOCK_TRIES):
        with folder_lock(folder) as held:
            if held:
                yield
                return
        if attempt == 0:
            _log.warning("another process holds the journal, waiting", extra={"folder": str(folder)})
        await asyncio.sleep(_LOCK_TRY_SECONDS)
    raise StartError(f"another gateway uses the journal {folder}: give each its own PADDOCK_GATEWAY_INSTANCE")


if __name__ == "__main__":
    main()
