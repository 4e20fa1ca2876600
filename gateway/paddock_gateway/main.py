"""The gateway's process: what runs beside the server, in which order it starts and stops."""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import uvloop
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.lineage import resolve
from paddock_core.usage.recovery import LeftOpen
from pydantic import ValidationError

from paddock_gateway.active_users import ActiveUsers
from paddock_gateway.adopt import Adopter, folder_lock
from paddock_gateway.app import App
from paddock_gateway.artifacts import PromptModels
from paddock_gateway.clock import SYSTEM, Clock
from paddock_gateway.denying import DenialTeller
from paddock_gateway.deployments import Deployment, Routes, follow_deployments
from paddock_gateway.engine import Engine
from paddock_gateway.errors import PaddockGatewayError
from paddock_gateway.export import Exported, start_export
from paddock_gateway.gauges import gauges
from paddock_gateway.holding import HoldQueue
from paddock_gateway.internal import internal_port
from paddock_gateway.journal import Journal
from paddock_gateway.leases import Leases
from paddock_gateway.logs import configure_logging
from paddock_gateway.policy import PolicyFollower
from paddock_gateway.protocol import Server, bounded
from paddock_gateway.recover import Reaper, left_open, recover
from paddock_gateway.refused import RefusedRecords
from paddock_gateway.route import LicenseGate
from paddock_gateway.secrets import SecretFile, presenting
from paddock_gateway.settings import Settings
from paddock_gateway.ship import Shipper
from paddock_gateway.signals import Signals
from paddock_gateway.telemetry import start_telemetry
from paddock_gateway.wiring import Wiring

_log = logging.getLogger(__name__)
_LOCK_TRIES, _LOCK_TRY_SECONDS = 40, 0.25
_SWEEP_SECONDS = 300.0
_COLLECT_AFTER = 20_000
"""Objects made beyond those freed before the collector looks; requests free theirs by reference counting."""
_SWITCH_SECONDS = 0.0005
"""How long the event loop may keep the interpreter while the journal's thread wants it. Python's default of 5 ms would
be added to every commit under load."""


class StartError(PaddockGatewayError):
    """The gateway cannot start; the message says what to do."""


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
        server = Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=bounded(max_head_bytes=settings.max_header_bytes, head_seconds=settings.body_timeout_seconds),
                ws="none",
                proxy_headers=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                backlog=4096,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(settings.shutdown_seconds) + 6,
            )
        )
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        serving = asyncio.create_task(server.serve())
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        server.should_exit = True
        await app.finish(settings.shutdown_seconds)
        await serving
    _log.info("stopped")


@asynccontextmanager
async def running(settings: Settings, *, clock: Clock) -> AsyncIterator[App]:
    """Everything but the server itself. On the way out: journal closed, records shipped as far as possible."""
    internal = read_secret(settings.internal_token_file)
    folder = settings.journal_dir / settings.instance
    secret = SecretFile(settings.internal_token_file, text=internal)
    async with _lock(folder), aiohttp.ClientSession(trust_env=False, middlewares=(presenting(secret),)) as session:
        journal = Journal(folder=folder, segment_bytes=settings.journal_segment_bytes)
        exported = start_export(settings.instance)
        users = ActiveUsers(
            url=settings.controlplane_url,
            token=internal,
            period=settings.active_users_seconds,
            most=settings.active_users_most,
            sent=journal.settled_event.set,
        )
        shipper = Shipper(
            journal=journal,
            refused=RefusedRecords(folder),
            users=users,
            url=settings.controlplane_url,
            token=internal,
            batch=settings.ship_batch,
            linger=settings.ship_linger_seconds,
            exported=exported,
        )
        wiring = _wire(settings, clock, internal, journal, shipper, exported, session)
        requests = await asyncio.to_thread(left_open, folder)
        for request in requests:
            journal.keep_open(request.intent.usage_id)
        work = (*_background(wiring, shipper, session), _settle_the_lost(requests, wiring, shipper, session))
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


def _wire(
    settings: Settings,
    clock: Clock,
    internal: str,
    journal: Journal,
    shipper: Shipper,
    exported: Exported | None,
    session: aiohttp.ClientSession,
) -> Wiring:
    url, cache = settings.controlplane_url, settings.cache_dir
    policy = PolicyFollower(url=url, token=internal, cache_dir=cache, clock=clock, wait=settings.policy_wait_seconds)
    policy.load()
    engine = Engine(connect_timeout=settings.engine_connect_timeout_seconds)
    signals = Signals(clock=clock, instance=settings.instance, requests_at=engine.requests_at)
    routes, catalog = Routes(), packaged_catalog()
    signals.synced = lambda: routes.synced
    held = HoldQueue(
        routes=routes,
        signals=signals,
        of_deployment=settings.max_held,
        bytes_in_all=settings.max_held_bytes,
        of_tenant=settings.max_held_of_tenant,
        in_all=settings.max_held_in_all,
    )

    def routed(name: str, deployment: Deployment | None) -> None:
        signals.routed(name, deployment)
        held.flow(name)

    routes.told = routed

    def family(model: str) -> str:
        entry = resolve(model=model, registered=policy.view.models, catalog=catalog)
        return "" if entry is None else entry.family

    leases = Leases(
        url=url,
        token=internal,
        instance=settings.instance,
        clock=clock,
        shipped=lambda: shipper.recovered,
        view=lambda: policy.view,
    )
    return Wiring(
        settings=settings,
        clock=clock,
        policy=policy,
        routes=routes,
        licenses=LicenseGate(catalog=catalog),
        prompt_models=PromptModels(url=url, token=internal, cache_dir=cache, family=family, session=session),
        leases=leases,
        journal=journal,
        engine=engine,
        signals=signals,
        held=held,
        telemetry=start_telemetry(
            exported=exported,
            address=(settings.metrics_host, settings.metrics_port),
            gauges=gauges(
                policy=policy, journal=journal, routes=routes, shipper=shipper, leases=leases, engine=engine, held=held
            ),
        ),
        platform_key=read_secret(settings.platform_key_file).encode(),
    )


def _background(
    wiring: Wiring, shipper: Shipper, session: aiohttp.ClientSession
) -> tuple[Coroutine[Any, Any, None], ...]:
    """What runs for as long as the process does."""
    routes = wiring.routes
    deployments = follow_deployments(
        kubeconfig=wiring.settings.kubeconfig,
        routes=routes,
        changed=wiring.prompt_models.prefetch,
        settled=lambda: _keep_connections(wiring),
    )
    followers = (wiring.policy.follow(session), deployments, shipper.run(session), shipper.users.run(session))
    url, token = wiring.settings.controlplane_url, read_secret(wiring.settings.internal_token_file)
    denials = DenialTeller(book=wiring.licenses.denied, url=url, token=token)
    own = (wiring.leases.run(session), denials.run(session), wiring.signals.run(), _forget_caches(wiring))
    return *followers, *own


def _keep_connections(wiring: Wiring) -> None:
    if wiring.routes.moved:
        wiring.routes.moved = False
        wiring.engine.keep_only(wiring.routes.endpoints())


async def _forget_caches(wiring: Wiring) -> None:
    """Tokenizers that no deployment needs any more; what is not known to be gone stays."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        if wiring.routes.synced:
            wanted = {target.tokenizer for item in wiring.routes.by_name.values() for target in item.targets}
            wiring.prompt_models.sweep(wanted)


async def _settle_the_lost(
    requests: tuple[LeftOpen, ...], wiring: Wiring, shipper: Shipper, session: aiohttp.ClientSession
) -> None:
    """What this gateway's last process left open, then for ever what other gateways left on the same volume."""
    settings = wiring.settings
    reaper = Reaper(
        engine=wiring.engine,
        routes=wiring.routes,
        platform_key=wiring.platform_key,
        patience=settings.reap_seconds,
        waiting=wiring.signals.recover,
    )
    await recover(requests=requests, journal=wiring.journal, reaper=reaper)
    shipper.expect_recovery()
    adopter = Adopter(
        root=settings.journal_dir,
        own=settings.instance,
        shipper=shipper,
        reaper=reaper,
        idle=settings.adopt_after_seconds,
    )
    await adopter.run(session)


def read_secret(path: Path) -> str:
    """The text of a secret's file, without the white space around it. Raises StartError."""
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise StartError(f"the secret file {path} cannot be read: {error.strerror}") from error
    if not secret:
        raise StartError(f"the secret file {path} is empty")
    return secret


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
