"""How long serving pods live, told to the control plane: so a platform team sees what a deployment's GPUs cost.

Level-triggered: every look tells of each pod from when it started until when it was seen, so a report that is lost or
comes twice changes nothing, and an operator that was away makes up for it with the first look afterwards. What no look
saw is lost: at most `TELL_SECONDS` at a pod's end, or what was left of a pod that went while no operator ran.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from paddock_core.planning.gpus import GPU_RESOURCE
from paddock_core.resources import names
from paddock_core.usage.pod_time import Sighting, merged

from paddock_operator.cache import Cache
from paddock_operator.errors import ControlPlaneError
from paddock_operator.leader import LeaderElector
from paddock_operator.ports import Clock, ControlPlane, Manifest
from paddock_operator.times import parse_time

log = logging.getLogger(__name__)

TELL_SECONDS = 15.0
BATCH = 1000
MOST_UNTOLD = 50_000
_OVER = ("Succeeded", "Failed")
_STATUSES = "containerStatuses"


class PodTimes:
    """One loop beside the workers; only the leader's does anything."""

    def __init__(
        self, *, cache: Cache, control_plane: ControlPlane, clock: Clock, gpu_resource: str = GPU_RESOURCE
    ) -> None:
        self._gpu_resource = gpu_resource
        self._cache = cache
        self._control_plane = control_plane
        self._clock = clock
        self._untold: dict[str, Sighting] = {}
        """Kept until told, also of pods that are gone by then."""

    async def run(self, leader: LeaderElector) -> None:
        """Never returns. What cannot be told now is told with the next look."""
        while True:
            await leader.leading.wait()
            await self.look()
            await asyncio.sleep(TELL_SECONDS)

    async def look(self) -> None:
        """See every pod, and tell what was not told yet."""
        now_ms = int(self._clock.now() * 1000)
        for pod in self._cache.serving_pods():
            seen = sighting(pod, now_ms=now_ms, gpu_resource=self._gpu_resource)
            if seen is not None:
                known = self._untold.pop(seen.uid, seen)
                self._untold[seen.uid] = merged(known, seen)
        while len(self._untold) > MOST_UNTOLD:
            self._untold.pop(next(iter(self._untold)))
            log.warning("the time of a pod is lost: the control plane was away for too long")
        try:
            while self._untold:
                batch = list(self._untold.values())[:BATCH]
                await self._control_plane.tell_pod_times(batch)
                for item in batch:
                    del self._untold[item.uid]
        except ControlPlaneError as error:
            log.warning("the time of pods is not told yet", extra={"error": str(error), "pods": len(self._untold)})


def sighting(pod: Manifest, *, now_ms: int, gpu_resource: str = GPU_RESOURCE) -> Sighting | None:
    """What a look sees of a pod; None if it has not started, is none of ours, or ended at an unknown time.

    Whole GPUs are counted, by the resource that stands for them: no slices of GPUs, and no claimed ones.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels") or {}
    # Only the operator makes pods in these namespaces: elsewhere, labels are whatever somebody wrote.
    tenant = names.tenant_served_in(str(metadata["namespace"])) or ""
    namespace, name = labels.get(names.DEPLOYMENT_NAMESPACE), labels.get(names.DEPLOYMENT_NAME)
    if labels.get(names.COMPONENT) != names.SERVING or not all((tenant, namespace, name, status.get("startTime"))):
        return None
    started_ms = int(parse_time(status["startTime"]) * 1000)
    seen_ms = _ended_ms(status) if status.get("phase") in _OVER else now_ms
    if seen_ms is None:
        return None
    requests = [(item.get("resources") or {}).get("requests") or {} for item in pod["spec"].get("containers", ())]
    return Sighting(
        uid=str(metadata["uid"]),
        tenant=tenant,
        deployment=f"{namespace}/{name}",
        gpus=sum(_amount(item, gpu_resource) for item in requests) // 1000,
        cpu_millis=sum(_amount(item, "cpu") for item in requests),
        started_ms=started_ms,
        seen_ms=max(seen_ms, started_ms),
    )


def _amount(requests: Mapping[str, Any], resource: str) -> int:
    """Thousandths of what a container asks for, in the forms that this operator writes."""
    text = str(requests.get(resource, "0"))
    number = text.removesuffix("m")
    if not number.isdigit():
        return 0
    return int(number) if text.endswith("m") else int(number) * 1000


def _ended_ms(status: Mapping[str, Any]) -> int | None:
    """When the last container of a pod ended, as Kubernetes tells it."""
    ends = [((item.get("state") or {}).get("terminated") or {}).get("finishedAt") for item in status.get(_STATUSES, ())]
    return max((int(parse_time(end) * 1000) for end in ends if end), default=None)
