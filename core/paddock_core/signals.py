"""What gateways tell the operator: which routing they know, what is asked of each deployment, and how it answers.

A gateway serves it at `GET /internal/v1/signals?after=<cursor>&wait=<seconds>` on its internal port, with the internal
API's token. The answer holds the deployments that changed after the cursor; with `after=0` all of them.
"""

from collections.abc import Sequence

import msgspec

PATH = "/internal/v1/signals"
WINDOW_SECONDS = 60
"""Counts of answers reach back so long."""
TTFT_BOUNDS_MS = (10, 25, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600)
"""Upper bounds of the buckets of times to the first token; one more bucket holds what is above."""


class _Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base: camelCase on the wire, snake_case here."""


class RevisionSignal(_Document, frozen=True, kw_only=True):
    """How a revision answered within the last WINDOW_SECONDS. Counts of several gateways add up."""

    revision: str
    requests: int = 0
    """Answers that ended, whether well or not. One that its client left, or that the gateway refused, is none."""
    errors: int = 0
    """Of those, the ones that the engine did not bring to their end."""
    output_tokens: int = 0
    output_ms: int = 0
    """Time between the first and the last token of the answers, summed."""
    ttft_ms: tuple[int, ...] = ()
    """Answers by the time to their first token, in the buckets of TTFT_BOUNDS_MS."""


class DeploymentSignal(_Document, frozen=True, kw_only=True):
    """One deployment as one gateway sees it."""

    name: str
    """`<namespace>/<name>`."""
    uid: str
    routing: str = ""
    """Digest of the routing that requests follow from now on; empty where there is none."""
    in_flight: int = 0
    """Requests that are with an engine."""
    held: int = 0
    """Requests that wait for an endpoint."""
    idle_seconds: int | None = None
    """Since the last request ended; None if there was none since the gateway started."""
    endpoints: dict[str, int] = {}
    """Requests at each base URL that has any, whether it is routed to still or not."""
    left: tuple[str, ...] = ()
    """Of these URLs the ones that the routing no longer has: once there is no request left, none comes again."""
    revisions: tuple[RevisionSignal, ...] = ()


class GatewayReport(_Document, frozen=True, kw_only=True):
    """The answer to one poll."""

    instance: str
    started_at: float
    """Unix seconds; another value means that its cursor began anew."""
    cursor: int
    synced: bool
    """False until it has listed the deployments."""
    ended: bool = False
    """True in the last report of a process that stops in order: it has no request left, and takes none."""
    whole: bool = False
    """True if it holds all deployments: others that were told before are gone."""
    deployments: tuple[DeploymentSignal, ...] = ()


def percentile_ms(counts: Sequence[int], *, percent: float) -> float | None:
    """The time below which `percent` of the answers lie, in ms; None where there are none.

    Within a bucket answers are taken to lie evenly. What lies above the last bound counts as up to twice that bound.
    """
    rank = sum(counts) * percent / 100
    below, lower = 0, 0
    for bound, count in zip((*TTFT_BOUNDS_MS, 2 * TTFT_BOUNDS_MS[-1]), counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below, lower = below + count, bound
    return None
