"""The API as the real `openai` SDK sees it, and the ledger's row for each answer."""

import json
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
from paddock_core.serving.tokenizer_document import TokenizerDocument
from paddock_gateway.errors import RequestError
from paddock_gateway.prompt import load_prompt_model, tokenize_chat
from tokenizers import Tokenizer, models

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
PROMPT_TOKENS = 1 + len("user\n") + len("hello") + 1 + 1 + 1 + len("assistant\n")


async def test_chat_that_is_not_streamed(world: Any) -> None:
    async with world.gateway():
        answer = await world.client().chat.completions.create(model="acme-team/demo", messages=HELLO, max_tokens=5)
        (row,) = await world.controlplane.settled()
    assert answer.choices[0].message.content == "w0 w1 w2 w3 w4 "
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT_TOKENS, 5)
    assert row["usage_id"] in answer.id
    assert (row["status"], row["tenant"], row["owner_tenant"]) == ("ok", "acme", "acme")
    assert (row["input_tokens"], row["output_tokens"]) == (PROMPT_TOKENS, 5)
    assert row["output_tokens_engine"] == row["output_tokens_sent"] == 5
    assert (row["billed_from"], row["usage_source"]) == ("engine", "exact")
    assert row["acceptance_id"] == "acc-acme-inc-deployer,acc-platform-operator"
    assert world.triton.bodies[0]["id"] == row["usage_id"]
    assert len(world.triton.bodies[0]["input_ids"]) == PROMPT_TOKENS


async def test_chat_that_is_streamed_with_usage(world: Any) -> None:
    async with world.gateway():
        stream = await world.client().chat.completions.create(
            model="demo", messages=HELLO, max_tokens=40, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        (row,) = await world.controlplane.settled()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "".join(f"w{index} " for index in range(40))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == row["output_tokens"] == row["output_tokens_sent"] == 40
    assert row["stream"]
    assert row["t_first_token"] >= row["t_admit"]


async def test_completions_both_ways(world: Any) -> None:
    async with world.gateway():
        client = world.client()
        whole = await client.completions.create(model="demo", prompt="abc", max_tokens=3)
        stream = await client.completions.create(model="demo", prompt=[1, 2, 3, 4], max_tokens=2, stream=True)
        text = "".join([chunk.choices[0].text async for chunk in stream])
        rows = await world.controlplane.settled(2)
    assert whole.choices[0].text == "w0 w1 w2 "
    assert text == "w0 w1 "
    assert sorted(row["input_tokens"] for row in rows) == [3, 4]
    assert {row["operation"] for row in rows} == {"text_completion"}


async def test_sampling_reaches_the_engine(world: Any) -> None:
    async with world.gateway():
        await world.client().chat.completions.create(
            model="demo",
            messages=HELLO,
            max_completion_tokens=1,
            temperature=0.5,
            top_p=0,
            seed=-1,
            stop=["a", "b"],
            frequency_penalty=0.25,
            presence_penalty=-0.25,
            user="someone",
        )
        (row,) = await world.controlplane.settled()
    body = world.triton.bodies[0]
    assert body["sampling_param_temperature"] == 0.5
    assert 0 < body["sampling_param_top_p"] < 0.001
    assert body["sampling_param_seed"] == 2**64 - 1
    assert body["sampling_param_stop"] == ["a", "b"]
    assert (body["sampling_param_frequency_penalty"], body["sampling_param_presence_penalty"]) == (0.25, -0.25)
    assert len(row["end_user_hash"]) == 64
    assert "someone" not in str(row)


async def test_labels_that_never_change_an_answer_are_taken(world: Any) -> None:
    async with world.gateway():
        answer = await world.client().chat.completions.create(
            model="demo", messages=HELLO, max_tokens=2, metadata={"team": "red"}, prompt_cache_key="prefix"
        )
    assert answer.usage.completion_tokens == 2


async def test_a_group_that_the_tenant_names_is_in_the_row_and_any_other_is_other(world: Any) -> None:
    async def asked(*groups: Any) -> list[str | None]:
        before = len(world.controlplane.records)
        async with world.gateway():
            for group in groups:
                extra = {"metadata": {} if group is None else {"end_user_group": group}}
                await world.client().chat.completions.create(
                    model="demo", messages=HELLO, max_tokens=2, extra_body=extra
                )
            rows = await world.controlplane.settled(before + len(groups))
        return [row["end_user_group"] for row in rows[before:]]

    assert await asked("free") == [None]  # the tenant tells no groups apart
    known = world.controlplane.objects["tenant"]["acme"]
    world.controlplane.put("tenant", "acme", {**known, "end_user_groups": ["free", "paid"]})
    assert await asked("free", "gold", 7, None) == ["free", "other", None, None]


async def test_the_engines_own_counts_are_kept_beside_what_is_billed(world: Any) -> None:
    async with world.gateway():
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        (row,) = await world.controlplane.settled()
    assert json.loads(row["raw_usage"]) == {"num_input_tokens": 7, "num_output_tokens": 2}


async def test_a_name_reaches_a_template_that_uses_it_for_that_role() -> None:
    document = byte_tokenizer_document(
        "{% for message in messages %}{% if message.role == 'user' %}{{ message.name }}:{% endif %}"
        "{{ message.content }}{% endfor %}"
    )
    model, now = load_prompt_model(document, family="test"), datetime(2026, 1, 1, tzinfo=UTC)
    user = {"role": "user", "content": "hi", "name": "ann"}
    ids = await tokenize_chat(model, [user], now=now)
    assert [model.tokenizer.id_to_token(number) for number in ids] == list("ann:hi")
    with pytest.raises(RequestError) as caught:
        await tokenize_chat(model, [user, {"role": "assistant", "content": "yes", "name": "bot"}], now=now)
    assert (caught.value.status, caught.value.param) == (400, "messages[1].name")


def byte_tokenizer_document(template: str) -> TokenizerDocument:
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate("abhinty:es")}, merges=[]))
    return TokenizerDocument(
        tokenizer=tokenizer.to_str(),
        chat_template=template,
        bos_token=None,
        eos_token=None,
        stop_tokens=(),
        add_bos=False,
    )


async def test_models_lists_what_the_caller_may_call(world: Any) -> None:
    async with world.gateway():
        mine = await world.client(0).models.list()
        others = await world.client(1).models.list()
        one = await world.client(0).models.retrieve("acme-team/demo")
    assert [model.id for model in mine.data] == ["acme-team/demo"]
    assert others.data == []
    assert (one.id, one.owned_by, one.created) == ("acme-team/demo", "acme", 1767323045)


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "acme-team/other"}, 404, "model_not_found", "model"),
        ({"model": "nothing"}, 404, "model_not_found", "model"),
        ({"max_tokens": -1}, 400, "invalid_value", "max_tokens"),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        ({"temperature": 3}, 400, "invalid_value", "temperature"),
        ({"n": 2}, 400, "unsupported_parameter", "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "unsupported_parameter", "tools"),
        ({"logprobs": True}, 400, "unsupported_parameter", "logprobs"),
        ({"response_format": {"type": "json_object"}}, 400, "unsupported_parameter", "response_format"),
        ({"extra_body": {"guided_regex": "x"}}, 400, "unsupported_parameter", "guided_regex"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        (
            {"messages": [*HELLO, {"role": "user", "content": "x", "name": "ann"}]},
            400,
            "unsupported_parameter",
            "messages[1].name",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_value", "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x" * 600}]}, 400, "context_length_exceeded", "messages"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "invalid_value", "stop"),
    ],
)
async def test_bad_requests_are_told_apart(
    world: Any, changes: dict[str, Any], status: int, code: str, param: str
) -> None:
    arguments: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 3, **changes}
    async with world.gateway():
        with pytest.raises(openai.APIStatusError) as caught:
            await world.client().chat.completions.create(**arguments)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert (caught.value.body["code"], caught.value.body["param"]) == (code, param)
    assert world.triton.bodies == []
    assert world.controlplane.records == {}
