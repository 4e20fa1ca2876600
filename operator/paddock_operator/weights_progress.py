"""How far the weights Jobs are. What is remembered can be thrown away: the next answer replaces it."""

from dataclasses import dataclass, replace

from paddock_core.resources.llamadeployment import WeightsStatus
from paddock_core.serving.contract import PROGRESS_PATH, PROGRESS_PORT

from paddock_operator.decide.weights import INTERVAL_SECONDS
from paddock_operator.forgetting import Remembered
from paddock_operator.observed import WeightsJob
from paddock_operator.ports import Clock, Manifest, ProgressReader

FORGET_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    asked_at: float
    answer: WeightsStatus | None


class ProgressBook:
    """Asks pods that run, each at most once an interval, however many deployments wait: each answer is a write of each
    one's status."""

    def __init__(self, *, reader: ProgressReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._known: Remembered[str, _Memory] = Remembered(seconds=FORGET_SECONDS)

    async def asked(self, weights: WeightsJob) -> WeightsJob:
        """The same Job, with what its newest running pod says. One that does not answer said what it said last."""
        running = [pod for pod in weights.pods if _runs(pod)]
        if not running:
            return weights
        pod = running[-1]
        uid = str(pod["metadata"]["uid"])
        before, now = self._known.get(uid), self._clock.boottime()
        if before is None or now - before.asked_at >= INTERVAL_SECONDS * 0.9:
            # Noted first: what others ask meanwhile is not asked twice.
            self._known[uid] = _Memory(asked_at=now, answer=None if before is None else before.answer)
            answer = await self._reader.read(url=progress_url(pod))
            if answer is not None:
                self._known[uid] = _Memory(asked_at=now, answer=answer)
            self._known.forget(now=now)
        return replace(weights, progress=self._known[uid].answer)


def progress_url(pod: Manifest) -> str:
    """Where a weights pod tells how far it is."""
    address = str(pod["status"]["podIP"])
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{PROGRESS_PORT}{PROGRESS_PATH}"


def _runs(pod: Manifest) -> bool:
    status = pod.get("status") or {}
    going = "deletionTimestamp" in pod["metadata"]
    return not going and status.get("phase") == "Running" and bool(status.get("podIP"))
