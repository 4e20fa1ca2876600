"""References to models' files, and the orders to remove them when licenses end."""

import hashlib
from typing import Any

import pytest

pytestmark = pytest.mark.postgres

MODEL = "smollm2-135m-instruct"
WEIGHTS, TOKENIZER = "sha256:" + "1" * 64, b"a tokenizer"
DIGEST = "sha256:" + hashlib.sha256(TOKENIZER).hexdigest()
SOURCE = {"kind": "python_package", "package": "acme_weights"}
FILE = {"path": "weights/model.gguf", "sha256": "1" * 64, "bytes": 90}


async def serve(api: Any, entity: str) -> None:
    """What happens when an entity's deployment is served: leave to download, a published tokenizer, files in use."""
    body = {"verb": "download", "model": MODEL, "entity": entity}
    token = (await api("POST", "/internal/v1/decision-tokens", body, by="internal", status=200))["token"]
    await api("POST", "/internal/v1/downloads", {"model": MODEL}, by=token, status=204)
    await api("PUT", f"/internal/v1/artifacts/{DIGEST}", by=token, content=TOKENIZER, status=204)
    await refer(api, entity, status=204)


async def refer(api: Any, entity: str, *, status: int, model: str = MODEL) -> Any:
    body = {"entity": entity, "model": model, "weights": WEIGHTS, "tokenizer": DIGEST}
    return await api("POST", "/internal/v1/artifact-references", body, by="internal", status=status)


async def terminate(api: Any, acceptance: str) -> None:
    await api("POST", f"/v1/license-acceptances/{acceptance}/terminate", {"reason": "a test"}, status=200)


async def purges(api: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api("GET", "/v1/purges", status=200))["items"]
    return found


async def orders(api: Any) -> dict[str, Any]:
    """What followers of the policy see."""
    return dict((await api.state.view.get()).purges)


async def start(api: Any, purge: str) -> str:
    made = await api("POST", f"/internal/v1/purges/{purge}/start", by="internal", status=200)
    return str(made["token"])


async def entries(api: Any, action: str) -> list[dict[str, Any]]:
    found = (await api("GET", "/v1/audit?limit=1000", status=200))["items"]
    return [entry for entry in found if entry["action"] == action]


@pytest.fixture
async def both(licensed: Any) -> dict[str, str]:
    """Ids of the acceptances of two entities that use the model's files."""
    found = {}
    for entity in ("acme", "globex"):
        found[entity] = (await licensed.accept(entity, "deployer"))["id"]
        await serve(licensed, entity)
    return found


async def test_the_bytes_go_with_the_last_licensed_reference(licensed: Any, both: dict[str, str]) -> None:
    await terminate(licensed, both["acme"])
    assert await purges(licensed) == []
    assert (await refer(licensed, "acme", status=403))["code"] == "ReferenceDenied"
    await terminate(licensed, both["globex"])
    (order,) = await purges(licensed)
    assert (order["model"], order["state"], order["why"], order["cause"]) == (
        MODEL,
        "ordered",
        "last_reference",
        both["globex"],
    )
    (seen,) = (await orders(licensed)).values()
    assert (seen.id, seen.weights) == (order["id"], ("1" * 64,))
    assert len(await entries(licensed, "artifact.drop")) == 2
    token = await start(licensed, order["id"])
    assert await start(licensed, order["id"])
    body = {"removed": [FILE], "kept": []}
    path = f"/internal/v1/purges/{order['id']}/removed"
    await licensed("POST", path, body, by="internal", status=403)
    for _ in range(2):
        done = await licensed("POST", path, body, by=token, status=200)
        assert done["state"] == "done"
        assert [item["sha256"] for item in done["removed"]] == ["1" * 64, DIGEST.removeprefix("sha256:")]
        assert done["bytes"] == 90 + len(TOKENIZER)
    await licensed("GET", f"/internal/v1/artifacts/{DIGEST}", by="internal", status=404)
    assert await orders(licensed) == {}
    (entry,) = await entries(licensed, "artifact.purge")
    assert "1" * 64 in entry["detail"]
    assert DIGEST.removeprefix("sha256:") in entry["detail"]
    # A purge that is over is not begun again, and its token is for nothing else.
    assert (await licensed("POST", f"/internal/v1/purges/{order['id']}/start", by="internal", status=409))[
        "code"
    ] == "PurgeEnded"
    await licensed("POST", "/internal/v1/downloads", {"model": MODEL}, by=token, status=403)


async def test_a_revoked_entity_holds_nothing(licensed: Any, both: dict[str, str]) -> None:
    await licensed("POST", f"/v1/license-acceptances/{both['acme']}/revoke", {"reason": "a test"}, status=200)
    assert await purges(licensed) == []
    await terminate(licensed, both["globex"])
    assert [item["state"] for item in await purges(licensed)] == ["ordered"]


async def test_a_suspended_entity_still_holds_on(licensed: Any, both: dict[str, str]) -> None:
    await licensed("POST", f"/v1/license-acceptances/{both['acme']}/suspend", {"reason": "a test"}, status=200)
    await terminate(licensed, both["globex"])
    assert await purges(licensed) == []


async def test_where_the_platforms_own_license_ends_everything_goes_at_once(
    licensed: Any, both: dict[str, str]
) -> None:
    assert both
    listed = await licensed("GET", "/v1/license-acceptances?entity=platform-inc", status=200)
    operator = listed["items"][0]["id"]
    await licensed("POST", f"/v1/license-acceptances/{operator}/suspend", {"reason": "a test"}, status=200)
    assert await purges(licensed) == []
    await terminate(licensed, operator)
    (order,) = await purges(licensed)
    assert (order["why"], order["state"]) == ("operator", "ordered")
    assert (await refer(licensed, "acme", status=409))["code"] == "PurgeUnderWay"
    assert len(await orders(licensed)) == 1


async def test_who_is_licensed_and_needs_the_files_withdraws_an_order_that_has_not_begun(
    licensed: Any, both: dict[str, str]
) -> None:
    for entity in both.values():
        await terminate(licensed, entity)
    await licensed.tenant("initech")
    await licensed.accept("initech", "deployer")
    body = {"verb": "download", "model": MODEL}
    token = (await licensed("POST", "/internal/v1/decision-tokens", body, by="internal", status=200))["token"]
    assert (await licensed("POST", "/internal/v1/downloads", {"model": MODEL}, by=token, status=409))[
        "code"
    ] == "PurgeUnderWay"
    await refer(licensed, "initech", status=204)
    assert [item["state"] for item in await purges(licensed)] == ["withdrawn"]
    assert await orders(licensed) == {}
    await licensed("POST", "/internal/v1/downloads", {"model": MODEL}, by=token, status=204)


async def test_an_order_that_has_begun_is_not_withdrawn_and_the_files_are_fetched_anew(
    licensed: Any, both: dict[str, str]
) -> None:
    for entity in both.values():
        await terminate(licensed, entity)
    (order,) = await purges(licensed)
    token = await start(licensed, order["id"])
    await licensed.tenant("initech")
    await licensed.accept("initech", "deployer")
    assert (await refer(licensed, "initech", status=409))["code"] == "PurgeUnderWay"
    path = f"/internal/v1/purges/{order['id']}/removed"
    await licensed("POST", path, {"removed": []}, by=token, status=200)
    await serve(licensed, "initech")
    assert [item["state"] for item in await purges(licensed)] == ["done"]
    assert (await licensed("GET", f"/internal/v1/artifacts/{DIGEST}", by="internal")).content == TOKENIZER


async def test_a_tokenizer_that_another_model_published_too_stays(licensed: Any, both: dict[str, str]) -> None:
    licensed.tokens["other"], _ = licensed.state.decisions.issue(subject="another-model")
    await licensed("PUT", f"/internal/v1/artifacts/{DIGEST}", by="other", content=TOKENIZER, status=204)
    for entity in both.values():
        await terminate(licensed, entity)
    (order,) = await purges(licensed)
    token = await start(licensed, order["id"])
    done = await licensed("POST", f"/internal/v1/purges/{order['id']}/removed", {"removed": []}, by=token, status=200)
    assert done["removed"] == []
    assert (await licensed("GET", f"/internal/v1/artifacts/{DIGEST}", by="internal")).content == TOKENIZER


async def test_purges_are_the_platforms_to_see_and_the_operators_to_begin(licensed: Any, both: dict[str, str]) -> None:
    for entity in both.values():
        await terminate(licensed, entity)
    (order,) = await purges(licensed)
    await licensed("GET", "/v1/purges", by="acme", status=403)
    for by in ("platform", "acme"):
        await licensed("POST", f"/internal/v1/purges/{order['id']}/start", by=by, status=403)
    missing = "/internal/v1/purges/pur-aaaaaaaaaaaa/start"
    assert (await licensed("POST", missing, by="internal", status=404))["code"] == "PurgeUnknown"


async def test_the_end_of_a_license_finds_the_files_of_a_model_that_was_deleted(
    licensed: Any, both: dict[str, str]
) -> None:
    weights = {"precision": "q4_1", "format": "gguf", "bytes": 90, "source": SOURCE}
    files = [{"name": "own.gguf", "sha256": "2" * 64, "bytes": 90}]
    made = {"id": "demo-own", "base": MODEL, "public_name": "Demo-Own", "weights": {**weights, "files": files}}
    await licensed("POST", "/v1/models", made, by="acme", status=201)
    body = {"entity": "acme", "model": "demo-own", "weights": "sha256:" + "2" * 64, "tokenizer": DIGEST}
    await licensed("POST", "/internal/v1/artifact-references", body, by="internal", status=204)
    await licensed("DELETE", "/v1/models/demo-own", by="acme", status=204)
    await terminate(licensed, both["acme"])
    assert [order.model for order in (await orders(licensed)).values()] == ["demo-own"]
