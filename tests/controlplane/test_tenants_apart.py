"""A tenant's admin tries every route on what belongs to another: nothing is shown, and nothing changes."""

import itertools
import time
from typing import Any

import pytest
from paddock_controlplane.app import create_app

pytestmark = pytest.mark.postgres

MARK = "zq7mark"
"""In everything of the victim's that has a name."""
OWN_OF_THE_PROCESS = ("audit_log", "policy_log", "head", "idempotency_keys", "alembic_version", "usage_clock")
PERSON = {"name": f"{MARK} Jo", "title": MARK, "email": "jo@a.example", "authority": "owner"}


@pytest.fixture
async def victim(licensed: Any, ledger: Any) -> dict[str, str]:
    """What globex has, by the names of path parameters."""
    receipt = await licensed.accept("globex", "deployer", person=PERSON)
    await licensed("PUT", f"/v1/tenants/globex/namespaces/{MARK}-ns", status=200)
    await licensed("PUT", f"/v1/tenants/globex/projects/{MARK}", {"tokens_per_day": 5}, by="globex", status=200)
    wish = {"name": MARK, "project": MARK, "models": [f"{MARK}-ns/chat"]}
    key = await licensed("POST", "/v1/tenants/globex/keys", wish, by="globex", status=201)
    token = await licensed("POST", "/v1/tenants/globex/admin-tokens", {"name": MARK}, by="globex", status=201)
    offer = await licensed.offer("globex", "consumer")
    row = ledger.record(1, tenant="globex", owner_tenant="globex", deployment=f"{MARK}-ns/chat", model=f"{MARK}-m")
    await ledger.enter(licensed, [row])
    now_ms = int(time.time() * 1000)
    pod = {"uid": MARK, "tenant": "globex", "deployment": f"{MARK}-ns/chat", "gpus": 1}
    pods = {"pods": [{**pod, "started_ms": now_ms - 5000, "seen_ms": now_ms}]}
    await licensed("POST", "/internal/v1/pod-time", pods, by="internal", status=200)
    statements = (await licensed("GET", "/v1/license-statements?entity=globex", by="globex", status=200))["items"]
    return {
        "tenant": "globex",
        "entity": "globex",
        "namespace": f"{MARK}-ns",
        "project": MARK,
        "key": key["id"],
        "token": token["id"],
        "acceptance": receipt["id"],
        "offer": offer["offer"],
        "statement": statements[0]["id"],
        "model": "smollm2-135m-instruct",
        "license": "paddock-demo",
    }


def _body(schema: dict[str, Any], document: dict[str, Any], names: dict[str, str]) -> Any:
    """A body of this schema; whatever asks for a tenant, an entity and so on gets the victim's."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "allOf", "oneOf"):
        if several in schema:
            return _body(schema[several][0], document, names)
    if schema.get("type") == "object":
        wanted = schema.get("required", [])
        found = {}
        for name, item in schema.get("properties", {}).items():
            if name in names:
                found[name] = names[name]
            elif name in wanted:
                found[name] = _body(item, document, names)
        return found
    return {"array": [], "integer": 1, "number": 1.0, "boolean": True}.get(str(schema.get("type")), "x")


def _calls(document: dict[str, Any], names: dict[str, str], own: dict[str, str]) -> Any:
    """Every operation, with each mixture of the victim's names and the prober's own in its path and query."""
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", [])
            queries = [item["name"] for item in parameters if item["in"] == "query" and item["name"] in names]
            forced = {"from": "0", "to": str(int(time.time())), "month": time.strftime("%Y-%m", time.gmtime())}
            needed = [item["name"] for item in parameters if item["in"] == "query" and item["name"] in forced]
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            for mixed in ({}, own):
                path = template.format_map(_Any({**names, **mixed}))
                for chosen in itertools.product(*([(), (name,)] for name in queries)):
                    query = {name: names[name] for name in itertools.chain(*chosen)}
                    query |= {name: forced[name] for name in needed}
                    yield method.upper(), path, query, None if schema is None else _body(schema, document, names)


class _Any(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "a" * 12


async def _rows(server: Any, database: str, names: dict[str, str]) -> dict[str, list[str]]:
    """Every row that tells of the victim, by table."""
    connection = await server.connect(database)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    found = {}
    pattern = f"globex|{names['acceptance']}|{names['offer']}|{names['statement']}"
    for (table,) in tables:
        if table not in OWN_OF_THE_PROCESS:
            query = f'SELECT t::text FROM "{table}" AS t WHERE t::text ~ $1 ORDER BY 1'
            found[table] = [row[0] for row in await connection.fetch(query, pattern)]
    await connection.close()
    return found


async def test_no_route_shows_or_changes_what_is_anothers(
    licensed: Any, victim: dict[str, str], server: Any, database: str
) -> None:
    document = create_app(licensed.state.settings).openapi()
    secrets = [MARK, victim["key"], victim["token"], victim["acceptance"], victim["statement"], victim["offer"]]
    before = await _rows(server, database, victim)
    assert sum(map(len, before.values())) > 10
    tried = succeeded = 0
    for method, path, query, body in _calls(document, victim, {"tenant": "acme", "entity": "acme"}):
        answer = await licensed(method, path, body, by="acme", params=query)
        tried += 1
        succeeded += answer.is_success
        assert answer.status_code < 500, (method, path, query, answer.text)
        asked = f"{path} {query} {body}"
        shown = [secret for secret in secrets if secret in answer.text and secret not in asked]
        assert not shown, (method, path, query, answer.status_code, answer.text[:500])
    assert await _rows(server, database, victim) == before
    assert tried > 100
    assert succeeded > 10
