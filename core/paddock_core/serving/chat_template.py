"""Chat templates: from messages to the text that a model was trained to continue.

A model's own Jinja template comes first; for models whose files carry none there are built-in forms, one file each in
`templates/`: adding one is adding a file. Templates run in Jinja's immutable sandbox, compiled once. The date is an
argument.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from typing import Any

import jinja2
import msgspec
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = dict[str, Any]


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A built-in form, one file in `templates/`."""

    template: str
    mark: str = ""
    """A token that models of this form have in their vocabulary."""
    families: tuple[str, ...] = ()
    """Families of the catalogue whose vocabulary tells nothing."""


def _forms() -> dict[str, _Form]:
    folder = resources.files(__package__) / "templates"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): msgspec.yaml.decode(file.read_bytes(), type=_Form) for file in files}


_FORMS = _forms()
BUILTIN: dict[str, str] = {name: form.template for name, form in _FORMS.items()}
"""The built-in templates by name of their form."""


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
    marked = (form for form in _FORMS.values() if form.mark and form.mark in vocabulary)
    named = (form for form in _FORMS.values() if family in form.families)
    found = next(marked, None) or next(named, None)
    return None if found is None else found.template


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
