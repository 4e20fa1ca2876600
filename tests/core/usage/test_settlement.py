"""Which count is billed, for every way a request can end (the table in docs/metering.md)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.usage import settlement
from paddock_core.usage.journal_frames import Intent, Progress


def intent(*, stream: bool) -> Intent:
    return Intent(
        usage_id="u",
        tenant="t",
        key_id="k",
        owner_tenant="o",
        deployment="n/d",
        model="m",
        dialect="openai",
        operation="chat",
        stream=stream,
        t_admit=1.0,
        reserved_tokens=60,
        input_tokens=10,
        acceptance_id="a",
        end_user_hash=None,
        gateway_instance="g",
        journal_seq=1,
    )


@pytest.mark.parametrize(
    ("status", "stream", "final", "output", "billed_from", "source", "input_tokens"),
    [
        ("ok", True, True, 9, "engine", "exact", 10),
        ("ok", False, True, 9, "engine", "exact", 10),
        ("ok", True, False, 7, "sent", "counted", 10),
        ("client_gone", True, True, 9, "engine", "exact", 10),
        ("client_gone", True, False, 7, "sent", "counted", 10),
        ("client_gone", False, False, 9, "engine", "counted", 10),
        ("engine_error", True, False, 7, "sent", "counted", 10),
        ("gateway_lost", True, False, 7, "sent", "bounded", 10),
        ("gateway_lost", True, True, 9, "engine", "counted", 10),
        ("gateway_lost", False, True, 7, "sent", "bounded", 10),
        ("refused_by_engine", True, False, 0, "engine", "exact", 0),
    ],
)
def test_the_table(
    *, status: str, stream: bool, final: bool, output: int, billed_from: str, source: str, input_tokens: int
) -> None:
    row = settlement.settle(
        intent=intent(stream=stream),
        progress=Progress(usage_id="u", at=2.0, engine_tokens=9, sent_tokens=7, first_token_at=1.5),
        status=status,
        finish_reason=None,
        final=final,
        ended_at=3.0,
        seq=4,
    )
    assert (row.output_tokens, row.billed_from, row.usage_source) == (output, billed_from, source)
    assert row.input_tokens == input_tokens
    assert row.output_tokens_engine == (9 if final else None)
    assert row.output_tokens_sent == 7


@given(
    status=st.sampled_from(["ok", "client_gone", "engine_error", "gateway_lost", "refused_by_engine"]),
    engine=st.integers(0, 100),
    sent=st.integers(0, 100),
    stream=st.booleans(),
    final=st.booleans(),
)
def test_nobody_pays_for_more_than_the_engine_made(
    *, status: str, engine: int, sent: int, stream: bool, final: bool
) -> None:
    progress = Progress(usage_id="u", at=2.0, engine_tokens=engine, sent_tokens=min(sent, engine))
    row = settlement.settle(
        intent=intent(stream=stream),
        progress=progress,
        status=status,
        finish_reason=None,
        final=final,
        ended_at=3.0,
        seq=1,
    )
    assert 0 <= row.output_tokens <= engine
    asked_later = status == "gateway_lost" and final and stream
    if status in ("engine_error", "gateway_lost") and progress.sent_tokens == 0 and not asked_later:
        assert (row.input_tokens, row.output_tokens) == (0, 0)


@given(count=st.integers(-(2**70), 2**70) | st.integers(-2, 60), stream=st.booleans())
def test_a_count_that_the_engine_cannot_have_reached_is_not_billed(*, count: int, stream: bool) -> None:
    checkpoint = Progress(usage_id="u", at=2.0, engine_tokens=9, sent_tokens=7)
    request = intent(stream=stream)
    row = settlement.lost(intent=request, progress=checkpoint, final_tokens=count)
    believed = 0 <= count <= request.reserved_tokens - request.input_tokens
    assert settlement.credible(request, count) == believed
    assert row.output_tokens == (max(count, 9) if believed and stream else 7)
    assert (row.output_tokens_engine is None) == (not believed)
