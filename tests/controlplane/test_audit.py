"""The audit chain."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from paddock_controlplane import maintenance
from paddock_controlplane.app import create_app
from paddock_core.audit.chain import Entry, Verifier, head_signature


@pytest.mark.postgres
async def test_the_chain_is_linear_however_many_write_at_once(licensed: Any) -> None:
    async def patiently(method: str, path: str, *body: Any, by: str = "platform") -> None:
        """On a slow machine a request may wait longer for a connection to the database than it is given."""
        for _ in range(20):
            answer = await licensed(method, path, *body, by=by)
            if answer.status_code != 503:
                break
        assert answer.status_code in (200, 201), answer.text

    keys = [patiently("POST", "/v1/tenants/acme/keys", {}, by="acme") for _ in range(15)]
    spaces = [patiently("PUT", f"/v1/tenants/globex/namespaces/g{n}") for n in range(15)]
    await asyncio.gather(*keys, *spaces, licensed.accept("acme", "deployer"))
    verifier, after, head = Verifier(), 0, {}
    while True:
        page = await licensed("GET", f"/v1/audit?after={after}&limit=7", status=200)
        assert verifier.check(Entry(**item) for item in page["items"])
        head = page["head"]
        if page["next"] is None:
            break
        after = page["next"]
    assert (verifier.seq, verifier.digest) == (head["seq"], head["digest"])
    key = licensed.state.audit_key
    assert head["signature"] == head_signature(key=key, seq=head["seq"], digest=head["digest"])
    assert verifier.seq > 30


@pytest.mark.postgres
async def test_a_change_in_the_database_is_found(licensed: Any, server: Any, database: str) -> None:
    connection = await server.connect(database)
    await connection.execute("UPDATE audit_log SET actor = 'somebody' WHERE seq = 3")
    await connection.close()
    page = await licensed("GET", "/v1/audit?limit=1000", status=200)
    verifier = Verifier()
    assert not verifier.check(Entry(**item) for item in page["items"])
    assert verifier.breach is not None
    assert verifier.breach.seq == 3


@pytest.mark.postgres
async def test_a_refused_request_leaves_no_trace(licensed: Any) -> None:
    before = (await licensed("GET", "/v1/audit", status=200))["head"]
    await licensed("POST", "/v1/tenants", {"id": "acme", "entity": "acme"}, status=409)
    await licensed("DELETE", f"/v1/tenants/acme/keys/{'a' * 12}", status=404)
    assert (await licensed("GET", "/v1/audit", status=200))["head"] == before


@pytest.mark.postgres
@pytest.mark.parametrize("exported", [True, False])
async def test_a_control_plane_that_exports_no_heads_says_so(
    api: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, exported: bool
) -> None:
    heads = {"audit_heads_file": tmp_path / "heads.jsonl"} if exported else {}
    create_app(api.state.settings.model_copy(update=heads))
    assert ("PADDOCK_CONTROLPLANE_AUDIT_HEADS_FILE" in caplog.text) is not exported


@pytest.mark.postgres
async def test_heads_are_exported_beside_the_database(api: Any, tmp_path: Path) -> None:
    heads = tmp_path / "elsewhere" / "heads.jsonl"
    state = replace(api.state, settings=api.state.settings.model_copy(update={"audit_heads_file": heads}))
    await maintenance.once(state)
    await api.entity("acme")
    await maintenance.once(state)
    head = (await api("GET", "/v1/audit", status=200))["head"]
    lines = [json.loads(line) for line in heads.read_text(encoding="utf-8").splitlines()]
    assert [line["seq"] for line in lines] == [0, head["seq"]]
    assert lines[-1] == head
