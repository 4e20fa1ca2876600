"""From an admitted request and how it ended to its one usage record: which count is billed, and how sure it is.

| how it ended | output billed from | source | input billed |
|---|---|---|---|
| ok | the engine's final count | exact | yes |
| client_gone, the engine had finished | the engine's final count | exact | yes |
| client_gone, streamed | tokens handed to the connection | counted | yes |
| client_gone, not streamed | the engine's counts until it was cancelled | counted | yes |
| engine_error | tokens handed to the connection | counted | if any were |
| gateway_lost, streamed, the engine still knew its count | that count | counted | if any were |
| gateway_lost | tokens of the last checkpoint | bounded | if any were |
| refused_by_engine | nothing | exact | no |

What the platform's own failure left undelivered costs nothing.
"""

from typing import Final

import msgspec

from paddock_core.usage.journal_frames import Intent, Progress
from paddock_core.usage.record import BilledFrom, Status, UsageRecord, UsageSource

OK: Final = "ok"
CLIENT_GONE: Final = "client_gone"
ENGINE_ERROR: Final = "engine_error"
GATEWAY_LOST: Final = "gateway_lost"
REFUSED_BY_ENGINE: Final = "refused_by_engine"


def settle(
    *,
    intent: Intent,
    progress: Progress,
    status: Status,
    finish_reason: str | None,
    final: bool,
    ended_at: float,
    seq: int,
    raw_usage: str | None = None,
) -> UsageRecord:
    """Make the record. `final` says that the engine reported its last count; `ended_at` is Unix seconds."""
    output, billed_from, source = _bill(intent, progress, status, final=final)
    return UsageRecord(
        usage_id=intent.usage_id,
        tenant=intent.tenant,
        key_id=intent.key_id,
        owner_tenant=intent.owner_tenant,
        deployment=intent.deployment,
        model=intent.model,
        dialect=intent.dialect,
        operation=intent.operation,
        stream=intent.stream,
        status=status,
        finish_reason=finish_reason,
        t_admit=intent.t_admit,
        t_first_token=progress.first_token_at,
        t_end=ended_at,
        reserved_tokens=intent.reserved_tokens,
        input_tokens=intent.input_tokens if _input_billed(status, output) else 0,
        output_tokens_engine=progress.engine_tokens if final else None,
        output_tokens_sent=progress.sent_tokens,
        output_tokens=output,
        billed_from=billed_from,
        usage_source=source,
        acceptance_id=intent.acceptance_id,
        end_user_hash=intent.end_user_hash,
        project=intent.project,
        end_user_group=intent.end_user_group,
        raw_usage=raw_usage,
        gateway_instance=intent.gateway_instance,
        journal_seq=seq,
    )


def lost(*, intent: Intent, progress: Progress | None, final_tokens: int | None = None) -> UsageRecord:
    """The record of a request whose gateway died.

    The engine ends a request when its connection closes, and keeps the count (`final_tokens`) for a while: a stream is
    billed by it. Where it is not known or cannot be, and for an answer that was to be sent whole, the last checkpoint
    counts.
    """
    if final_tokens is not None and not credible(intent, final_tokens):
        final_tokens = None
    known = progress or Progress(usage_id=intent.usage_id, at=intent.t_admit)
    if final_tokens is not None:
        known = msgspec.structs.replace(known, engine_tokens=max(final_tokens, known.engine_tokens))
    return settle(
        intent=intent,
        progress=known,
        status=GATEWAY_LOST,
        finish_reason=None,
        final=final_tokens is not None,
        ended_at=known.at,
        seq=intent.journal_seq,
    )


def credible(intent: Intent, output_tokens: int) -> bool:
    """False for a count that an engine cannot have reached: it was given a cap, which is reserved with the input."""
    return 0 <= output_tokens <= intent.reserved_tokens - intent.input_tokens


def _bill(intent: Intent, progress: Progress, status: Status, *, final: bool) -> tuple[int, BilledFrom, UsageSource]:
    if status == REFUSED_BY_ENGINE:
        return 0, "engine", "exact"
    if status == GATEWAY_LOST:
        if final and intent.stream:
            return progress.engine_tokens, "engine", "counted"
        return progress.sent_tokens, "sent", "bounded"
    if status in (OK, CLIENT_GONE) and final:
        return progress.engine_tokens, "engine", "exact"
    if status in (OK, CLIENT_GONE) and not intent.stream:
        return progress.engine_tokens, "engine", "counted"
    return progress.sent_tokens, "sent", "counted"


def _input_billed(status: Status, output: int) -> bool:
    return status in (OK, CLIENT_GONE) or output > 0
