"""Who is refused, with which code, and how soon a change of the policy takes effect."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import openai
import pytest
from paddock_core.keys import format_key, secret_digest
from paddock_gateway.clock import SYSTEM

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


async def ask(client: openai.AsyncOpenAI, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"model": "acme-team/demo", "messages": HELLO, "max_tokens": 3, **changes}
    return await client.chat.completions.create(**arguments)


async def refusal(client: openai.AsyncOpenAI, **changes: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(client, **changes)
    return caught.value


async def becomes(client: openai.AsyncOpenAI, code: str | None, seconds: float = 2.0) -> None:
    """Ask until the answer has this code (None: it is served); fail after the seconds that the product promises."""
    end = time.monotonic() + seconds
    while True:
        try:
            await ask(client)
            seen: Any = None
        except openai.APIStatusError as error:
            seen = error.code
        if seen == code:
            return
        assert time.monotonic() < end, f"still {seen}, not {code}"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("key", ["nonsense", "pk_keyaaaaaaaaa_" + "0" * 64 + "_00000000", "sk-proj-123"])
async def test_a_malformed_key_is_401(world: Any, key: str) -> None:
    async with world.gateway():
        error = await refusal(world.client().with_options(api_key=key))
    assert (error.status_code, error.code) == (401, "invalid_api_key")


async def test_unknown_revoked_and_expired_keys_are_401(world: Any, play: Any) -> None:
    async with world.gateway():
        stranger = await refusal(world.client().with_options(api_key=play.api_key(5)[0]))
        body = dict(world.controlplane.objects["api_key"][play.api_key(0)[1]["id"]])
        world.controlplane.put("api_key", body["id"], {**body, "expires_at": time.time() - 1})
        await becomes(world.client(), "invalid_api_key")
        world.controlplane.put("api_key", body["id"], {**body, "expires_at": time.time() + 60})
        await becomes(world.client(), None)
        world.controlplane.put("api_key", body["id"], None)
        await becomes(world.client(), "invalid_api_key")
    assert stranger.status_code == 401


async def test_a_key_may_be_bound_to_models(world: Any, play: Any) -> None:
    async with world.gateway():
        body = world.controlplane.objects["api_key"][play.api_key(0)[1]["id"]]
        world.controlplane.put("api_key", body["id"], {**body, "models": ["acme-team/other"]})
        await becomes(world.client(), "ModelNotAllowed")
        assert (await world.client().models.list()).data == []


async def test_of_several_deployments_of_a_name_a_key_means_the_one_that_it_may_call(world: Any, play: Any) -> None:
    other = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=[])
    other["metadata"] |= {"namespace": "acme-two", "uid": "uid-two"}
    world.controlplane.objects["namespace"]["acme-two"] = {"id": "acme-two", "tenant": "acme"}
    world.kubernetes.objects["demo-two"] = other
    body = world.controlplane.objects["api_key"][play.api_key(0)[1]["id"]]
    world.controlplane.objects["api_key"][body["id"]] = {**body, "models": ["acme-team/demo"]}
    async with world.gateway():
        await ask(world.client(), model="demo")
        world.controlplane.put("api_key", body["id"], {**body, "models": ["acme-team/none"]})
        await becomes(world.client(), "ModelNotAllowed")
        error = await refusal(world.client(), model="demo")
    assert (error.status_code, error.code) == (403, "ModelNotAllowed")
    (row,) = await world.controlplane.settled()
    assert row["deployment"] == "acme-team/demo"


async def test_a_key_does_what_its_scopes_say_and_nothing_else(world: Any, play: Any) -> None:
    body = world.controlplane.objects["api_key"][play.api_key(0)[1]["id"]]
    world.controlplane.objects["api_key"][body["id"]] = {**body, "scopes": ["models:read"]}
    async with world.gateway():
        client = world.client()
        assert (await refusal(client)).code == "ScopeMissing"
        with pytest.raises(openai.PermissionDeniedError, match="completions"):
            await client.completions.create(model="acme-team/demo", prompt="x", max_tokens=1)
        assert [item.id for item in (await client.models.list()).data] == ["acme-team/demo"]
        world.controlplane.put("api_key", body["id"], {**body, "scopes": ["chat"]})
        await becomes(client, None)
        for look_up in (client.models.list(), client.models.retrieve("acme-team/demo")):
            with pytest.raises(openai.PermissionDeniedError, match="models:read"):
                await look_up
    assert [row["operation"] for row in await world.controlplane.settled()] == ["chat"]


async def test_a_rotated_key_works_with_both_secrets_until_the_overlap_is_over(world: Any, play: Any) -> None:
    body = world.controlplane.objects["api_key"][play.api_key(0)[1]["id"]]
    old = play.api_key(0)[0]
    fresh = format_key("pk", body["id"], bytes([9]) * 32)
    rotated = {
        **body,
        "secret_sha256": secret_digest((bytes([9]) * 32).hex()),
        "previous_sha256": body["secret_sha256"],
        "previous_until": time.time() + 3600,
    }
    async with world.gateway():
        new, former = world.client().with_options(api_key=fresh), world.client().with_options(api_key=old)
        await ask(former)
        world.controlplane.put("api_key", body["id"], rotated)
        await becomes(new, None)
        await ask(former)
        world.controlplane.put("api_key", body["id"], {**rotated, "previous_until": time.time()})
        await becomes(former, "invalid_api_key")
        await ask(new)


async def test_another_tenant_needs_access_and_then_a_license(world: Any, play: Any) -> None:
    async with world.gateway():
        globex = world.client(1)
        no_access = await refusal(globex)
        shared = play.deployment(
            name="demo",
            digest=world.controlplane.digest,
            endpoints=[world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"][0]["url"]],
            access={"tenants": ["globex"]},
        )
        world.kubernetes.put(shared)
        await becomes(globex, "AcceptanceMissing")
        for kind, objects in (
            ("acceptance", play.acceptance("globex-inc", "consumer")),
            ("statement", play.statement("globex-inc")),
        ):
            for identifier, body in objects.items():
                world.controlplane.put(kind, identifier, body)
        await becomes(globex, None)
        (row,) = await world.controlplane.settled()
    assert (no_access.status_code, no_access.code) == (403, "AccessDenied")
    assert (row["tenant"], row["owner_tenant"]) == ("globex", "acme")
    assert row["acceptance_id"] == "acc-globex-inc-consumer,acc-acme-inc-deployer,acc-platform-operator"


async def test_a_revoked_license_denies_and_a_new_one_serves_again(world: Any, play: Any) -> None:
    async with world.gateway():
        acme = world.client()
        await ask(acme)
        (identifier, body), *_ = play.acceptance("acme-inc", "deployer").items()
        world.controlplane.put("acceptance", identifier, {**body, "state": "revoked"})
        await becomes(acme, "AcceptanceMissing")
        assert (await refusal(acme)).status_code == 403
        world.controlplane.put("acceptance", identifier, body)
        await becomes(acme, None)


async def test_an_owner_who_declines_the_license_is_not_served(world: Any, play: Any) -> None:
    declined = play.deployment(
        name="demo", digest=world.controlplane.digest, endpoints=["http://127.0.0.1:9"], license={"accept": False}
    )
    async with world.gateway():
        world.kubernetes.put(declined)
        await becomes(world.client(), "AcceptDeclined")


async def test_a_deployment_that_goes_or_is_not_ready(world: Any, play: Any) -> None:
    async with world.gateway():
        world.kubernetes.put(play.deployment(name="demo", digest=world.controlplane.digest, endpoints=[]))
        await becomes(world.client(), "DeploymentNotReady")
        error = await refusal(world.client())
        assert (error.status_code, error.response.headers["retry-after"]) == (503, "2")
        world.kubernetes.put(world.kubernetes.objects["demo"], "DELETED")
        await becomes(world.client(), "model_not_found")


async def test_requests_over_the_limit_are_429_with_openai_headers(world: Any) -> None:
    world.controlplane.put("tenant", "acme", {"id": "acme", "entity": "acme-inc", "limits": {"requests_per_minute": 2}})
    async with world.gateway():
        raw = await world.client().chat.completions.with_raw_response.create(model="demo", messages=HELLO, max_tokens=1)
        await ask(world.client())
        error = await refusal(world.client())
    assert raw.headers["x-ratelimit-limit-requests"] == "2"
    assert raw.headers["x-ratelimit-remaining-requests"] == "1"
    assert raw.headers["x-ratelimit-reset-requests"].endswith(("ms", "s"))
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"


async def test_output_tokens_are_reserved_and_what_was_not_used_comes_back(world: Any, play: Any) -> None:
    async def two_words(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 1)
        await play.event(response, "b", 1, "stop")

    world.triton.play = two_words
    limits = {"output_tokens_per_minute": 100}
    world.controlplane.put("tenant", "acme", {"id": "acme", "entity": "acme-inc", "limits": limits})
    async with world.gateway():
        for _ in range(20):
            await ask(world.client(), max_tokens=60)
        too_large = await refusal(world.client(), max_tokens=101)
    assert too_large.status_code == 429
    assert too_large.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("name", ["output_tokens_per_minute", "max_output_tokens"])
@pytest.mark.parametrize("max_tokens", [3, openai.NOT_GIVEN])
async def test_an_output_limit_of_zero_is_a_429_that_says_so(world: Any, name: str, max_tokens: Any) -> None:
    world.controlplane.put("tenant", "acme", {"id": "acme", "entity": "acme-inc", "limits": {name: 0}})
    async with world.gateway():
        error = await refusal(world.client(), max_tokens=max_tokens)
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert f"limit of {name.replace('_', ' ')} is 0" in error.message
    assert error.response.headers["x-should-retry"] == "false"
    assert world.triton.bodies == []


async def test_concurrent_requests_are_limited_and_slots_come_back(world: Any, play: Any) -> None:
    gate = asyncio.Event()

    async def held(body: dict[str, Any], response: Any) -> None:
        await gate.wait()
        await play.words(body, response)

    world.triton.play = held
    limits = {"concurrent_requests": 2}
    world.controlplane.put("tenant", "acme", {"id": "acme", "entity": "acme-inc", "limits": limits})
    async with world.gateway():
        running = [asyncio.create_task(ask(world.client())) for _ in range(2)]
        await play.until(lambda: len(world.triton.bodies) == 2)
        error = await refusal(world.client())
        gate.set()
        await asyncio.gather(*running)
        await ask(world.client())
    assert error.status_code == 429
    assert "concurrent" in error.message


async def test_a_policy_that_is_too_old_denies_everything_and_comes_back(world: Any) -> None:
    hours = [0.0]
    clock = replace(SYSTEM, steady_ns=lambda: SYSTEM.steady_ns() + int(hours[0] * 3600e9))
    async with world.gateway(clock=clock, policy_wait_seconds=1.0):
        await ask(world.client())
        world.controlplane.down = True
        await ask(world.client())
        hours[0] = 1.0
        await becomes(world.client(), "PolicyExpired")
        assert (await refusal(world.client())).status_code == 503
        world.controlplane.down = False
        await becomes(world.client(), None, seconds=10)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_rights_end_by_the_control_planes_clock_whatever_the_machines_own_says(world: Any, hours: int) -> None:
    clock = replace(SYSTEM, wall=lambda: time.time() + hours * 3600)
    async with world.gateway(clock=clock):
        key = next(iter(world.controlplane.objects["api_key"].values()))
        world.controlplane.put("api_key", key["id"], {**key, "expires_at": time.time() + 3})
        await ask(world.client())
        await becomes(world.client(), "invalid_api_key", seconds=20)
        world.controlplane.put("api_key", key["id"], key)
        await becomes(world.client(), None)
        given = next(item for item in world.controlplane.objects["acceptance"].values() if item["role"] == "deployer")
        world.controlplane.put("acceptance", given["id"], {**given, "at": time.time()})
        world.controlplane.put("api_key", key["id"], {**key, "expires_at": time.time() - 1})
        await becomes(world.client(), "invalid_api_key")
        world.controlplane.put("api_key", key["id"], key)
        await becomes(world.client(), None)


async def test_a_start_without_control_plane_uses_the_last_good_copy(world: Any) -> None:
    async with world.gateway(policy_wait_seconds=1.0):
        await ask(world.client())
        await world.controlplane.settled(1)
    world.controlplane.down = True
    async with world.gateway(policy_wait_seconds=1.0):
        await ask(world.client())
        world.controlplane.down = False
        await world.controlplane.settled(2)


async def test_an_ambiguous_bare_name_is_told(world: Any, play: Any) -> None:
    other = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=[])
    other["metadata"] |= {"namespace": "acme-two", "uid": "uid-two"}
    world.controlplane.objects["namespace"]["acme-two"] = {"id": "acme-two", "tenant": "acme"}
    world.kubernetes.objects["demo-two"] = other
    async with world.gateway():
        error = await refusal(world.client(), model="demo")
    assert (error.status_code, error.code) == (400, "model_ambiguous")
