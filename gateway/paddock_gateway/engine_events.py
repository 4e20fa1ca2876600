"""What Triton sends: one JSON object an event, as a `Chunk`."""

import msgspec


class Chunk(msgspec.Struct):
    """One response of the model. A count of None means that this repository does not report it."""

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
        return _decoder.decode(event)
    except msgspec.DecodeError:
        return _joined(_list_decoder.decode(event))


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
