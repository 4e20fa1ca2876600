"""What a dialect is: one API's shape, from bytes to a `Completion` and from counted text back to bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from paddock_core.serving.chat_template import Message

from paddock_gateway.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What the engine is told beside the prompt and the cap. None means the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One request in no dialect. Either `messages` or `prompt` is set."""

    operation: str
    """chat or text_completion."""
    model: str
    stream: bool
    messages: tuple[Message, ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    include_usage: bool = False
    max_tokens: int | None = None
    end_user: str | None = None
    end_user_group: str | None = None
    """As the client names it; `limiting.group_of` says whether the tenant tells it apart."""
    sampling: Sampling = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one answer."""

    input_tokens: int
    output_tokens: int


class Answer(Protocol):
    """Writes one answer. Streamed: `first`, `chunk` as often as needed, `last`. Not streamed: `whole`."""

    content_type_stream: bytes

    def first(self) -> bytes: ...

    def chunk(self, text: str) -> bytes: ...

    def last(self, *, finish_reason: str, usage: Usage) -> bytes: ...

    def broken(self, error: RequestError) -> bytes:
        """The end of a stream that failed in the middle."""
        ...

    def whole(self, *, text: str, finish_reason: str, usage: Usage) -> bytes: ...


class Dialect(Protocol):
    """One API. A module of this folder that has a `DIALECT` is served."""

    name: str
    paths: Mapping[str, str]
    """Path of a POST to the operation that it asks for."""
    scopes: Mapping[str, str]
    """Operation to the scope, of `paddock_core.keys.SCOPES`, that a confined key needs for it."""

    def parse(self, *, operation: str, body: bytes) -> Completion:
        """Raises RequestError (400)."""
        ...

    def answer(
        self, *, completion: Completion, usage_id: str, created: int, model: str, notices: tuple[str, ...]
    ) -> Answer:
        """`notices` are what the model's licenses want to be told with every answer."""
        ...

    def error(self, error: RequestError) -> bytes: ...
