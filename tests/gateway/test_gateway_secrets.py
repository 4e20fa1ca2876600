"""The token that gateways show the control plane is in no log and in no answer, whatever goes wrong on the way."""

import logging
from typing import Any

import openai
import pytest

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    """Each record with all its extra fields, as the JSON log would show them."""
    return "\n".join(str(record.__dict__) for record in caplog.records)


async def test_a_control_plane_that_fails_brings_no_token_into_the_log(
    world: Any, play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    secret = world.settings.internal_token_file.read_text().strip()
    with caplog.at_level(logging.DEBUG):
        async with world.gateway(policy_wait_seconds=0.2):
            world.controlplane.down = True
            await play.until(lambda: "following the policy failed" in caplog.text)
    assert secret
    assert secret not in everything_logged(caplog)
    assert "503" in everything_logged(caplog)


async def test_a_tokenizer_that_cannot_be_had_is_told_without_the_token(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    secret = world.settings.internal_token_file.read_text().strip()
    world.controlplane.artifact_status = 500
    async with world.gateway():
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
    assert caught.value.code == "TokenizerUnavailable"
    assert secret not in str(caught.value)
    assert secret not in everything_logged(caplog)
