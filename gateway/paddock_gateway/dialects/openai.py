"""OpenAI's chat completions and completions: what a request means, and the shape of answers and errors."""

from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_core.serving.chat_template import Message as TemplateMessage

from paddock_gateway.dialects.base import Completion, Sampling, Usage
from paddock_gateway.dialects.openai_requests import (
    GROUP,
    ChatRequest,
    CompletionRequest,
    check_supported,
    parse_failure,
)
from paddock_gateway.errors import RequestError, bad_request

_chat_decoder = msgspec.json.Decoder(ChatRequest)
_completion_decoder = msgspec.json.Decoder(CompletionRequest)
_encode = msgspec.json.encode
_DONE = b"data: [DONE]\n\n"


class OpenAI:
    """The dialect. Stateless."""

    name = "openai"
    paths = {"/v1/chat/completions": "chat", "/v1/completions": "text_completion"}  # noqa: RUF012 - Protocol's attribute
    scopes = {"chat": "chat", "text_completion": "completions"}  # noqa: RUF012 - as above

    def parse(self, *, operation: str, body: bytes) -> Completion:
        request: ChatRequest | CompletionRequest
        try:
            request = _chat_decoder.decode(body) if operation == "chat" else _completion_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise parse_failure(error) from error
        check_supported(request)
        options = request.stream_options
        shared: dict[str, Any] = {
            "operation": operation,
            "model": request.model,
            "stream": bool(request.stream),
            "include_usage": bool(options and options.include_usage),
            "end_user": request.safety_identifier or request.user or None,
            "sampling": _sampling(request),
        }
        if isinstance(request, ChatRequest):
            limit = request.max_completion_tokens
            group = (request.metadata or {}).get(GROUP)
            return Completion(
                end_user_group=group if isinstance(group, str) else None,
                messages=tuple(_message(index, item) for index, item in enumerate(request.messages)),
                max_tokens=limit if limit is not None else request.max_tokens,
                **shared,
            )
        return Completion(prompt=_prompt(request.prompt), max_tokens=request.max_tokens, **shared)

    def answer(
        self, *, completion: Completion, usage_id: str, created: int, model: str, notices: tuple[str, ...] = ()
    ) -> "OpenAIAnswer":
        chat = completion.operation == "chat"
        prefix = "chatcmpl-" if chat else "cmpl-"
        kind = "chat.completion" if chat else "text_completion"
        chunk_kind = "chat.completion.chunk" if chat else "text_completion"
        return OpenAIAnswer(
            chat=chat,
            include_usage=completion.include_usage,
            whole_head=_head(prefix + usage_id, kind, created, model, notices),
            chunk_head=b"data: " + _head(prefix + usage_id, chunk_kind, created, model, notices),
        )

    def error(self, error: RequestError) -> bytes:
        return _encode(_error(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIAnswer:
    """Pastes chunks together from prepared bytes; only the text itself is encoded for each."""

    chat: bool
    include_usage: bool
    whole_head: bytes
    chunk_head: bytes
    content_type_stream: bytes = b"text/event-stream; charset=utf-8"

    def first(self) -> bytes:
        return self._piece(b'{"role":"assistant","content":"","refusal":null}', b"null") if self.chat else b""

    def chunk(self, text: str) -> bytes:
        encoded = _encode(text)
        return self._piece(b'{"content":' + encoded + b"}" if self.chat else encoded, b"null")

    def last(self, *, finish_reason: str, usage: Usage) -> bytes:
        end = self._piece(b"{}" if self.chat else b'""', _encode(finish_reason))
        if self.include_usage:
            end += self.chunk_head + b'"choices":[],"usage":' + _usage(usage) + b"}\n\n"
        return end + _DONE

    def broken(self, error: RequestError) -> bytes:
        return b"data: " + _encode(_error(error)) + b"\n\n"

    def whole(self, *, text: str, finish_reason: str, usage: Usage) -> bytes:
        content = _encode(text)
        if self.chat:
            content = b'"message":{"role":"assistant","content":' + content + b',"refusal":null}'
        else:
            content = b'"text":' + content
        choice = b'"choices":[{"index":0,' + content + b',"logprobs":null,"finish_reason":' + _encode(finish_reason)
        return self.whole_head + choice + b'}],"usage":' + _usage(usage) + b"}"

    def _piece(self, content: bytes, finish: bytes) -> bytes:
        field = b'"delta":' if self.chat else b'"text":'
        usage = b',"usage":null}\n\n' if self.include_usage else b"}\n\n"
        return b"".join(
            (
                self.chunk_head,
                b'"choices":[{"index":0,',
                field,
                content,
                b',"logprobs":null,"finish_reason":',
                finish,
                b"}]",
                usage,
            )
        )


DIALECT = OpenAI()


def _head(identifier: str, kind: str, created: int, model: str, notices: tuple[str, ...]) -> bytes:
    fields: dict[str, Any] = {"id": identifier, "object": kind, "created": created, "model": model}
    if notices:
        # No field of OpenAI's: its clients pass over what they do not know.
        fields["notices"] = notices
    return _encode(fields)[:-1] + b","


def _usage(usage: Usage) -> bytes:
    total = usage.input_tokens + usage.output_tokens
    return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
        usage.input_tokens,
        usage.output_tokens,
        total,
    )


def _error(error: RequestError) -> dict[str, Any]:
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def _sampling(request: ChatRequest | CompletionRequest) -> Sampling:
    stop = request.stop
    seed = None if request.seed is None else request.seed & 0xFFFF_FFFF_FFFF_FFFF
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=seed,
        frequency_penalty=request.frequency_penalty,
        presence_penalty=request.presence_penalty,
        stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
    )


def _message(index: int, message: Any) -> TemplateMessage:
    content = message.content
    if content is None:
        raise bad_request("invalid_value", f"messages[{index}] has no content", param=f"messages[{index}].content")
    if not isinstance(content, str):
        content = "".join(part.text for part in content)
    role = "system" if message.role == "developer" else message.role
    named = {} if message.name is None else {"name": message.name}
    return {"role": role, "content": content, **named}


def _prompt(prompt: Any) -> str | tuple[int, ...]:
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and isinstance(prompt[0], str | list):
        return prompt[0] if isinstance(prompt[0], str) else tuple(prompt[0])
    if prompt and all(isinstance(item, int) for item in prompt):
        return tuple(prompt)
    raise bad_request(
        "unsupported_value",
        "prompt must be one text or one list of token ids: send one request for each",
        param="prompt",
    )
