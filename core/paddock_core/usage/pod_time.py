"""How long pods of deployments lived, and so how long they held GPUs: whole milliseconds, split at days of UTC.

A pod's life runs from its own start to when it was last seen alive, or to its end where Kubernetes told one. Each
report says both moments, so it does not matter how often or in which order reports come: the earliest start and the
latest sight count. Nothing is counted twice, and nothing beyond what was seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

DAY_MS = 86_400_000
KEYS = ("tenant", "deployment", "day")
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A pod that was seen. Times are Unix milliseconds."""

    uid: str
    tenant: str
    deployment: str
    """`<namespace>/<name>` of its LlamaDeployment."""
    gpus: int
    cpu_millis: int
    """Thousandths of a CPU that it asked for."""
    started_ms: int
    seen_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What pods held together. CPU time is in thousandths of a CPU times milliseconds."""

    pods: int = 0
    pod_ms: int = 0
    gpu_ms: int = 0
    cpu_milli_ms: int = 0


def merged(known: Sighting, seen: Sighting) -> Sighting:
    """What is known of a pod after another report of it."""
    return Sighting(
        uid=known.uid,
        tenant=known.tenant or seen.tenant,
        deployment=known.deployment,
        gpus=known.gpus,
        cpu_millis=known.cpu_millis,
        started_ms=min(known.started_ms, seen.started_ms),
        seen_ms=max(known.seen_ms, seen.seen_ms),
    )


def days(start_ms: int, end_ms: int) -> Iterator[tuple[date, int]]:
    """The days of UTC that a span touches, with its milliseconds in each; they add up to the whole span."""
    at = start_ms
    while at < end_ms:
        number = at // DAY_MS
        until = min(end_ms, (number + 1) * DAY_MS)
        yield _EPOCH + timedelta(days=number), until - at
        at = until


def spent(
    pods: Iterable[Sighting], *, start_ms: int, end_ms: int, by: Sequence[str] = KEYS
) -> dict[tuple[str, ...], Spent]:
    """What pods held within [start, end), by some of KEYS. A pod counts once in each group that it lived in."""
    found: dict[tuple[str, ...], Spent] = {}
    for pod in pods:
        touched: dict[tuple[str, ...], int] = {}
        for day, length in days(max(pod.started_ms, start_ms), min(pod.seen_ms, end_ms)):
            names = {"tenant": pod.tenant, "deployment": pod.deployment, "day": day.isoformat()}
            key = tuple(names[name] for name in by)
            touched[key] = touched.get(key, 0) + length
        for key, length in touched.items():
            old = found.get(key, Spent())
            found[key] = Spent(
                pods=old.pods + 1,
                pod_ms=old.pod_ms + length,
                gpu_ms=old.gpu_ms + length * pod.gpus,
                cpu_milli_ms=old.cpu_milli_ms + length * pod.cpu_millis,
            )
    return found
