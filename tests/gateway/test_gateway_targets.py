"""Several targets in one routing: shares by weight, licenses by model, and requests that outlive their revision."""

import asyncio
from collections import Counter
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.usage.identifiers import RANDOM_BYTES, uuid7
from paddock_gateway.choosing import draw, ticket_of
from paddock_gateway.deployments import Revision

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
LLAMA = "llama-3.1-8b-instruct"
"""A model whose license nobody in these tests has accepted."""


def revision(name: str, weight: int) -> Revision:
    return Revision(
        name=name, weight=weight, model="m", tokenizer="t", context_length=1, max_concurrency=1, endpoints=("u",)
    )


async def ask(world: Any, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"model": "demo", "messages": HELLO, "max_tokens": 2, **changes}
    return await world.client().chat.completions.create(**arguments)


@pytest.fixture
def spread(world: Any, play: Any) -> Any:
    """Makes the deployment have these targets, each with a Triton of its own whose words begin with its name."""

    async def make(*targets: dict[str, Any], **routing: Any) -> None:
        said = []
        for changes in targets:
            name = changes["revision"]

            async def words(body: dict[str, Any], response: Any, name: str = name) -> None:
                await play.event(response, f"{name} ", 1)
                await play.event(response, "end", 1, "stop")

            urls = [] if changes.pop("down", False) else [await world.another_triton(words)]
            said.append(play.target(digest=world.controlplane.digest, endpoints=urls, **changes))
        item = world.kubernetes.objects["demo"]
        item["status"]["routing"] = {"digest": "+".join(str(each) for each in targets), "targets": said, **routing}
        world.kubernetes.put(item)

    return make


@given(st.lists(st.integers(1, 1_000_000), min_size=1, max_size=8))
def test_each_target_gets_its_share_of_the_tickets(weights: list[int]) -> None:
    revisions = [revision(str(index), weight) for index, weight in enumerate(weights)]
    edges, at = [], 0
    for weight in weights:
        edges.append((at, at + weight - 1))
        at += weight
    for number, (first, last) in enumerate(edges):
        for edge in (first, last):
            ticket = -((-edge << 62) // at)  # the least ticket that falls on it
            assert draw(revisions, ticket).name == str(number)


def test_the_draw_is_told_by_the_id_of_the_request() -> None:
    random = bytes(range(7, 7 + RANDOM_BYTES))
    usage_id = uuid7(unix_ms=1_700_000_000_000, random=random)
    assert int(usage_id.replace("-", ""), 16) & (1 << 62) - 1 == ticket_of(random)


async def test_requests_go_by_weight_and_none_to_a_weight_of_nothing_or_to_no_endpoint(world: Any, spread: Any) -> None:
    await spread(
        {"revision": "old", "weight": 70},
        {"revision": "new", "weight": 30},
        {"revision": "off", "weight": 0},
        {"revision": "away", "weight": 50, "down": True},
    )
    async with world.gateway():
        answers = await asyncio.gather(*(ask(world) for _ in range(120)))
        rows = await world.controlplane.settled(120)
    told = Counter(answer.choices[0].message.content.split()[0] for answer in answers)
    assert set(told) == {"old", "new"}
    # 120 draws of 30 %: 36 +- 5; eight deviations either way.
    assert 1 <= told["new"] <= 76
    # Each row tells by its id what it drew.
    drawn = Counter("old" if (int(row["usage_id"].replace("-", ""), 16) & (1 << 62) - 1) * 100 >> 62 < 70 else "new"
                    for row in rows)  # fmt: skip
    assert drawn == told


async def test_a_caller_gets_the_target_that_it_is_licensed_for_and_the_row_names_its_model(
    world: Any, spread: Any
) -> None:
    await spread({"revision": "mine", "weight": 1}, {"revision": "foreign", "weight": 999_999, "model": LLAMA})
    async with world.gateway() as app:
        answers = await asyncio.gather(*(ask(world) for _ in range(5)))
        rows = await world.controlplane.settled(5)
        assert len(app._wiring.licenses.denied) == 0  # nobody was denied anything
        listed = [model.id async for model in world.client().models.list()]
        await spread({"revision": "foreign", "weight": 1, "model": LLAMA})
        await _until_refused(world)
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await ask(world)
    assert {answer.choices[0].message.content for answer in answers} == {"mine end"}
    assert {row["model"] for row in rows} == {"smollm2-135m-instruct"}
    assert listed == ["acme-team/demo"]
    assert caught.value.code == "TextNotImported"


async def _until_refused(world: Any) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await ask(world)
            except openai.PermissionDeniedError:
                return


async def test_a_request_whose_revision_goes_while_it_is_prepared_draws_anew(
    world: Any, play: Any, spread: Any, monkeypatch: Any
) -> None:
    gate, asked = asyncio.Event(), asyncio.Event()
    await spread({"revision": "old", "contextLength": 100})
    async with world.gateway() as app:
        models, routes = app._wiring.prompt_models, app._wiring.routes
        load = models.get

        async def cold(**arguments: Any) -> Any:
            asked.set()
            await gate.wait()
            return await load(**arguments)

        monkeypatch.setattr(models, "get", cold)
        request = asyncio.create_task(ask(world))
        await asked.wait()
        await spread({"revision": "new", "contextLength": 50})
        await play.until(lambda: [t.name for t in routes.by_name["acme-team/demo"].targets] == ["new"])
        gate.set()
        answer = await request
        assert not [plan for plan in app._wiring.leases.holdings._plans.values() if plan.open]
    assert answer.choices[0].message.content == "new end"


async def test_another_connection_is_tried_inside_the_target_alone(world: Any, play: Any, spread: Any) -> None:
    await spread({"revision": "good", "weight": 1}, {"revision": "dead", "weight": 999_999})
    dead = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][1]
    dead["endpoints"] = [{"pod": "gone", "url": f"http://127.0.0.1:{play.free_port()}"}]
    async with world.gateway():
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(world)
    assert caught.value.code == "EngineUnreachable"
