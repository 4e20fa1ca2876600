"""The gateway's token of the internal API is replaced while it runs."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from paddock_gateway.secrets import LOOK_SECONDS, SecretFile, presenting


def test_a_new_text_is_used_and_a_missing_or_empty_file_changes_nothing(tmp_path: Path) -> None:
    at, file = 50.0, tmp_path / "token"
    file.write_text("first\n")
    secret = SecretFile(file, text="first", now=lambda: at)
    file.write_text("second\n")
    assert secret.text() == "first"
    at += LOOK_SECONDS
    assert secret.text() == "second"
    for change in (lambda: file.write_text(""), file.unlink):
        change()
        at += LOOK_SECONDS
        assert secret.text() == "second"


async def test_each_request_shows_the_token_as_it_is_then(tmp_path: Path, play: Any) -> None:
    at, file, shown = 50.0, tmp_path / "token", []

    async def hear(request: web.Request) -> web.Response:
        shown.append(request.headers.get("authorization"))
        return web.Response()

    app = web.Application()
    app.router.add_get("/", hear)
    runners: list[web.AppRunner] = []
    url = await play.start(app, runners)
    secret = SecretFile(file, text="first", now=lambda: at)
    async with ClientSession(middlewares=(presenting(secret),)) as session:
        headers = {"authorization": "Bearer first"}
        await session.get(url, headers=headers)
        file.write_text("second")
        at += LOOK_SECONDS
        await session.get(url, headers=headers)
        await session.get(url)
    for runner in runners:
        await runner.cleanup()
    assert shown == ["Bearer first", "Bearer second", None]


async def test_a_gateway_goes_on_with_the_new_token(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paddock_gateway.secrets.LOOK_SECONDS", 0.0)
    hello: Any = [{"role": "user", "content": "hello"}]
    async with world.gateway():
        world.controlplane.tokens.add("the-second-token-of-the-tests")
        world.settings.internal_token_file.write_text("the-second-token-of-the-tests")
        await world.client().chat.completions.create(model="demo", messages=hello, max_tokens=1)
        await world.controlplane.settled()
        assert world.controlplane.ship_heads[-1]["Authorization"] == "Bearer the-second-token-of-the-tests"
