"""What Triton sends: one JSON object an event, as a `Chunk`."""

import msgspec
from paddock_core.serving.contract import FINISH_CANCELLED, FINISH_LENGTH, FINISH_STOP
from paddock_core.usage.money import MOST_TOKENS

_BROKEN_OFF = ("abort", "aborted", "canceled", FINISH_CANCELLED, "error", "timeout")
_REASONS = {FINISH_STOP: FINISH_STOP, FINISH_LENGTH: FINISH_LENGTH, **dict.fromkeys(_BROKEN_OFF, FINISH_CANCELLED)}
"""What foreign repositories call the end of an answer. Any other text is an end as well: the engine has stopped."""


class Chunk(msgspec.Struct):
    """One response of the model. A count of None means that this repository does not report it.

    The reason is one of the contract's. The output's count is as the engine wrote it: `counting` says what it is worth.
    """

    text_output: str = ""
    finish_reason: str | None = None
    num_input_tokens: int | None = None
    num_output_tokens: int | None = None
    error: str | None = None


class _Lists(msgspec.Struct):
    """The same where tensors have several elements, which Triton then writes as lists."""

    text_output: str | list[str] = ""
    finish_reason: str | list[str] | None = None
    num_input_tokens: int | list[int] | None = None
    num_output_tokens: int | list[int] | None = None
    error: str | None = None


_decoder = msgspec.json.Decoder(Chunk)
_list_decoder = msgspec.json.Decoder(_Lists)


def read_event(event: bytes) -> Chunk:
    """Decode one event. Raises msgspec.DecodeError if it is none of the forms that Triton writes."""
    try:
        chunk = _decoder.decode(event)
    except msgspec.DecodeError:
        chunk = _joined(_list_decoder.decode(event))
    if chunk.finish_reason:
        chunk.finish_reason = _REASONS.get(chunk.finish_reason, FINISH_STOP)
    if chunk.num_input_tokens is not None and not 0 <= chunk.num_input_tokens <= MOST_TOKENS:
        chunk.num_input_tokens = None
    return chunk


def reported(input_tokens: int | None, output_tokens: int) -> str:
    """What the engine counted, under its own names, in JSON: the ledger keeps it beside what is billed."""
    given = "" if input_tokens is None else f'"num_input_tokens":{input_tokens},'
    return f'{{{given}"num_output_tokens":{output_tokens}}}'


def _joined(lists: _Lists) -> Chunk:
    """The texts together, the counts added, the first reason."""
    text, reason, count = lists.text_output, lists.finish_reason, lists.num_output_tokens
    given = lists.num_input_tokens
    return Chunk(
        text_output=text if isinstance(text, str) else "".join(text),
        finish_reason=(reason[0] if reason else None) if isinstance(reason, list) else reason,
        num_input_tokens=(given[0] if given else None) if isinstance(given, list) else given,
        num_output_tokens=sum(count) if isinstance(count, list) else count,
        error=lists.error,
    )
