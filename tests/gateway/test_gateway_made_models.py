"""A deployment of a registered model: called by its own name, billed as the model, open as long as the lineage is."""

import asyncio
import time
from typing import Any

import openai
import pytest

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
MADE = {"id": "demo-acme", "base": "smollm2-135m-instruct", "public_name": "Demo-Acme", "owner": "acme"}


async def code_of(world: Any) -> str | None:
    try:
        await world.client().chat.completions.create(model="acme-team/demo", messages=HELLO, max_tokens=3)
    except openai.APIStatusError as error:
        return error.code
    return None


async def becomes(world: Any, code: str | None) -> None:
    end = time.monotonic() + 300
    while (seen := await code_of(world)) != code:
        assert time.monotonic() < end, f"still {seen}, not {code}"
        await asyncio.sleep(0.02)


@pytest.fixture
def tuned(world: Any) -> Any:
    """The world in which the deployment runs a registered model."""
    item = world.kubernetes.objects["demo"]
    item["spec"]["model"]["id"] = item["status"]["routing"]["targets"][0]["model"] = MADE["id"]
    world.kubernetes.put(item)
    world.controlplane.put("model", MADE["id"], MADE)
    return world


async def test_it_answers_by_the_deployments_name_and_the_ledger_has_the_models_id(tuned: Any) -> None:
    async with tuned.gateway():
        await becomes(tuned, None)
        rows = await tuned.controlplane.settled()
    assert (rows[-1]["deployment"], rows[-1]["model"]) == ("acme-team/demo", MADE["id"])
    assert rows[-1]["acceptance_id"] == "acc-acme-inc-deployer,acc-platform-operator"


async def test_it_is_closed_when_the_model_or_its_right_goes(tuned: Any) -> None:
    put = tuned.controlplane.put
    async with tuned.gateway():
        await becomes(tuned, None)
        put("model", MADE["id"], None)
        await becomes(tuned, "ModelUnknown")
        put("model", MADE["id"], {**MADE, "owner": "globex"})
        await becomes(tuned, "ModelUnknown")
        put("model", MADE["id"], {**MADE, "owner": "globex", "published": True})
        await becomes(tuned, None)
        put("model", MADE["id"], {**MADE, "public_name": "AcmeGPT"})
        await becomes(tuned, "NamePrefixRequired")
        put("model", MADE["id"], MADE)
        await becomes(tuned, None)
        put("acceptance", "acc-acme-inc-deployer", None)
        await becomes(tuned, "AcceptanceMissing")
