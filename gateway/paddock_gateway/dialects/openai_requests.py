"""The requests of OpenAI's API as types: bounded, and complete, so that no parameter is passed over in silence."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from paddock_gateway.errors import RequestError, bad_request

_Text = Annotated[str, Meta(max_length=1024)]
_Stop = Annotated[str, Meta(min_length=1, max_length=256)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
GROUP = "end_user_group"
"""The key of `metadata` that names the group of end users in which a request is reported."""
_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last five are what the SDK echoes in a conversation's history; they must be empty.

    `name` reaches the model's chat template; where that makes no use of it, the request is refused (prompt.py).
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: _Text | None = None
    refusal: None = None
    annotations: Annotated[list[Any], Meta(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[Any], Meta(max_length=0)] | None = None


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds share. Parameters typed Any are known and refused unless neutral: see `_NEUTRAL`."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    seed: _Seed | None = None
    stop: _Stop | Annotated[list[_Stop], Meta(max_length=4)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    user: _Text | None = None
    safety_identifier: _Text | None = None
    n: Any = None
    logit_bias: Any = None
    logprobs: Any = None


class ChatRequest(_Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`metadata` and `prompt_cache_key` never change the answer, by their definition.

    The first labels requests (its GROUP is in the ledger), the second says which could share a cached prefix.
    """

    messages: Annotated[list[Message], Meta(min_length=1, max_length=4096)]
    max_completion_tokens: _Count | None = None
    prompt_cache_key: _Text | None = None
    metadata: dict[str, Any] | None = None
    response_format: Any = None
    tools: Any = None
    tool_choice: Any = None
    parallel_tool_calls: Any = None
    functions: Any = None
    function_call: Any = None
    top_logprobs: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    service_tier: Any = None
    store: Any = None
    web_search_options: Any = None


class CompletionRequest(_Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: str | list[str | int | list[int]]
    suffix: Any = None
    echo: Any = None
    best_of: Any = None


_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "web_search_options": (),
    "suffix": ("",),
    "echo": (False,),
    "best_of": (1,),
}
"""Values that ask for nothing beyond what is done anyway. Any other would change the answer if it were obeyed."""
_CHECKED = {
    kind: tuple(name for name in _NEUTRAL if name in kind.__struct_fields__)
    for kind in (ChatRequest, CompletionRequest)
}


def check_supported(request: ChatRequest | CompletionRequest) -> None:
    """Refuse what would be ignored. Raises RequestError (400) that names the parameter."""
    for name in _CHECKED[type(request)]:
        value = getattr(request, name)
        if value is not None and not any(
            value == neutral and type(value) is type(neutral) for neutral in _NEUTRAL[name]
        ):
            raise _unsupported(name)
    if request.stream_options is not None and not request.stream:
        raise bad_request("invalid_value", "stream_options needs stream: true", param="stream_options")


def parse_failure(error: Exception) -> RequestError:
    """The answer to a body that does not decode."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return bad_request("invalid_json", f"the body is not valid JSON: {text}")
    place = _AT.search(text)
    param = place.group(1) if place else None
    unknown, missing = _UNKNOWN.search(text), _MISSING.search(text)
    if unknown:
        name = f"{param}.{unknown.group(1)}" if param else unknown.group(1)
        return bad_request("unsupported_parameter", f"parameter {name} is not known here: leave it out", param=name)
    if missing:
        name = f"{param}.{missing.group(1)}" if param else missing.group(1)
        return bad_request("missing_required_parameter", f"parameter {name} is required", param=name)
    return bad_request("invalid_value", _AT.sub("", text) + (f" for {param}" if param else ""), param=param)


def _unsupported(name: str) -> RequestError:
    if name == "n":
        message = "only n=1 is supported: send one request for each answer that you want"
    else:
        message = f"{name} is not supported with this value, and ignoring it would change the answer: leave it out"
    return bad_request("unsupported_parameter", message, param=name)
