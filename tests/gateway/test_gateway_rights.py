"""A right that ends in the middle of an answer ends the answer; what was sent is billed."""

import asyncio
from typing import Any

import openai
import pytest

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def endless(world: Any, play: Any) -> Any:
    """An engine that goes on for as long as it is asked."""

    async def talk(_body: dict[str, Any], response: Any) -> None:
        while True:
            await play.event(response, "word ", 1)
            await asyncio.sleep(0.01)

    world.triton.play = talk
    return world


async def broken_off(world: Any, end: Any) -> tuple[openai.APIError, int]:
    """What ended a stream after `end` was called, and how many words it brought."""
    stream = await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=5000, stream=True)
    words = 0
    try:
        async for chunk in stream:
            words += bool(chunk.choices and chunk.choices[0].delta.content)
            if words == 5:
                end()
    except openai.APIError as error:
        return error, words
    pytest.fail("it went on to its end")


@pytest.mark.parametrize("state", ["revoked", "suspended", "terminated"])
async def test_a_license_that_ends_ends_the_answers_under_it(endless: Any, play: Any, state: str) -> None:
    (identifier, body), *_ = play.acceptance("acme-inc", "deployer").items()
    async with endless.gateway():
        error, words = await broken_off(
            endless, lambda: endless.controlplane.put("acceptance", identifier, {**body, "state": state})
        )
        (row,) = await endless.controlplane.settled()
        await play.until(lambda: endless.triton.cancelled == 1)
    assert error.code == {"revoked": "AcceptanceMissing", "suspended": "Suspended", "terminated": "Terminated"}[state]
    assert (row["status"], row["acceptance_id"].split(",")[0]) == ("engine_error", body["id"])
    assert row["output_tokens_sent"] >= words >= 5


async def test_answers_end_with_the_namespace_that_its_tenant_loses(endless: Any) -> None:
    async with endless.gateway():
        error, _ = await broken_off(endless, lambda: endless.controlplane.put("namespace", "acme-team", None))
    assert error.code == "AccessDenied"


async def test_a_key_that_is_revoked_ends_its_answers(endless: Any, play: Any) -> None:
    key = play.api_key(0)[1]["id"]
    async with endless.gateway():
        error, words = await broken_off(endless, lambda: endless.controlplane.put("api_key", key, None))
        (row,) = await endless.controlplane.settled()
    assert error.code == "invalid_api_key"
    assert row["output_tokens_sent"] >= words >= 5


async def test_a_gateway_that_is_cut_off_for_too_long_ends_its_answers(endless: Any) -> None:
    endless.controlplane.max_age = 2.0

    def cut() -> None:
        endless.controlplane.down = True

    async with endless.gateway(policy_wait_seconds=0.5):
        error, _ = await broken_off(endless, cut)
    assert error.code == "PolicyExpired"


async def test_a_change_that_takes_nothing_away_ends_nothing(endless: Any, play: Any) -> None:
    (identifier, body), *_ = play.acceptance("globex-inc", "deployer").items()
    async with endless.gateway():
        stream = await endless.client().chat.completions.create(
            model="demo", messages=HELLO, max_tokens=5000, stream=True
        )
        words = 0
        async for chunk in stream:
            words += bool(chunk.choices and chunk.choices[0].delta.content)
            if words == 5:
                endless.controlplane.put("acceptance", identifier, {**body, "state": "terminated"})
            if words == 100:
                break
        await stream.close()
    assert words == 100
