"""Entities, tenants, namespaces and keys."""

import time
from typing import Any

import pytest

pytestmark = pytest.mark.postgres


async def test_entities_are_registered_once_and_listed_in_pages(api: Any) -> None:
    for name in ("a", "b", "c"):
        await api.entity(name, affiliates=["z", "y", "z"])
    again = {"id": "a", "legal_name": "A", "principal_place_of_business": "US"}
    assert (await api("POST", "/v1/entities", again, status=409))["code"] == "EntityExists"
    assert (await api("GET", "/v1/entities/a", status=200))["affiliates"] == ["y", "z"]
    first = await api("GET", "/v1/entities?limit=2", status=200)
    assert ([item["id"] for item in first["items"]], first["next"]) == (["a", "b"], "b")
    rest = await api("GET", "/v1/entities?limit=2&after=b", status=200)
    assert ([item["id"] for item in rest["items"]], rest["next"]) == (["c"], None)
    assert (await api("GET", "/v1/entities/nobody", status=404))["code"] == "EntityUnknown"


async def test_there_is_one_operator(api: Any) -> None:
    await api.entity("op", is_operator=True)
    second = {"id": "op2", "legal_name": "O", "principal_place_of_business": "US", "is_operator": True}
    assert (await api("POST", "/v1/entities", second, status=409))["code"] == "OperatorExists"


@pytest.mark.parametrize(
    "values",
    [
        {"id": "Capital"},
        {"id": "-dash"},
        {"id": "x" * 41},
        {"principal_place_of_business": "USA"},
        {"principal_place_of_business": "UK"},
        {"domicile": "XX"},
        {"legal_name": ""},
        {"legal_name": "two\nlines"},
        {"unknown_field": 1},
    ],
)
async def test_a_bad_entity_is_refused_naming_the_field(values: dict[str, Any], api: Any) -> None:
    body = {"id": "good", "legal_name": "Good", "principal_place_of_business": "US", **values}
    problem = await api("POST", "/v1/entities", body, status=422)
    assert next(iter(values)) in problem["detail"]
    assert (await api("GET", "/v1/entities", status=200))["items"] == []


async def test_a_tenant_has_a_gpu_quota_and_followers_hear_of_it(api: Any) -> None:
    await api.tenant("acme")
    assert (await api("GET", "/v1/tenants/acme", status=200))["tenant"]["gpus"] is None
    assert (await api("PUT", "/v1/tenants/acme/gpu-quota", {"gpus": 8}, status=200))["gpus"] == 8
    snapshot = await api("GET", "/internal/v1/policy", by="internal", status=200)
    assert snapshot["objects"]["tenant"]["acme"]["gpus"] == 8
    entries = (await api("GET", "/v1/audit?limit=1000", status=200))["items"]
    (entry,) = [item for item in entries if item["action"] == "tenant.gpus"]
    assert (entry["subject"], entry["detail"]) == ("acme", '{"before":null,"gpus":8}')
    for body in ({"gpus": -1}, {"gpus": "many"}, {}):
        await api("PUT", "/v1/tenants/acme/gpu-quota", body, status=422)
    assert (await api("PUT", "/v1/tenants/no/gpu-quota", {"gpus": 1}, status=404))["code"] == "TenantUnknown"
    assert (await api("PUT", "/v1/tenants/acme/gpu-quota", {"gpus": None}, status=200))["gpus"] is None
    made = await api("POST", "/v1/tenants", {"id": "big", "entity": "acme", "gpus": 64}, status=201)
    assert made["tenant"]["gpus"] == 64


async def test_a_tenant_has_limits_and_namespaces(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    assert (await api("POST", "/v1/tenants", {"id": "acme", "entity": "acme"}, status=409))["code"] == "TenantExists"
    assert (await api("POST", "/v1/tenants", {"id": "x", "entity": "no"}, status=404))["code"] == "EntityUnknown"
    await api("PUT", "/v1/tenants/acme/limits", {"requests_per_minute": 5}, status=200)
    assert (await api("PUT", "/v1/tenants/no/limits", {}, status=404))["code"] == "TenantUnknown"
    await api("PUT", "/v1/tenants/acme/limits", {"requests_per_minute": -1}, status=422)
    await api("PUT", "/v1/tenants/acme/namespaces/acme-ns", status=200)
    await api("PUT", "/v1/tenants/acme/namespaces/acme-ns", status=200)
    shown = await api("GET", "/v1/tenants/acme", status=200)
    assert shown["tenant"]["limits"]["requests_per_minute"] == 5
    assert shown["namespaces"] == [{"id": "acme-ns", "tenant": "acme"}]
    taken = await api("PUT", "/v1/tenants/globex/namespaces/acme-ns", status=409)
    assert taken["code"] == "NamespaceTaken"
    await api("DELETE", "/v1/tenants/acme/namespaces/acme-ns", status=204)
    assert (await api("DELETE", "/v1/tenants/acme/namespaces/acme-ns", status=404))["code"] == "NamespaceUnknown"
    assert (await api("GET", "/v1/tenants/acme", status=200))["namespaces"] == []


@pytest.mark.parametrize("name", ["kube-system", "paddock-serving-acme", "paddock-weights", "default"])
async def test_namespaces_of_the_platform_are_nobodys(name: str, api: Any) -> None:
    await api.tenant("acme")
    problem = await api("PUT", f"/v1/tenants/acme/namespaces/{name}", status=422)
    assert problem["code"] == "NamespaceReserved"


async def test_a_key_is_shown_once_and_revoked_for_good(api: Any, server: Any, database: str) -> None:
    await api.tenant("acme")
    wish = {
        "name": "ci",
        "expires_at": time.time() + 3600,
        "models": ["acme-ns/chat"],
        "limits": {"max_output_tokens": 9},
    }
    made = await api("POST", "/v1/tenants/acme/keys", wish, by="acme", status=201)
    prefix, key_id, secret, _ = made["key"].split("_")
    assert (prefix, key_id) == ("pk", made["id"])
    listed = await api("GET", "/v1/tenants/acme/keys", by="acme", status=200)
    assert [item["id"] for item in listed["items"]] == [key_id]
    assert secret not in str(listed)
    body = (await _policy(api))["api_key"][key_id]
    assert (body["tenant"], body["models"], body["limits"]["max_output_tokens"]) == ("acme", ["acme-ns/chat"], 9)
    for _ in range(2):
        await api("DELETE", f"/v1/tenants/acme/keys/{key_id}", by="acme", status=204)
    assert "api_key" not in await _policy(api)
    listed = await api("GET", "/v1/tenants/acme/keys", status=200)
    assert listed["items"][0]["revoked_at"] > listed["items"][0]["created_at"]
    assert (await api("DELETE", f"/v1/tenants/acme/keys/{'a' * 12}", status=404))["code"] == "KeyUnknown"
    connection = await server.connect(database)
    stored = await connection.fetchval("SELECT string_agg(api_keys::text, ' ') FROM api_keys")
    await connection.close()
    assert secret not in stored


async def test_a_key_that_expired_already_is_refused(api: Any) -> None:
    await api.tenant("acme")
    problem = await api("POST", "/v1/tenants/acme/keys", {"expires_at": 1.0}, status=422)
    assert problem["code"] == "KeyExpiryPast"


async def _policy(api: Any) -> dict[str, Any]:
    snapshot = await api("GET", "/internal/v1/policy", by="internal", status=200)
    objects: dict[str, Any] = snapshot["objects"]
    return objects
