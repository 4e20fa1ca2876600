"""Chat templates: the built-in forms, the sandbox, and refusals that reach the client."""

from datetime import UTC, datetime

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.serving.chat_template import BUILTIN, ChatTemplateError, choose_source, compile_template

NOW = datetime(2026, 3, 4, tzinfo=UTC)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]


def render(source: str, messages: list[dict[str, str]] | None = None) -> str:
    template = compile_template(source=source, bos_token="<s>", eos_token="</s>")
    return template.render(messages or TALK, now=NOW)


def test_the_form_with_instructions_in_brackets() -> None:
    assert render(BUILTIN["inst"]) == (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]"
    )


def test_the_form_with_headers() -> None:
    assert render(BUILTIN["header-ids"]) == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_chatml() -> None:
    assert render(BUILTIN["im-start"]).endswith("<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n")


def test_a_models_own_template_comes_first_then_vocabulary_then_family() -> None:
    assert choose_source(own="x", family="llama2", vocabulary={"<|im_start|>"}) == "x"
    assert choose_source(own="", family="f", vocabulary={"<|im_start|>"}) == BUILTIN["im-start"]
    assert choose_source(own="", family="f", vocabulary={"<|start_header_id|>"}) == BUILTIN["header-ids"]
    assert choose_source(own="", family="llama2", vocabulary=set()) == BUILTIN["inst"]
    assert choose_source(own="", family="base", vocabulary=set()) is None
    both = {"<|start_header_id|>", "<|im_start|>"}
    assert choose_source(own="", family="llama2", vocabulary=both) == BUILTIN["header-ids"]


def test_a_form_names_families_that_the_catalogue_has() -> None:
    families = {entry.family for entry in packaged_catalog().models.values()}
    assert "llama2" in families
    for family in families:
        found = choose_source(own="", family=family, vocabulary=set())
        assert found == (BUILTIN["inst"] if family == "llama2" else None)


def test_what_real_templates_use_is_there() -> None:
    assert render("{{ strftime_now('%d %b %Y') }}") == "04 Mar 2026"
    assert render("{{ {'a': '<b>'} | tojson }}") == '{"a":"<b>"}'
    assert render("{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[9].content + 1 }}",
        "{{ 1 // 0 }}",
    ],
)
def test_a_refusing_or_reaching_template_is_an_error(source: str) -> None:
    with pytest.raises(ChatTemplateError):
        render(source)


def test_a_template_that_does_not_compile() -> None:
    with pytest.raises(ChatTemplateError, match="does not compile"):
        compile_template(source="{% if %}", bos_token=None, eos_token=None)
