"""Keys and admin tokens: scopes, new secrets with an overlap, revocation, and what the audit log says of each."""

import time
from typing import Any

import pytest
from paddock_core.keys import opens, parse_key

pytestmark = pytest.mark.postgres

KEYS, TOKENS = "/v1/tenants/acme/keys", "/v1/tenants/acme/admin-tokens"


async def _document(api: Any, key: str) -> dict[str, Any]:
    """What gateways know of a key."""
    policy = (await api("GET", "/internal/v1/policy", by="internal", status=200))["objects"]
    found: dict[str, Any] = policy["api_key"][key]
    return found


def _opens(key: str, document: dict[str, Any], *, now: float) -> bool:
    parsed = parse_key(key)
    assert parsed is not None
    return opens(
        parsed.secret,
        digest=document["secret_sha256"],
        previous=document["previous_sha256"],
        previous_until=document["previous_until"],
        now=now,
    )


async def _audited(api: Any) -> list[tuple[str, str]]:
    items = (await api("GET", "/v1/audit", status=200))["items"]
    return [(item["action"], item["subject"]) for item in items]


async def test_a_key_gets_a_new_secret_and_the_old_one_works_for_the_overlap(api: Any) -> None:
    await api.tenant("acme")
    made = await api("POST", KEYS, {"models": ["a/b"], "limits": {"max_output_tokens": 7}}, by="acme", status=201)
    path = f"{KEYS}/{made['id']}/rotation"
    before = time.time()
    first = await api("POST", path, {"overlap_seconds": 3600}, by="acme", status=201)
    document, now = await _document(api, made["id"]), time.time()
    assert before + 3600 <= first["previous_until"] <= now + 3600
    assert first["id"] == made["id"]
    assert first["key"] != made["key"]
    assert (document["models"], document["limits"]["max_output_tokens"]) == (["a/b"], 7)
    assert _opens(made["key"], document, now=now)
    assert not _opens(made["key"], document, now=first["previous_until"])
    assert _opens(first["key"], document, now=first["previous_until"] + 1)
    (listed,) = (await api("GET", KEYS, by="acme", status=200))["items"]
    assert listed["previous_until"] == first["previous_until"]

    second = await api("POST", path, {}, status=201)
    document = await _document(api, made["id"])
    assert [_opens(key, document, now=time.time()) for key in (made["key"], first["key"], second["key"])] == [
        False,
        False,
        True,
    ]
    (listed,) = (await api("GET", KEYS, by="acme", status=200))["items"]
    assert listed["previous_until"] is None
    audited = await _audited(api)
    assert [action for action, subject in audited if subject == made["id"]] == ["key.issue", "key.rotate", "key.rotate"]


async def test_a_key_that_ended_gets_no_new_secret(api: Any) -> None:
    await api.tenant("acme")
    made = await api("POST", KEYS, {}, by="acme", status=201)
    await api("DELETE", f"{KEYS}/{made['id']}", by="acme", status=204)
    path = f"{KEYS}/{made['id']}/rotation"
    assert (await api("POST", path, {}, by="acme", status=409))["code"] == "KeyEnded"
    assert (await api("POST", f"{KEYS}/{'a' * 12}/rotation", {}, status=404))["code"] == "KeyUnknown"
    await api("POST", path, {"overlap_seconds": 31 * 86_400}, by="acme", status=422)
    await api("POST", path, {"overlap_seconds": -1}, by="acme", status=422)


async def test_a_repeated_rotation_gives_the_same_secret(api: Any) -> None:
    await api.tenant("acme")
    made = await api("POST", KEYS, {}, by="acme", status=201)
    path, headers = f"{KEYS}/{made['id']}/rotation", {"idempotency-key": "once"}
    first, again = [await api("POST", path, {}, by="acme", status=201, headers=headers) for _ in range(2)]
    assert first == again


async def test_a_key_is_confined_to_scopes_that_there_are(api: Any) -> None:
    await api.tenant("acme")
    made = await api("POST", KEYS, {"scopes": ["models:read", "chat"]}, by="acme", status=201)
    assert (await _document(api, made["id"]))["scopes"] == ["chat", "models:read"]
    problem = await api("POST", KEYS, {"scopes": ["everything"]}, by="acme", status=422)
    assert "models:read" in problem["detail"]


async def test_admin_tokens_are_issued_rotated_and_revoked(api: Any, server: Any, database: str) -> None:
    old = await api.tenant("acme")
    made = await api("POST", TOKENS, {"name": "Ada"}, by="acme", status=201)
    assert [item["name"] for item in (await api("GET", TOKENS, by=made["admin_token"], status=200))["items"]].count(
        "Ada"
    ) == 1
    first = old.split("_")[1]
    rotated = await api("POST", f"{TOKENS}/{first}/rotation", {"overlap_seconds": 600}, by=old, status=201)
    for token in (old, rotated["admin_token"]):
        await api("GET", TOKENS, by=token, status=200)
    again = await api("POST", f"{TOKENS}/{first}/rotation", {}, by=rotated["admin_token"], status=201)
    for token in (old, rotated["admin_token"]):
        await api("GET", TOKENS, by=token, status=401)
    await api("DELETE", f"{TOKENS}/{first}", by=made["admin_token"], status=204)
    await api("DELETE", f"{TOKENS}/{first}", by=made["admin_token"], status=204)
    await api("GET", TOKENS, by=again["admin_token"], status=401)
    assert (await api("POST", f"{TOKENS}/{first}/rotation", {}, status=409))["code"] == "AdminTokenEnded"
    actions = [action for action, subject in await _audited(api) if subject in (first, made["id"])]
    assert actions == ["tenant.admin.issue", "tenant.admin.rotate", "tenant.admin.rotate", "tenant.admin.revoke"]
    connection = await server.connect(database)
    stored = await connection.fetchval("SELECT string_agg(tenant_admins::text, ' ') FROM tenant_admins")
    await connection.close()
    assert again["admin_token"].split("_")[2] not in stored


async def test_an_admin_token_ends_when_it_expires(api: Any, server: Any, database: str) -> None:
    await api.tenant("acme")
    made = await api("POST", TOKENS, {"expires_at": time.time() + 600}, status=201)
    await api("GET", TOKENS, by=made["admin_token"], status=200)
    connection = await server.connect(database)
    await connection.execute("UPDATE tenant_admins SET expires_at = $1 WHERE id = $2", time.time(), made["id"])
    await connection.close()
    await api("GET", TOKENS, by=made["admin_token"], status=401)
    assert (await api("POST", TOKENS, {"expires_at": 1.0}, status=422))["code"] == "AdminTokenExpiryPast"
