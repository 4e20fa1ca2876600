"""How far the weights Jobs are. What is remembered can be thrown away: the next answer replaces it."""

from dataclasses import replace

from paddock_core.serving.contract import PROGRESS_PATH, PROGRESS_PORT

from paddock_operator.decide.weights import INTERVAL_SECONDS
from paddock_operator.lanes import Lanes
from paddock_operator.observed import WeightsJob
from paddock_operator.ports import Clock, Manifest, ProgressReader
from paddock_operator.telling import TellingBook

FORGET_SECONDS = 600.0


class ProgressBook:
    """Asks pods that run, each at most once an interval, however many deployments wait: each answer is a write of each
    one's status."""

    def __init__(self, *, reader: ProgressReader, clock: Clock, lanes: Lanes) -> None:
        self._told = TellingBook(
            ask=lambda url: reader.read(url=url),
            clock=clock,
            lanes=lanes,
            interval_seconds=INTERVAL_SECONDS,
            keep_seconds=FORGET_SECONDS,
        )

    async def asked(self, weights: WeightsJob) -> WeightsJob:
        """The same Job, with what its newest running pod says. One that does not answer said what it said last."""
        running = [pod for pod in weights.pods if _runs(pod)]
        if not running:
            return weights
        pod = running[-1]
        uid = str(pod["metadata"]["uid"])
        words = await self._told.words({uid: progress_url(pod)})
        return replace(weights, progress=words[uid].said if uid in words else None)


def progress_url(pod: Manifest) -> str:
    """Where a weights pod tells how far it is."""
    address = str(pod["status"]["podIP"])
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{PROGRESS_PORT}{PROGRESS_PATH}"


def _runs(pod: Manifest) -> bool:
    status = pod.get("status") or {}
    going = "deletionTimestamp" in pod["metadata"]
    return not going and status.get("phase") == "Running" and bool(status.get("podIP"))
