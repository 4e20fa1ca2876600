"""Chat templates: from messages to the text that a model was trained to continue.

A model's own Jinja template comes first; `BUILTIN` holds the forms of the Llama and ChatML families for models whose
files carry none. Templates run in Jinja's immutable sandbox, compiled once. The date is an argument.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jinja2
import msgspec
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = dict[str, Any]

BUILTIN: dict[str, str] = {
    "llama2": (
        "{%- set ns = namespace(system='') -%}"
        "{%- for message in messages -%}"
        "{%- if message.role == 'system' -%}"
        "{%- set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' -%}"
        "{%- elif message.role == 'user' -%}"
        "{{ bos_token + '[INST] ' + ns.system + message.content + ' [/INST]' }}{%- set ns.system = '' -%}"
        "{%- elif message.role == 'assistant' -%}"
        "{{ ' ' + message.content + ' ' + eos_token }}"
        "{%- else -%}{{ raise_exception('only system, user and assistant messages are known to this model') }}"
        "{%- endif -%}{%- endfor -%}"
    ),
    "llama3": (
        "{{ bos_token }}"
        "{%- for message in messages -%}"
        "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}"
    ),
    "chatml": (
        "{%- for message in messages -%}"
        "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
    ),
}
_MARKS = {"llama3": "<|start_header_id|>", "chatml": "<|im_start|>"}


class ChatTemplateError(ValueError):
    """The template does not compile, or it refuses the messages; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A compiled template and the tokens that it may write."""

    template: jinja2.Template
    bos_token: str
    eos_token: str

    def render(self, messages: Sequence[Message], *, now: datetime) -> str:
        """The prompt, ready for the assistant's answer. Raises ChatTemplateError if the template refuses."""

        def strftime_now(form: str) -> str:
            return now.strftime(form)

        try:
            return self.template.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                strftime_now=strftime_now,
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise ChatTemplateError(f"the model's chat template refuses these messages: {error}") from error


def compile_template(*, source: str, bos_token: str | None, eos_token: str | None) -> ChatTemplate:
    """Compile a template. Raises ChatTemplateError if it is not one."""
    try:
        template = _environment().from_string(source)
    except jinja2.TemplateError as error:
        raise ChatTemplateError(f"the model's chat template does not compile: {error}") from error
    return ChatTemplate(template=template, bos_token=bos_token or "", eos_token=eos_token or "")


def choose_source(*, own: str, family: str, vocabulary: Container[str]) -> str | None:
    """The model's own template, else the built-in one that its vocabulary or family points to, else None."""
    if own:
        return own
    for name, mark in _MARKS.items():
        if mark in vocabulary:
            return BUILTIN[name]
    return BUILTIN["llama2"] if family.replace("-", "").startswith("llama2") else None


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    refuse: Callable[[str], None] = _raise_exception
    environment.globals["raise_exception"] = refuse
    return environment


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    """Plain JSON: Jinja's own filter escapes HTML, which a model must not see."""
    text = msgspec.json.encode(value)
    return (msgspec.json.format(text, indent=indent) if indent else text).decode()
