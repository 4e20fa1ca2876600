"""Requests as they stand in a gateway's journal, for the tests of the journal and of what reads it."""

from typing import Any

from paddock_core.usage import settlement
from paddock_core.usage.journal_frames import Intent, Progress
from paddock_core.usage.record import UsageRecord


def intent(name: int | str, **changes: Any) -> Intent:
    """The beginning of a request. A number gives its id three digits, so that ids have the numbers' order."""
    number = name if isinstance(name, int) else 1
    values: dict[str, Any] = {
        "usage_id": f"usage-{name:03}" if isinstance(name, int) else name,
        "tenant": "acme",
        "key_id": "key",
        "owner_tenant": "acme",
        "deployment": "acme-team/demo",
        "model": "demo",
        "dialect": "openai",
        "operation": "chat",
        "stream": True,
        "t_admit": 100.0,
        "reserved_tokens": 90,
        "input_tokens": 10,
        "acceptance_id": "acc",
        "end_user_hash": None,
        "gateway_instance": "gateway-0",
        "journal_seq": number,
    }
    return Intent(**values | changes)


def progress(request: Intent, tokens: int) -> Progress:
    """So many tokens made and sent a second after the admission."""
    return Progress(usage_id=request.usage_id, at=101.0, engine_tokens=tokens, sent_tokens=tokens)


def outcome(request: Intent | int, tokens: int = 5) -> UsageRecord:
    """The end of a request that went well."""
    begun = intent(request) if isinstance(request, int) else request
    return settlement.settle(
        intent=begun,
        progress=progress(begun, tokens),
        status="ok",
        finish_reason="stop",
        final=True,
        ended_at=102.0,
        seq=begun.journal_seq,
    )
