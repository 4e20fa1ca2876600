"""Limits in a gateway: of five levels, borrowed, extended while an answer streams, and without a control plane."""

import asyncio
from dataclasses import replace
from typing import Any

import openai
import pytest
from paddock_core.policy.documents import Limits
from paddock_core.policy.view import PolicyView
from paddock_core.quotas.holdings import Reservation
from paddock_core.quotas.levels import Level
from paddock_core.quotas.wire import Grant, LeaseAnswer, LeaseCall
from paddock_gateway.clock import SYSTEM
from paddock_gateway.leases import Leases

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
INPUT = 1 + len("user\n") + len("hello") + 1 + 1 + 1 + len("assistant\n")


def limit(world: Any, kind: str, identifier: str, **limits: int) -> None:
    """Set limits in the policy of the stand-in."""
    known = world.controlplane.objects.get(kind, {}).get(identifier, {"id": identifier})
    world.controlplane.put(kind, identifier, {**known, "limits": limits})


def end_users(world: Any, **limits: int) -> None:
    known = world.controlplane.objects["tenant"]["acme"]
    world.controlplane.put("tenant", "acme", {**known, "end_user_limits": limits})


async def chat(world: Any, **other: Any) -> Any:
    arguments: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 4, **other}
    return await world.client().chat.completions.create(**arguments)


async def refused(world: Any, **other: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await chat(world, **other)
    return caught.value


def used(world: Any, level: str, kind: str) -> int:
    """What gateways were lent of a budget and did not give back."""
    return sum(units for key, units in world.controlplane.lent.items() if key[:2] == (level, kind))


LEVELS = [
    ("platform_limits", "platform", "platform"),
    ("tenant", "acme", "tenant:acme"),
    ("project", "acme/web", "project:acme/web"),
    ("api_key", "keyaaaaaaaaa", "key:keyaaaaaaaaa"),
]


async def test_who_is_overtaken_while_a_limit_has_room_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may take what was borrowed for a request, again and again: that is no reason to refuse it."""
    leases = Leases(
        url="http://nowhere", token="", instance="g", clock=SYSTEM, shipped=lambda: True, view=PolicyView.empty
    )

    async def granted(_session: object, call: LeaseCall) -> LeaseAnswer:
        grants = tuple(Grant(granted=max(ask.need, ask.want), room=ask.limit) for ask in call.asks)
        return LeaseAnswer(grants=grants, gateways=1, seconds=300)

    monkeypatch.setattr(leases._account_keeper, "answer", granted)
    levels = (Level(id="tenant:acme", limits=Limits(requests_per_minute=10**7)),)
    shared: dict[str, Any] = {"levels": levels, "source": levels, "wall": SYSTEM.wall()}
    costs: dict[str, Any] = {"input_tokens": 1, "output_cap": 1, "first_output": 1, "nano": 0}
    waiting = asyncio.create_task(leases.reserve(**shared, **costs))

    async def asked() -> None:
        for _ in range(100):  # turns of the loop
            if leases._round is not None or waiting.done():
                return
            await asyncio.sleep(0)

    for _ in range(8):
        await asked()
        await leases.call(None)  # type: ignore[arg-type]
        plan = leases.plan(**shared)
        while isinstance(leases.holdings.reserve(plan, now=SYSTEM.steady_ns(), **costs), Reservation):
            pass
    await asked()
    assert not waiting.done()
    await leases.call(None)  # type: ignore[arg-type]
    outcome, waited = await waiting
    assert isinstance(outcome, Reservation)
    assert waited


@pytest.mark.parametrize(("kind", "identifier", "level"), LEVELS)
@pytest.mark.parametrize("name", ["tokens_per_day", "tokens_per_month"])
async def test_a_budget_of_any_level_holds_and_is_insufficient_quota(
    world: Any, kind: str, identifier: str, level: str, name: str
) -> None:
    objects = world.controlplane.objects
    objects["api_key"]["keyaaaaaaaaa"]["project"] = "web"
    objects["project"] = {"acme/web": {"id": "acme/web", "tenant": "acme"}}
    limit(world, kind, identifier, **{name: 2 * (INPUT + 4)})
    async with world.gateway():
        for _ in range(2):
            assert (await chat(world)).usage.completion_tokens == 4
        error = await refused(world)
        rows = await world.controlplane.settled(2)
    assert (error.status_code, error.code, error.type) == (429, "insufficient_quota", "insufficient_quota")
    assert error.response.headers["x-should-retry"] == "false"
    assert int(error.response.headers["retry-after"]) >= 1
    assert used(world, level, name) == sum(row["input_tokens"] + row["output_tokens"] for row in rows)
    assert {row["project"] for row in rows} == {"web"}


async def test_each_end_user_has_a_budget_of_its_own(world: Any) -> None:
    end_users(world, tokens_per_day=INPUT + 4)
    async with world.gateway():
        await chat(world, user="one")
        await chat(world, user="two")
        error = await refused(world, user="one")
        await chat(world)
    assert error.code == "insufficient_quota"
    assert "end user" in error.message
    assert "one" not in str(world.controlplane.lent)


@pytest.mark.parametrize("stream", [True, False])
async def test_at_the_end_of_a_budget_the_answer_ends_with_length_and_usage(world: Any, *, stream: bool) -> None:
    limit(world, "tenant", "acme", tokens_per_day=INPUT + 10)
    async with world.gateway(extension_tokens=4):
        made = await chat(world, max_tokens=50, stream=stream, **usage_asked(stream=stream))
        if stream:
            chunks = [chunk async for chunk in made]
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            reason, usage = chunks[-2].choices[0].finish_reason, chunks[-1].usage
        else:
            text, reason, usage = made.choices[0].message.content, made.choices[0].finish_reason, made.usage
        (row,) = await world.controlplane.settled()
    assert reason == "length"
    assert 8 <= usage.completion_tokens <= 10
    assert len(text.split()) == usage.completion_tokens
    assert (row["status"], row["finish_reason"], row["usage_source"]) == ("ok", "length", "counted")
    assert (row["input_tokens"], row["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert used(world, "tenant:acme", "tokens_per_day") == INPUT + usage.completion_tokens


def usage_asked(*, stream: bool) -> dict[str, Any]:
    return {"stream_options": {"include_usage": True}} if stream else {}


async def test_a_long_answer_is_covered_step_by_step_and_what_it_did_not_use_comes_back(world: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=100_000)
    async with world.gateway(extension_tokens=4):
        answer = await chat(world, max_tokens=60)
        (row,) = await world.controlplane.settled()
    assert (answer.usage.completion_tokens, row["usage_source"]) == (60, "exact")
    assert used(world, "tenant:acme", "tokens_per_day") == INPUT + 60


async def test_requests_of_a_stocked_account_do_not_wait_for_the_control_plane(world: Any, play: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6, requests_per_minute=10**5, concurrent_requests=1000)
    async with world.gateway() as app:
        await chat(world)
        plan = next(iter(app._wiring.leases.holdings._plans.values()))
        for _ in range(4):  # what went is borrowed again before the next request comes
            await play.until(lambda: all(holding.free >= max(1, holding.habit) for holding, _ in plan.pairs), 30)
            calls = waited_for(world)
            await chat(world)
            assert waited_for(world) == calls


def waited_for(world: Any) -> int:
    """Calls for leases that a request waited for."""
    return len([call for call in world.controlplane.lease_calls if any(ask.need for ask in call.asks)])


def price(world: Any, *, given: int, made: int) -> None:
    """Prices of the model, in nano-units for a million tokens."""
    buckets = {"input_uncached": given, "cache_read": 0, "cache_write": 0, "output_text": made, "output_reasoning": 0}
    entry = {"currency": "EUR", "effective_from": 1.0, "prices": buckets, "model": "smollm2-135m-instruct"}
    world.controlplane.put("price", "price-1", {"id": "price-1", "seq": 1, "price": entry})


async def test_money_is_reserved_at_the_price_of_the_tokens_and_ends_the_answer(world: Any) -> None:
    price(world, given=2_000_000, made=5_000_000)
    limit(world, "tenant", "acme", money_per_month_nano=2 * INPUT + 5 * 9 + 2)
    async with world.gateway(extension_tokens=4):
        answer = await chat(world, max_tokens=50)
        error = await refused(world)
        (row,) = await world.controlplane.settled()
    assert answer.choices[0].finish_reason == "length"
    assert 8 <= answer.usage.completion_tokens <= 9
    assert (row["input_tokens"], row["output_tokens"]) == (INPUT, answer.usage.completion_tokens)
    assert used(world, "tenant:acme", "money_per_month_nano") == 2 * INPUT + 5 * row["output_tokens"]
    assert (error.status_code, error.code) == (429, "insufficient_quota")


async def test_what_has_no_price_is_refused_where_money_is_limited(world: Any) -> None:
    limit(world, "tenant", "acme", money_per_month_nano=10**9)
    async with world.gateway():
        error = await refused(world)
    assert (error.status_code, error.code) == (503, "PriceUnknown")
    assert "paddock price set" in error.message
    assert world.triton.bodies == []


async def test_context_is_bounded_by_a_limit(world: Any) -> None:
    limit(world, "tenant", "acme", max_context_tokens=INPUT + 2)
    async with world.gateway():
        assert (await chat(world)).usage.completion_tokens == 2
        limit(world, "tenant", "acme", max_context_tokens=INPUT)
        async with asyncio.timeout(300):
            while not isinstance(error := await outcome(world), openai.APIStatusError):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert error.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("of_model", "cap"), [({}, 6), ({"smollm2-135m-instruct": 3}, 3), ({"another": 3}, 6)], ids=["none", "its", "other"]
)
async def test_a_request_without_a_cap_gets_that_of_its_model(world: Any, of_model: dict[str, int], cap: int) -> None:
    async with world.gateway(default_max_output_tokens=6, default_max_output_tokens_of=of_model):
        answer = await chat(world, max_tokens=openai.omit)
        longer = await chat(world, max_tokens=8)
        rows = await world.controlplane.settled(2)
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (cap, "length")
    assert longer.usage.completion_tokens == 8
    assert world.triton.bodies[0]["sampling_param_max_tokens"] == cap
    assert rows[0]["reserved_tokens"] == INPUT + cap


async def test_limits_of_a_key_that_change_hold_for_the_next_request(world: Any) -> None:
    (key,) = [name for name, body in world.controlplane.objects["api_key"].items() if body["tenant"] == "acme"]
    async with world.gateway():
        assert (await chat(world, max_tokens=4)).usage.completion_tokens == 4
        limit(world, "api_key", key, max_output_tokens=2)
        async with asyncio.timeout(300):
            while (await chat(world, max_tokens=4)).usage.completion_tokens != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        limit(world, "api_key", key, requests_per_minute=1)
        async with asyncio.timeout(300):
            while not isinstance(error := await outcome(world), openai.APIStatusError):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert (error.status_code, "1 requests per minute of this key" in error.message) == (429, True)


async def outcome(world: Any, **other: Any) -> Any:
    try:
        return await chat(world, **other)
    except openai.APIStatusError as error:
        return error


async def test_cut_off_a_gateway_spends_what_it_holds_of_a_budget_then_says_why_it_refuses(world: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6)
    async with world.gateway() as app:
        await chat(world)
        world.controlplane.down = True
        held = next(iter(app._wiring.leases.holdings.accounts.values()))
        served, error = 0, None
        async with asyncio.timeout(300):
            while error is None:
                made = await outcome(world)
                error, served = (made, served) if isinstance(made, openai.APIStatusError) else (None, served + 1)
        assert app._wiring.leases.cut_off
        assert 0 <= held.free < INPUT + 4
        assert (error.status_code, error.code) == (503, "QuotaUnavailable")
        assert "cut off from the control plane" in error.message
        world.controlplane.down = False
        async with asyncio.timeout(300):
            while isinstance(await outcome(world), openai.APIStatusError):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        rows = await world.controlplane.settled(served + 2)
    assert sum(row["input_tokens"] + row["output_tokens"] for row in rows) == used(
        world, "tenant:acme", "tokens_per_day"
    )


async def test_cut_off_a_gateway_has_its_share_of_a_rate(world: Any) -> None:
    limit(world, "tenant", "acme", requests_per_minute=40)
    world.controlplane.gateways = 4
    async with world.gateway() as app:
        await chat(world)
        world.controlplane.down = True
        results = [await outcome(world) for _ in range(30)]
        assert app._wiring.leases.gateways == 4
    errors = [made for made in results if isinstance(made, openai.APIStatusError)]
    held_before = 40 // 16 + 2 + 2
    assert 10 <= len(results) - len(errors) <= 10 + held_before
    assert {(error.status_code, error.code) for error in errors} == {(429, "rate_limit_exceeded")}
    assert all(int(error.response.headers["retry-after-ms"]) > 0 for error in errors)


async def test_a_lease_that_ran_out_is_not_spent(world: Any, play: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6)
    moved = [0]
    clock = replace(SYSTEM, steady_ns=lambda: SYSTEM.steady_ns() + moved[0])
    world.controlplane.max_age = 10**6
    async with world.gateway(clock=clock) as app:
        await chat(world)
        leases = app._wiring.leases
        world.controlplane.down = True
        await play.until(lambda: leases.cut_off, 20)
        assert any(holding.free for holding in leases.holdings.accounts.values())
        moved[0] = 301 * 10**9
        error = await outcome(world)
        assert (error.status_code, error.code) == (503, "QuotaUnavailable")
        assert not any(holding.free for holding in leases.holdings.accounts.values())


async def test_an_hour_forward_on_the_wall_clock_changes_no_rate(world: Any) -> None:
    limit(world, "tenant", "acme", requests_per_minute=2)
    moved = [0.0]
    clock = replace(SYSTEM, wall=lambda: SYSTEM.wall() + moved[0])
    async with world.gateway(clock=clock):
        await chat(world)
        await chat(world)
        moved[0] = 3600.0
        error = await refused(world)
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")


async def test_a_control_plane_that_forgot_the_leases_is_asked_anew(world: Any, play: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6)
    async with world.gateway() as app:
        await chat(world)
        first = app._wiring.leases._session
        world.controlplane.lose_leases = True
        await play.until(lambda: app._wiring.leases._session != first, 20)
        await chat(world)
    assert world.controlplane.lease_calls[-1].session != first


async def test_a_lease_whose_answer_was_lost_is_not_taken_twice(world: Any, play: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6)
    world.controlplane.drop_answer = True
    async with world.gateway() as app:
        error = await refused(world)
        assert (error.status_code, error.code) == (503, "QuotaUnavailable")
        await play.until(lambda: not app._wiring.leases.cut_off, 20)
        await chat(world)
        (row,) = await world.controlplane.settled()
    numbers = [(call.session, call.number) for call in world.controlplane.lease_calls]
    assert len(set(numbers)) < len(numbers)
    assert used(world, "tenant:acme", "tokens_per_day") == row["input_tokens"] + row["output_tokens"]


async def test_a_call_that_the_control_plane_refuses_does_not_stop_the_others(world: Any, play: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6)
    async with world.gateway() as app:
        leases = app._wiring.leases
        await play.until(lambda: leases._number > 0, 20)
        leases._number += 7
        world.controlplane.lose_leases = True
        await chat(world)
        assert leases._number < 7


async def test_the_end_of_a_process_gives_back_what_it_holds(world: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6, concurrent_requests=50)
    async with world.gateway():
        await chat(world)
        (row,) = await world.controlplane.settled()
    assert used(world, "tenant:acme", "tokens_per_day") == row["input_tokens"] + row["output_tokens"]
    assert used(world, "tenant:acme", "concurrent_requests") == 0


async def test_earlier_records_are_reported_as_shipped(world: Any, play: Any) -> None:
    async with world.gateway():
        await play.until(lambda: any(call.shipped for call in world.controlplane.lease_calls), 20)
    assert sum(call.shipped for call in world.controlplane.lease_calls) == 1


async def test_slots_are_held_while_requests_run(world: Any, play: Any) -> None:
    gate = asyncio.Event()

    async def wait(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 1)
        await gate.wait()
        await play.event(response, "b", 1, "stop")

    limit(world, "tenant", "acme", concurrent_requests=2)
    world.triton.play = wait
    async with world.gateway():
        running = [asyncio.create_task(chat(world)) for _ in range(2)]
        await play.until(lambda: len(world.triton.bodies) == 2)
        error = await refused(world)
        gate.set()
        await asyncio.gather(*running)
        await chat(world)
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert error.response.headers["retry-after"] == "1"


async def test_rights_that_go_while_a_lease_is_borrowed_are_gone(world: Any, play: Any, monkeypatch: Any) -> None:
    limit(world, "tenant", "acme", tokens_per_day=10**6)
    async with world.gateway() as app:
        leases = app._wiring.leases
        reserve = leases.reserve

        async def slow(*arguments: Any, **named: Any) -> Any:
            made, _ = await reserve(*arguments, **named)
            revision = world.controlplane.revision
            world.controlplane.put("api_key", "keyaaaaaaaaa", None)
            await play.until(lambda: app._wiring.policy.view.revision > revision, 20)
            return made, True

        monkeypatch.setattr(leases, "reserve", slow)
        error = await refused(world)
        assert error.status_code == 401
        plan = next(iter(leases.holdings._plans.values()), None)
        assert plan is None or plan.open == 0
        assert world.triton.bodies == []
