"""The gateway's parts put together: what a request needs, and what runs beside requests."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.lineage import resolve
from paddock_core.usage.recovery import LeftOpen

from paddock_gateway.adopt import Adopter
from paddock_gateway.artifacts import PromptModels
from paddock_gateway.clock import Clock
from paddock_gateway.denying import DenialTeller
from paddock_gateway.deployments import Deployment, Routes, follow_deployments
from paddock_gateway.engine import Engine
from paddock_gateway.errors import PaddockGatewayError
from paddock_gateway.export import Exported
from paddock_gateway.gauges import gauges
from paddock_gateway.holding import HoldQueue
from paddock_gateway.journal import Journal
from paddock_gateway.leases import Leases
from paddock_gateway.policy import PolicyFollower
from paddock_gateway.recover import Reaper, recover
from paddock_gateway.route import LicenseGate
from paddock_gateway.settings import Settings
from paddock_gateway.ship import Shipper
from paddock_gateway.signals import Signals
from paddock_gateway.telemetry import start_telemetry
from paddock_gateway.wiring import Wiring

_SWEEP_SECONDS = 300.0


class StartError(PaddockGatewayError):
    """The gateway cannot start; the message says what to do."""


def wire(
    *,
    settings: Settings,
    clock: Clock,
    internal: str,
    journal: Journal,
    shipper: Shipper,
    exported: Exported | None,
    session: aiohttp.ClientSession,
) -> Wiring:
    """What requests need. `internal`: the internal API's token. Raises StartError."""
    url, cache = settings.controlplane_url, settings.cache_dir
    policy = PolicyFollower(url=url, token=internal, cache_dir=cache, clock=clock, wait=settings.policy_wait_seconds)
    policy.load()
    engine = Engine(connect_timeout=settings.engine_connect_timeout_seconds)
    signals = Signals(clock=clock, instance=settings.instance, requests_at=engine.requests_at)
    routes, catalog = Routes(), packaged_catalog()
    held = _line(settings, routes, signals)
    family = _families(policy, catalog)
    leases = Leases(
        url=url,
        token=internal,
        instance=settings.instance,
        clock=clock,
        shipped=lambda: shipper.recovered,
        view=lambda: policy.view,
    )
    told = gauges(
        policy=policy, journal=journal, routes=routes, shipper=shipper, leases=leases, engine=engine, held=held
    )
    metrics = (settings.metrics_host, settings.metrics_port)
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
        telemetry=start_telemetry(exported=exported, address=metrics, gauges=told),
        platform_key=read_secret(settings.platform_key_file).encode(),
    )


def _line(settings: Settings, routes: Routes, signals: Signals) -> HoldQueue:
    """The hold queue, which hears of every route just after the signals do."""
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
    signals.synced = lambda: routes.synced
    return held


def _families(policy: PolicyFollower, catalog: Catalog) -> Callable[[str], str]:
    def family(model: str) -> str:
        entry = resolve(model=model, registered=policy.view.models, catalog=catalog)
        return "" if entry is None else entry.family

    return family


def background(
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


async def settle_the_lost(
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
