"""One admitted request in what the operator is told: where it is or may be sent, and how it was answered."""

from paddock_core.usage import settlement
from paddock_core.usage.journal_frames import Progress
from paddock_core.usage.record import Status

from paddock_gateway.admit import Admitted
from paddock_gateway.errors import CUT_OFF, INTERNAL, RequestError
from paddock_gateway.wiring import Wiring


class Presence:
    """Counts from when it is made, which is the moment of admission, until `end`."""

    __slots__ = ("_admitted", "_claimed", "_engine", "_meter")

    def __init__(self, *, wiring: Wiring, admitted: Admitted) -> None:
        self._admitted = admitted
        self._engine = wiring.engine
        self._meter = wiring.signals.meter(admitted.target.deployment)
        self._claimed = admitted.revision.endpoints
        self._engine.claim(self._claimed)
        self._meter.begin()

    def claim(self, url: str) -> None:
        """It will be sent there, and nowhere else."""
        self.sent()
        self._claimed = (url,)
        self._engine.claim(self._claimed)

    def sent(self) -> None:
        """It is with an engine, which counts it from now on, or goes to none any more."""
        if self._claimed:
            self._engine.unclaim(self._claimed)
            self._claimed = ()

    def answered(
        self, *, status: Status, failure: RequestError | None, cut: RequestError | None, progress: Progress
    ) -> None:
        """Count how the revision did, unless it was the client or this gateway (`failure`, `cut`) that ended it."""
        ours = failure is not None and failure.code == INTERNAL
        if status == settlement.CLIENT_GONE or ours or (cut is not None and cut.code != CUT_OFF):
            return
        first, began = progress.first_token_at, self._admitted.intent.t_admit
        self._meter.answered(
            self._admitted.revision.name,
            failed=status != settlement.OK,
            ttft_ms=None if first is None else (first - began) * 1000,
            tokens=progress.engine_tokens,
            output_ms=0 if first is None else (progress.at - first) * 1000,
        )

    def end(self) -> None:
        """It is over."""
        self.sent()
        self._meter.end()
