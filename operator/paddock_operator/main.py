"""`paddock-operator`: reads the settings, wires the parts, runs them until SIGTERM."""

import asyncio
import ctypes
import gc
import itertools
import logging
import sys

import uvloop
from pydantic import ValidationError

from paddock_operator.assembly import wired
from paddock_operator.errors import OperatorError
from paddock_operator.health import Health
from paddock_operator.logs import configure_logging
from paddock_operator.overdue import overdue
from paddock_operator.process import Operator
from paddock_operator.settings import OperatorSettings
from paddock_operator.telemetry import Telemetry

log = logging.getLogger(__name__)

SILENT_SECONDS = 180.0
RESYNCS_TO_MISS = 3
SET_ASIDE_SECONDS = 120.0
LOOK_AT_ALL_EVERY = 30
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Of glibc's `mallopt`."""
LARGE_BYTES = 128 * 1024
COLLECT_AFTER = 20_000
"""Objects made beyond those freed before the search for garbage: a round makes thousands and frees them by itself."""


def _give_back() -> None:
    """Let the C library give back what is free: pages of lists are large, and what small things are left between them
    would keep them for good. Other libraries than glibc do as they do."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(M_ARENA_MAX, 1)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


async def _set_aside() -> None:
    """Never returns. What the caches hold is hundreds of thousands of objects that stay: the search for garbage leaves
    them out, which would otherwise stop the process for a second now and then."""
    gc.set_threshold(COLLECT_AFTER, 20, 50)
    for turn in itertools.count(1):
        if turn % LOOK_AT_ALL_EVERY == 0:
            # What was set aside and went since, in a circle, is found by no other search.
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        _give_back()
        await asyncio.sleep(SET_ASIDE_SECONDS)


def watch_over(operator: Operator, health: Health, telemetry: Telemetry) -> None:
    """Checks and gauges of the running parts."""
    loop, settings = operator.loop, operator.settings
    for reflector in operator.reflectors():
        kind = f"{reflector.kind.api_version}/{reflector.kind.plural} {reflector.selector}".strip()
        health.alive(f"watch {kind}", lambda r=reflector: _silent(r.silent_seconds()))  # type: ignore[misc]
        health.ready(f"list {kind}", lambda r=reflector: None if r.synced.is_set() else "not listed yet")  # type: ignore[misc]
    late = settings.resync_seconds * RESYNCS_TO_MISS
    health.alive(
        "resync", lambda: "resync is overdue" if _leads(operator) and loop.resync_age_seconds() > late else None
    )
    # The webhook is reached on ready pods alone: with an expired policy it still answers, and warns of that.
    health.ready("policy", lambda: None if operator.policy.known else "no policy was read yet")
    telemetry.gauge("paddock_operator_queue_depth", "Keys that wait", lambda: float(len(loop.queue)))
    telemetry.gauge("paddock_operator_queue_age", "Age of the oldest due key, s", loop.queue.oldest_age_seconds)
    telemetry.gauge(
        "paddock_operator_drifted",
        "Deployments that would be rendered otherwise now",
        lambda: float(operator.reconciler.drifted),
    )
    telemetry.gauge(
        "paddock_operator_deletions_overdue",
        "Objects that were to be deleted long ago and are still there",
        lambda: float(
            overdue(operator.deletable(), now=operator.clock.now(), drain_limit_seconds=settings.drain_limit_seconds)
        ),
    )
    # Those that do not lead saw deployments as they were: only one instance counts them.
    telemetry.gauges(
        "paddock_operator_conditions",
        "Deployments by condition, its status and its reason",
        lambda: operator.reconciler.conditions.counts() if _leads(operator) else (),
    )
    telemetry.gauge(
        "paddock_operator_probes_doubted",
        "Pods that are kept as endpoints though the operator's probes of them fail, since most others fail too",
        lambda: float(operator.probes.doubted if _leads(operator) else 0),
    )
    telemetry.gauge("paddock_operator_leads", "1 if this instance leads", lambda: float(_leads(operator)))
    telemetry.gauge("paddock_operator_gateways", "Gateways that answer", lambda: float(operator.signals.answering()))
    telemetry.gauge(
        "paddock_operator_policy_age", "Seconds since the policy was confirmed", operator.policy.age_seconds
    )


def _leads(operator: Operator) -> bool:
    return operator.leader.leading.is_set()


def _silent(seconds: float) -> str | None:
    return f"nothing heard for {seconds:.0f} s" if seconds > SILENT_SECONDS else None


async def run(settings: OperatorSettings) -> None:
    """Run the operator until SIGTERM."""
    telemetry, health = Telemetry(), Health()
    async with wired(settings, telemetry) as operator:
        watch_over(operator, health, telemetry)
        runner = await health.serve(host=settings.health_host, port=settings.health_port)
        aside = asyncio.create_task(_set_aside())
        try:
            await operator.run()
        finally:
            aside.cancel()
            await runner.cleanup()
            telemetry.close()


def main() -> None:
    """Entry of the command. Exit status 2: the settings are wrong."""
    try:
        settings = OperatorSettings()  # type: ignore[call-arg]  # required ones come from the environment
        configure_logging(settings.log_level)
        log.info("starting", extra={"settings": settings.model_dump(mode="json")})
        uvloop.run(run(settings))
    except (ValidationError, ValueError, OSError, OperatorError) as error:
        print(f"paddock-operator: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
