"""Who may do what: every route with every kind of caller, and the rows that a tenant can see."""

from typing import Any

import pytest
from paddock_controlplane.app import create_app
from paddock_controlplane.db import Database, Scope
from sqlalchemy import text

pytestmark = pytest.mark.postgres

SHA = "0" * 64
PLATFORM, TENANT, INTERNAL, SIGNATORY, DECISION = "platform", "acme", "internal", "signatory", "decision"
EVERYBODY = {PLATFORM, TENANT, INTERNAL, SIGNATORY, DECISION}
REVIEWER, PURGE = "reviewer", "purge"
CALLERS = EVERYBODY | {REVIEWER, PURGE}
ALLOWED: dict[str, set[str]] = {
    "registerEntity": {PLATFORM},
    "updateEntity": {PLATFORM},
    "listEntities": {PLATFORM, TENANT},
    "readEntity": {PLATFORM, TENANT},
    "createTenant": {PLATFORM},
    "listTenants": {PLATFORM, TENANT},
    "readTenant": {PLATFORM, TENANT},
    "setTenantLimits": {PLATFORM},
    "setTenantGpus": {PLATFORM},
    "setEndUserLimits": {PLATFORM, TENANT},
    "setEndUserGroups": {PLATFORM, TENANT},
    "setKeyLimits": {PLATFORM, TENANT},
    "setPlatformLimits": {PLATFORM},
    "readPlatformLimits": {PLATFORM},
    "setProject": {PLATFORM, TENANT},
    "listProjects": {PLATFORM, TENANT},
    "removeProject": {PLATFORM, TENANT},
    "readQuotas": {PLATFORM, TENANT},
    "leaseQuotas": {INTERNAL},
    "addNamespace": {PLATFORM},
    "removeNamespace": {PLATFORM},
    "issueKey": {PLATFORM, TENANT},
    "listKeys": {PLATFORM, TENANT},
    "rotateKey": {PLATFORM, TENANT},
    "revokeKey": {PLATFORM, TENANT},
    "issueAdminToken": {PLATFORM, TENANT},
    "listAdminTokens": {PLATFORM, TENANT},
    "rotateAdminToken": {PLATFORM, TENANT},
    "revokeAdminToken": {PLATFORM, TENANT},
    "listModels": EVERYBODY,
    "readModel": EVERYBODY,
    "readNotice": EVERYBODY,
    "registerModel": {PLATFORM, TENANT},
    "deleteModel": {PLATFORM, TENANT},
    "putModel": {INTERNAL},
    "dropModel": {INTERNAL},
    "listLicenses": EVERYBODY,
    "readLicense": EVERYBODY,
    "importLicenseTexts": {PLATFORM},
    "makeLicenseOffer": {PLATFORM, TENANT},
    "issueSignatoryLink": {PLATFORM, TENANT},
    "readLicenseOffer": {SIGNATORY},
    "acceptLicense": {SIGNATORY},
    "listAcceptances": {PLATFORM, TENANT},
    "readReceipt": {PLATFORM, TENANT},
    "revokeAcceptance": {PLATFORM, TENANT},
    "suspendAcceptance": {PLATFORM},
    "terminateAcceptance": {PLATFORM},
    "reinstateAcceptance": {PLATFORM},
    "correctStatement": {PLATFORM, TENANT},
    "listStatements": {PLATFORM, TENANT},
    "addGrant": {PLATFORM},
    "listGrants": {PLATFORM, TENANT, REVIEWER},
    "reviewGrant": {REVIEWER},
    "addReviewer": {PLATFORM},
    "listReviewers": {PLATFORM},
    "endReviewer": {PLATFORM},
    "eraseSignatory": {PLATFORM},
    "erasePerson": {PLATFORM},
    "listPurges": {PLATFORM},
    "startPurge": {INTERNAL},
    "finishPurge": {PURGE},
    "referToArtifacts": {INTERNAL},
    "tellDenials": {INTERNAL},
    "withdrawGrant": {PLATFORM},
    "readLicensePolicy": {PLATFORM, TENANT},
    "setLicensePolicy": {PLATFORM},
    "readLicenseReport": {PLATFORM},
    "checkLicense": {PLATFORM, TENANT},
    "readUsage": {PLATFORM, TENANT},
    "readUsageRecords": {PLATFORM, TENANT},
    "readUsageEvents": {PLATFORM, TENANT},
    "readCharges": {PLATFORM, TENANT},
    "correctUsage": {PLATFORM},
    "readUsageDrift": {PLATFORM},
    "rebuildUsage": {PLATFORM},
    "setPrice": {PLATFORM},
    "listPrices": {PLATFORM, TENANT, INTERNAL},
    "issueUsageStatement": {PLATFORM},
    "listUsageStatements": {PLATFORM, TENANT},
    "readUsageStatement": {PLATFORM, TENANT},
    "readUsageStatementRows": {PLATFORM, TENANT},
    "readAudit": {PLATFORM},
    "readAuditedRecords": {PLATFORM},
    "readPolicy": {INTERNAL},
    "followPolicy": {INTERNAL},
    "enterUsage": {INTERNAL},
    "takePodTime": {INTERNAL},
    "readGpuTime": {PLATFORM, TENANT},
    "readCosts": {PLATFORM},
    "takeActiveUsers": {INTERNAL},
    "readActiveUsers": {PLATFORM, TENANT},
    "readActiveUsersOfEntities": {PLATFORM},
    "issueDecisionToken": {INTERNAL},
    "startDownload": {DECISION},
    "publishArtifact": {DECISION},
    "readArtifact": {INTERNAL},
}
OPEN = {"isAlive", "isReady", "readMetrics"}
SIGNATORY_BODY = {"name": "J", "email": "j@a.example"}
PERSON = {"name": "Jo", "title": "T", "email": "j@a.example", "authority": "owner"}
BODIES: dict[str, Any] = {
    "registerEntity": {"id": "new", "legal_name": "New", "principal_place_of_business": "US"},
    "updateEntity": {"legal_name": "New", "principal_place_of_business": "US"},
    "createTenant": {"id": "new", "entity": "acme"},
    "setTenantLimits": {},
    "setTenantGpus": {"gpus": 1},
    "setEndUserGroups": {"groups": []},
    "setKeyLimits": {},
    "issueKey": {},
    "rotateKey": {},
    "issueAdminToken": {},
    "rotateAdminToken": {},
    "importLicenseTexts": {"license": "none", "agreement": "x"},
    "makeLicenseOffer": {
        "entity": "acme",
        "license": "paddock-demo",
        "role": "deployer",
        "signatory": SIGNATORY_BODY,
    },
    "issueSignatoryLink": SIGNATORY_BODY,
    "acceptLicense": {"person": PERSON, "jurisdiction": "US", "agree": False},
    "revokeAcceptance": {"reason": "x"},
    "suspendAcceptance": {"reason": "x"},
    "terminateAcceptance": {"reason": "x"},
    "reinstateAcceptance": {"reason": "x"},
    "correctStatement": {"entity": "acme", "license": "none", "band": "gt_700m", "method": "x", "reason": "x"},
    "addGrant": {
        "entity": "nobody",
        "licenses": ["paddock-demo"],
        "valid_from": 1,
        "valid_to": 2,
        "grantor": "x",
        "reference": "x",
        "document_sha256": SHA,
        "assurance": "document",
    },
    "addReviewer": {"name": "J", "email": "another@a.example"},
    "erasePerson": {"email": "nobody@a.example"},
    "finishPurge": {"removed": []},
    "referToArtifacts": {"entity": "acme", "model": "none", "weights": f"sha256:{SHA}", "tokenizer": f"sha256:{SHA}"},
    "tellDenials": {"source": "gateway", "denials": []},
    "withdrawGrant": {"reason": "x"},
    "setLicensePolicy": {},
    "checkLicense": {"entity": "acme", "role": "deployer", "verb": "invoke", "model": "none"},
    "enterUsage": {"records": []},
    "correctUsage": {"usage_id": "00000000-0000-7000-8000-000000000000", "reason": "x"},
    "rebuildUsage": {"from": 0, "to": 0},
    "setPrice": {"model": "m", "currency": "USD", "prices": None},
    "issueUsageStatement": {"tenant": "acme", "month": "2020-01"},
    "takePodTime": {"pods": []},
    "takeActiveUsers": {"sketches": []},
    "registerModel": {"id": "made", "base": "none"},
    "putModel": {"base": "none"},
    "issueDecisionToken": {"verb": "download", "model": "smollm2-135m-instruct"},
    "startDownload": {"model": "smollm2-135m-instruct"},
}
QUERIES = {
    "readActiveUsers": "?month=2026-11",
    "readActiveUsersOfEntities": "?month=2026-11",
    "followPolicy": "?after=0",
    "readCharges": "?from=0&to=0",
    "readGpuTime": "?from=0&to=0",
    "readCosts": "?from=0&to=0",
    "readUsageDrift": "?from=0&to=0",
    "readLicenseReport": "?license=paddock-demo&month=2026-10",
}
PARAMETERS = {
    "entity": "acme",
    "tenant": "acme",
    "namespace": "acme-ns",
    "project": "web",
    "key": "a" * 12,
    "token": "a" * 12,
    "model": "smollm2-135m-instruct",
    "license": "paddock-demo",
    "acceptance": "acc-" + "a" * 12,
    "offer": "off-" + "a" * 12,
    "grant": "gra-" + "a" * 12,
    "purge": "pur-" + "a" * 12,
    "reviewer": "a" * 12,
    "statement": "stm-" + "a" * 12,
    "kind": "entity",
    "digest": f"sha256:{SHA}",
}


@pytest.fixture
async def everybody(licensed: Any) -> Any:
    """The API with a token of each kind."""
    offer = await licensed.offer("acme", "deployer")
    licensed.tokens[SIGNATORY] = offer["signatory_token"]
    licensed.tokens[DECISION], _ = licensed.state.decisions.issue(subject="smollm2-135m-instruct")
    licensed.tokens[PURGE], _ = licensed.state.decisions.issue(subject=PARAMETERS["purge"], verb="purge")
    person = {"name": "R", "email": "r@a.example"}
    licensed.tokens[REVIEWER] = (await licensed("POST", "/v1/license-reviewers", person, status=201))["reviewer_token"]
    return licensed


async def test_every_route_admits_its_callers_and_nobody_else(everybody: Any) -> None:
    document = create_app(everybody.state.settings).openapi()
    seen = set()
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            name = operation["operationId"]
            seen.add(name)
            path = template.format(**PARAMETERS) + QUERIES.get(name, "")
            await _admitted(everybody, method.upper(), path, name)
    assert seen == set(ALLOWED) | OPEN


async def _admitted(api: Any, method: str, path: str, name: str) -> None:
    if name in OPEN:
        assert (await api(method, path, by="nobody")).status_code == 200
        return
    for token in ("", "nonsense", "pk_" + "a" * 12 + "_" + SHA + "_00000000"):
        answer = await api(method, path, BODIES.get(name), by=token)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (name, token)
    for who in sorted(CALLERS):
        answer = await api(method, path, BODIES.get(name), by=who)
        refused = answer.status_code == 403 and answer.json()["code"] in ("Forbidden", "SignatoryRequired")
        assert refused != (who in ALLOWED[name]), (name, who, answer.status_code, answer.text)
        assert answer.status_code != 401, (name, who)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/entities/globex", None),
        ("GET", "/v1/tenants/globex", None),
        ("POST", "/v1/tenants/globex/keys", {}),
        ("GET", "/v1/tenants/globex/keys", None),
        ("DELETE", f"/v1/tenants/globex/keys/{'a' * 12}", None),
        ("POST", f"/v1/tenants/globex/keys/{'a' * 12}/rotation", {}),
        ("POST", "/v1/tenants/globex/admin-tokens", {}),
        ("GET", "/v1/tenants/globex/admin-tokens", None),
        ("POST", f"/v1/tenants/globex/admin-tokens/{'a' * 12}/rotation", {}),
        ("DELETE", f"/v1/tenants/globex/admin-tokens/{'a' * 12}", None),
        ("GET", "/v1/usage?tenant=globex", None),
        ("GET", "/v1/usage/records?tenant=globex", None),
        ("GET", "/v1/usage/events?tenant=globex", None),
        ("GET", "/v1/usage/charges?tenant=globex&from=0&to=0", None),
        ("GET", "/v1/gpu-time?tenant=globex&from=0&to=0", None),
        ("GET", "/v1/statements?tenant=globex", None),
        ("GET", "/v1/prices?tenant=globex", None),
        ("GET", "/v1/license-acceptances?entity=globex", None),
        ("POST", "/v1/license-checks", {"entity": "globex", "role": "deployer", "verb": "invoke", "model": "m"}),
        (
            "POST",
            "/v1/license-offers",
            {"entity": "globex", "license": "paddock-demo", "role": "deployer", "signatory": SIGNATORY_BODY},
        ),
    ],
)
async def test_a_tenants_admin_is_kept_out_of_others_affairs(method: str, path: str, body: Any, licensed: Any) -> None:
    assert (await licensed(method, path, body, by="acme", status=403))["code"] == "NotYours"


async def test_lists_hold_only_what_is_ones_own(licensed: Any) -> None:
    receipt = await licensed.accept("globex", "consumer")
    for path in ("/v1/entities", "/v1/tenants"):
        assert [item["id"] for item in (await licensed("GET", path, by="acme", status=200))["items"]] == ["acme"]
    assert (await licensed("GET", "/v1/license-acceptances", by="acme", status=200))["items"] == []
    path = f"/v1/license-acceptances/{receipt['id']}/revoke"
    assert (await licensed("POST", path, {"reason": "x"}, by="acme", status=404))["code"] == "AcceptanceUnknown"
    assert (await licensed.check("globex", "consumer"))["allowed"]


PROTECTED = {
    "tenants": "id",
    "tenant_admins": "tenant",
    "namespaces": "tenant",
    "api_keys": "tenant",
    "usage": "tenant",
    "usage_hour": "tenant",
    "usage_statements": "tenant",
    "entities": "id",
    "affiliations": "entity",
    "people": "entity",
    "offers": "entity",
    "signatory_credentials": "entity",
    "acceptances": "entity",
    "statements": "entity",
    "registered_models": "owner",
}


async def _filled(api: Any) -> None:
    for name in ("acme", "globex"):
        await api("PUT", f"/v1/tenants/{name}/namespaces/{name}-ns", status=200)
        await api("POST", f"/v1/tenants/{name}/keys", {}, status=201)
        await api.accept(name, "deployer")
        made = {"id": f"demo-{name}", "base": "smollm2-135m-instruct", "public_name": f"Demo-{name}", "owner": name}
        await api("POST", "/v1/models", made, status=201)
        record = _record(name)
        await api("POST", "/internal/v1/usage", {"records": [record]}, by="internal", status=200)
        await api("POST", "/v1/statements", {"tenant": name, "month": "2026-01"}, status=201)
    await api.entity("third", affiliates=["acme"])


def _record(tenant: str) -> dict[str, Any]:
    return {
        "usage_id": "01a1ee56-5e00-7000-8000-" + tenant.encode().hex().ljust(12, "0")[:12],
        "tenant": tenant,
        "key_id": "k",
        "owner_tenant": tenant,
        "deployment": f"{tenant}-ns/chat",
        "model": "m",
        "dialect": "openai",
        "operation": "chat",
        "stream": False,
        "status": "ok",
        "finish_reason": "stop",
        "t_admit": 1795000000.0,
        "t_first_token": None,
        "t_end": 1795000001.0,
        "reserved_tokens": 10,
        "input_tokens": 3,
        "output_tokens_engine": 4,
        "output_tokens_sent": 4,
        "output_tokens": 4,
        "billed_from": "engine",
        "usage_source": "exact",
        "acceptance_id": "acc-x",
        "end_user_hash": None,
        "gateway_instance": "g",
        "journal_seq": 1,
    }


async def test_a_query_that_forgets_its_where_sees_ones_own_rows_only(licensed: Any) -> None:
    await _filled(licensed)
    database: Database = licensed.state.database
    scopes = {
        "acme": Scope(tenant="acme", entity="acme", principal="p"),
        "nobody": Scope(),
        "all": Scope(tenant="*", entity="*", principal="*"),
    }
    for table, column in PROTECTED.items():
        found: dict[str, set[str]] = {}
        for name, scope in scopes.items():
            async with database.transaction(scope) as session:
                rows = await session.scalars(text(f"SELECT {column} FROM {table}"))
                found[name] = set(rows)
        assert found["nobody"] == set(), table
        assert found["acme"] <= {"acme"}, table
        assert found["all"] > found["acme"], table


async def test_what_was_recorded_cannot_be_changed_by_the_application(licensed: Any) -> None:
    await _filled(licensed)
    everything = Scope(tenant="*", entity="*", principal="*")
    statements = [
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "UPDATE usage SET output_tokens = 0",
        "DELETE FROM usage",
        "UPDATE prices SET currency = 'EUR'",
        "DELETE FROM usage_statements",
        "UPDATE usage_clock SET transaction_offset = 0",
        "UPDATE policy_log SET body = NULL",
        "DELETE FROM acceptances",
        "DROP TABLE usage",
        "SELECT * FROM usage_other",
        "ALTER TABLE usage DISABLE ROW LEVEL SECURITY",
    ]
    for statement in statements:
        with pytest.raises(Exception, match=r"permission denied|must be owner"):
            async with licensed.state.database.transaction(everything) as session:
                await session.execute(text(statement))


async def test_a_tenants_transaction_cannot_write_for_others(licensed: Any) -> None:
    scope = Scope(tenant="acme", entity="acme", principal="p")
    insert = "INSERT INTO namespaces (id, tenant) VALUES ('stolen', 'globex')"
    with pytest.raises(Exception, match="row-level security"):
        async with licensed.state.database.transaction(scope) as session:
            await session.execute(text(insert))
    async with licensed.state.database.transaction(scope) as session:
        moved = await session.execute(text("UPDATE tenants SET priced = true RETURNING id"))
        assert list(moved.scalars()) == ["acme"]
        assert (await session.execute(text("SELECT count(*) FROM audit_log"))).scalar_one() == 0
