"""What a journal says after a crash: which requests were begun and never settled, and how far each had come."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from paddock_core.usage.journal_frames import Intent, Payload, Progress
from paddock_core.usage.record import UsageRecord
from paddock_core.usage.settlement import lost


@dataclass(slots=True)
class OpenRequests:
    """Folds frames in the order of writing. Settled requests leave it; each id is reported once."""

    intents: dict[str, Intent] = field(default_factory=dict)
    checkpoints: dict[str, Progress] = field(default_factory=dict)

    def add(self, payloads: Iterable[Payload]) -> None:
        """Take the next frames."""
        for payload in payloads:
            if isinstance(payload, Intent):
                self.intents[payload.usage_id] = payload
            elif isinstance(payload, Progress):
                self.checkpoints[payload.usage_id] = payload
            else:
                self.intents.pop(payload.usage_id, None)
                self.checkpoints.pop(payload.usage_id, None)

    def left_open(self) -> tuple["LeftOpen", ...]:
        """The requests that never ended, oldest first."""
        return tuple(
            LeftOpen(intent=intent, progress=self.checkpoints.get(usage_id))
            for usage_id, intent in self.intents.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOpen:
    """A request whose gateway died."""

    intent: Intent
    progress: Progress | None
    """Its last checkpoint."""

    def settle(self, *, final_tokens: int | None = None) -> UsageRecord:
        """Its one record. `final_tokens` is the engine's own count, where it could be asked."""
        return lost(intent=self.intent, progress=self.progress, final_tokens=final_tokens)
