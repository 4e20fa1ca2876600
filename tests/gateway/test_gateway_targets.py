"""Several targets in one routing: shares by weight, licenses by model, and requests that outlive their revision."""

import asyncio
import hashlib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.serving.tokenizer_document import encode_document
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


async def test_a_specification_that_names_a_denied_model_denies_nothing_of_what_serves(world: Any, spread: Any) -> None:
    """What answers decides: the operator routes to the former model as long as that is licensed itself."""
    world.kubernetes.objects["demo"]["spec"]["model"] = {"id": LLAMA}
    await spread({"revision": "former", "weight": 100})
    async with world.gateway() as app:
        answer = await ask(world)
        (row,) = await world.controlplane.settled(1)
        listed = [model.id async for model in world.client().models.list()]
        assert len(app._wiring.licenses.denied) == 0
        # Without a target nothing but the specification says what would answer.
        await spread()
        await _until_refused(world)
    assert (answer.choices[0].message.content, row["model"]) == ("former end", "smollm2-135m-instruct")
    assert listed == ["acme-team/demo"]


async def _until_refused(world: Any) -> None:
    async with asyncio.timeout(300):
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


SMOL = "smollm2-135m-instruct"
MADE = {"id": "demo-acme", "base": SMOL, "public_name": "Demo-Acme", "owner": "acme"}
PROMPTS = {SMOL: 24, MADE["id"]: 5}
"""Tokens of `hello` by each model's tokenizer and template."""


@pytest.fixture
async def mixed(world: Any, play: Any) -> Any:
    """A rollout from one model to another: tokenizer, context, price, default cap and right are each one's own."""
    document = encode_document(
        play.byte_tokenizer(chat_template="{% for m in messages %}{{ m.content }}{% endfor %}", backwards=True)
    )
    other = "sha256:" + hashlib.sha256(document).hexdigest()
    world.controlplane.documents[other] = document
    world.controlplane.put("model", MADE["id"], MADE)
    zero = {"cache_read": 0, "cache_write": 0, "output_reasoning": 0}
    for number, model in enumerate(PROMPTS, start=1):
        prices = {"input_uncached": number * 1_000_000, "output_text": number * 10_000_000, **zero}
        entry = {"currency": "EUR", "effective_from": 1.0, "prices": prices, "model": model}
        world.controlplane.put("price", f"price-{number}", {"id": f"price-{number}", "seq": number, "price": entry})
    tenant = world.controlplane.objects["tenant"]["acme"]
    world.controlplane.put("tenant", "acme", {**tenant, "limits": {"money_per_month_nano": 10**9}})
    bodies: dict[str, dict[str, Any]] = {}
    go = asyncio.Event()
    go.set()

    def triton(model: str) -> Any:
        async def words(body: dict[str, Any], response: Any) -> None:
            bodies[body["id"]] = {"at": model, **body}
            await play.event(response, "one ", 1)
            await go.wait()
            await play.event(response, "two", 1, "stop")

        return words

    async def to(model: str, digest: str, context: int, weight: int) -> dict[str, Any]:
        url = await world.another_triton(triton(model))
        changes = {"model": model, "contextLength": context, "weight": weight}
        return dict(play.target(digest=digest, endpoints=[url], revision=f"of-{model}", **changes))

    async def route(weights: dict[str, int]) -> None:
        digests, contexts = {SMOL: world.controlplane.digest, MADE["id"]: other}, {SMOL: 100, MADE["id"]: 50}
        targets = [await to(model, digests[model], contexts[model], weight) for model, weight in weights.items()]
        item = world.kubernetes.objects["demo"]
        item["status"]["routing"] = {"digest": str(weights), "targets": targets}
        world.kubernetes.put(item)

    caps = {"default_max_output_tokens_of": {SMOL: 30, MADE["id"]: 20}}
    return SimpleNamespace(world=world, bodies=bodies, go=go, route=route, caps=caps)


@pytest.mark.parametrize("first", list(PROMPTS))
async def test_each_request_is_counted_capped_priced_and_noticed_as_one_of_the_model_that_it_drew(
    mixed: Any, play: Any, monkeypatch: Any, first: str
) -> None:
    (second,) = set(PROMPTS) - {first}
    await mixed.route({first: 50, second: 50})
    world, bodies = mixed.world, mixed.bodies
    async with world.gateway(**mixed.caps) as app:
        wiring = app._wiring
        notices = {SMOL: ("of the first",), MADE["id"]: ("of the second",)}
        monkeypatch.setattr(type(wiring.licenses), "notices", lambda _self, *, model, view: notices[model])
        create = world.client().chat.completions.with_raw_response.create
        await play.until(lambda: wiring.policy.view.price_book().at(
            tenant="acme", deployment="acme-team/demo", model=second, moment=2e9) is not None)  # fmt: skip
        mixed.go.clear()
        asked = [asyncio.create_task(create(model="demo", messages=HELLO)) for _ in range(24)]
        asked += [asyncio.create_task(create(model="demo", messages=HELLO, max_tokens=1000)) for _ in range(24)]
        await play.until(lambda: len(bodies) == 48)
        priced = {(pump.admitted.intent.model, pump.admitted.prices.output_text) for pump in app._pumps.values()}
        mixed.go.set()
        answers = await asyncio.gather(*asked)
        rows = {row["usage_id"]: row for row in await world.controlplane.settled(48)}
    assert priced == {(SMOL, 10_000_000), (MADE["id"], 20_000_000)}
    seen = {
        (bodies[each]["at"], row["model"], row["input_tokens"], len(bodies[each]["input_ids"]))
        for each, row in rows.items()
    }
    assert seen == {(model, model, tokens, tokens) for model, tokens in PROMPTS.items()}
    caps = {(body["at"], body["sampling_param_max_tokens"]) for body in bodies.values()}
    assert caps == {(SMOL, 30), (SMOL, 100 - 24), (MADE["id"], 20), (MADE["id"], 50 - 5)}
    told = {(bodies[item.headers["x-request-id"]]["at"], item.headers["x-paddock-notice"]) for item in answers}
    assert told == {(SMOL, "of the first"), (MADE["id"], "of the second")}


async def test_when_the_right_to_one_model_goes_its_streams_end_and_those_of_the_other_go_on(
    mixed: Any, play: Any
) -> None:
    await mixed.route({SMOL: 50, MADE["id"]: 50})
    world = mixed.world
    async with world.gateway(**mixed.caps) as app:
        await play.until(lambda: MADE["id"] in world.controlplane.objects["model"] and app._wiring.policy.known)
        mixed.go.clear()
        asked = [asyncio.create_task(ask(world)) for _ in range(24)]
        await play.until(lambda: len(mixed.bodies) == 24)
        count = Counter(body["at"] for body in mixed.bodies.values())
        world.controlplane.put("model", MADE["id"], None)
        await play.until(lambda: sum(task.done() for task in asked) == count[MADE["id"]], 30.0)
        assert {pump.admitted.intent.model for pump in app._pumps.values()} == {SMOL}
        mixed.go.set()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
    cut = [item for item in outcomes if isinstance(item, openai.APIError)]
    assert (len(cut), len(outcomes) - len(cut)) == (count[MADE["id"]], count[SMOL])


async def test_who_loses_the_right_to_the_model_that_it_drew_while_it_is_prepared_gets_the_other(
    mixed: Any, play: Any, monkeypatch: Any
) -> None:
    await mixed.route({SMOL: 1, MADE["id"]: 999_999})
    gate, drawn = asyncio.Event(), asyncio.Event()
    async with mixed.world.gateway() as app:
        load = app._wiring.prompt_models.get

        async def cold(**arguments: Any) -> Any:
            if arguments["model"] == MADE["id"]:
                drawn.set()
                await gate.wait()
            return await load(**arguments)

        monkeypatch.setattr(app._wiring.prompt_models, "get", cold)
        request = asyncio.create_task(ask(mixed.world))
        await drawn.wait()
        before = app._wiring.policy.view
        mixed.world.controlplane.put("model", MADE["id"], None)
        await play.until(lambda: app._wiring.policy.view is not before)
        gate.set()
        await request
        (row,) = await mixed.world.controlplane.settled()
    assert row["model"] == SMOL


@pytest.mark.parametrize("first", ["foreign", "mine"])
async def test_while_nothing_answers_a_caller_of_one_of_the_models_is_told_so_and_not_refused(
    world: Any, spread: Any, first: str
) -> None:
    targets = [{"revision": "foreign", "model": LLAMA, "down": True}, {"revision": "mine", "down": True}]
    await spread(*sorted(targets, key=lambda item: item["revision"] != first))
    async with world.gateway():
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(world)
    assert caught.value.code == "DeploymentNotReady"
