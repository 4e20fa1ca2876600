"""From messages to token ids with the model's own tokenizer, and from the answer's text back to a count."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from paddock_core.serving.chat_template import (
    ChatTemplate,
    ChatTemplateError,
    Message,
    choose_source,
    compile_template,
)
from paddock_core.serving.tokenizer_document import TokenizerDocument
from tokenizers import Tokenizer

from paddock_gateway.errors import ArtifactError, bad_request

LARGE_TEXT = 16 * 1024
"""Characters above which a text is tokenised in a thread, so that other requests do not wait for it."""
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="tokenize")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptModel:
    """A tokenizer document, ready for use."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    bos_id: int | None
    """Set if a plain prompt must begin with it."""

    def count(self, text: str) -> int:
        """Tokens in a piece of an answer."""
        return len(_ids(self.tokenizer, text))


def load_prompt_model(document: TokenizerDocument, *, family: str) -> PromptModel:
    """Build it (slow for a large vocabulary: call it in a thread). Raises ArtifactError."""
    try:
        tokenizer = Tokenizer.from_str(document.tokenizer)
    except Exception as error:  # tokenizers raises plain Exception
        raise ArtifactError(f"the tokenizer document cannot be used: {error}") from error
    source = choose_source(own=document.chat_template, family=family, vocabulary=tokenizer.get_vocab())
    try:
        template = (
            None
            if source is None
            else compile_template(source=source, bos_token=document.bos_token, eos_token=document.eos_token)
        )
    except ChatTemplateError as error:
        raise ArtifactError(str(error)) from error
    bos = tokenizer.token_to_id(document.bos_token) if document.add_bos and document.bos_token else None
    return PromptModel(tokenizer=tokenizer, template=template, bos_id=bos)


async def tokenize_chat(model: PromptModel, messages: Sequence[Message], *, now: datetime) -> list[int]:
    """The ids of a conversation. Raises RequestError (400) if the model's template refuses it."""
    if model.template is None:
        raise bad_request(
            "chat_template_missing", "this model has no chat template: use /v1/completions", param="messages"
        )
    try:
        text = model.template.render(messages, now=now)
        _expect_names_used(model.template, messages, text, now)
    except ChatTemplateError as error:
        raise bad_request("chat_template_refused", str(error), param="messages") from error
    return await _encode(model.tokenizer, text)


def _expect_names_used(template: ChatTemplate, messages: Sequence[Message], text: str, now: datetime) -> None:
    """Refuse names that leave the prompt as it is. Tried role by role, which bounds the work."""
    for role in {message["role"] for message in messages if "name" in message}:
        plain = [
            {"role": role, "content": message["content"]} if message["role"] == role else message
            for message in messages
        ]
        if template.render(plain, now=now) == text:
            index = next(at for at, message in enumerate(messages) if message["role"] == role and "name" in message)
            raise bad_request(
                "unsupported_parameter",
                f"messages[{index}].name is not supported: this model's chat template makes no use of the name of a "
                f"{role} message, so leave it out or write it into the content",
                param=f"messages[{index}].name",
            )


async def tokenize_plain(model: PromptModel, prompt: str | Sequence[int]) -> list[int]:
    """The ids of a plain prompt; ids are checked against the vocabulary. Raises RequestError (400)."""
    if isinstance(prompt, str):
        ids = await _encode(model.tokenizer, prompt)
        return ids if model.bos_id is None else [model.bos_id, *ids]
    size = model.tokenizer.get_vocab_size()
    if any(not 0 <= token < size for token in prompt):
        raise bad_request("invalid_token", f"token ids must be between 0 and {size - 1}", param="prompt")
    return list(prompt)


async def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    if len(text) <= LARGE_TEXT:
        return _ids(tokenizer, text)
    return await asyncio.get_running_loop().run_in_executor(_threads, _ids, tokenizer, text)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The form of encoding that leaves out character offsets, which nobody here wants."""
    (encoding,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    return list(encoding.ids)
