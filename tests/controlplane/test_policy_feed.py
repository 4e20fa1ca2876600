"""Following the policy: snapshot, changes, waiting, gaps."""

import asyncio
from typing import Any

import msgspec
import pytest
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.policy import service
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Changes, Snapshot

pytestmark = pytest.mark.postgres

CHANGES = "/internal/v1/policy/changes"


async def _snapshot(api: Any) -> Snapshot:
    return msgspec.convert(await api("GET", "/internal/v1/policy", by="internal", status=200), Snapshot)


async def _changes(api: Any, after: int, wait: float = 0) -> Changes:
    found = await api("GET", f"{CHANGES}?after={after}&wait={wait}", by="internal", status=200)
    return msgspec.convert(found, Changes)


async def test_changes_lead_from_one_snapshot_to_the_next(licensed: Any) -> None:
    before = PolicyView.from_snapshot(await _snapshot(licensed))
    await licensed.accept("acme", "deployer")
    key = await licensed("POST", "/v1/tenants/acme/keys", {}, status=201)
    await licensed("PUT", "/v1/tenants/acme/namespaces/acme-ns", status=200)
    await licensed("PUT", "/v1/tenants/acme/limits", {"requests_per_minute": 3}, status=200)
    await licensed("DELETE", f"/v1/tenants/acme/keys/{key['id']}", status=204)
    news = await _changes(licensed, before.revision)
    after = before.apply(news.changes, revision=news.revision)
    assert after == PolicyView.from_snapshot(await _snapshot(licensed))
    assert after.namespace_tenant("acme-ns") == after.tenants["acme"]
    assert after.api_keys == {}


async def test_an_unchanged_snapshot_is_not_sent_again(licensed: Any) -> None:
    first = await licensed("GET", "/internal/v1/policy", by="internal")
    known = {"if-none-match": first.headers["etag"]}
    assert (await licensed("GET", "/internal/v1/policy", by="internal", headers=known)).status_code == 304
    await licensed("POST", "/v1/tenants/acme/keys", {}, status=201)
    assert (await licensed("GET", "/internal/v1/policy", by="internal", headers=known)).status_code == 200


async def test_who_waits_is_woken_by_a_change(licensed: Any) -> None:
    revision = (await _snapshot(licensed)).revision
    waiting = [asyncio.create_task(_changes(licensed, revision, wait=60)) for _ in range(3)]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in waiting)
    await licensed("POST", "/v1/tenants/acme/keys", {}, status=201)
    for news in await asyncio.gather(*waiting):
        assert [change.kind for change in news.changes] == ["api_key"]


async def test_who_waits_is_woken_although_no_notification_came(licensed: Any) -> None:
    revision = (await _snapshot(licensed)).revision
    licensed.state.feed._on_notify = lambda *_: None
    waiting = asyncio.create_task(_changes(licensed, revision, wait=60))
    await asyncio.sleep(0.2)
    await licensed("POST", "/v1/tenants/acme/keys", {}, status=201)
    assert (await waiting).changes


async def test_waiting_in_vain_ends_without_changes(licensed: Any) -> None:
    revision = (await _snapshot(licensed)).revision
    news = await _changes(licensed, revision, wait=0.3)
    assert (news.revision, news.changes, news.max_age_seconds) == (revision, (), 900.0)


async def test_a_revision_of_another_history_is_gone(licensed: Any) -> None:
    revision = (await _snapshot(licensed)).revision
    problem = await licensed("GET", f"{CHANGES}?after={revision + 1}&wait=30", by="internal", status=410)
    assert problem["code"] == "RevisionGone"


async def test_pruning_keeps_the_snapshot_and_tells_of_the_gap(licensed: Any) -> None:
    key = await licensed("POST", "/v1/tenants/acme/keys", {}, status=201)
    await licensed("DELETE", f"/v1/tenants/acme/keys/{key['id']}", status=204)
    before = await _snapshot(licensed)
    await licensed.state.database.run(EVERYTHING, lambda session: service.prune(session, days=1))
    assert (await _changes(licensed, 0)).changes
    await licensed.state.database.run(EVERYTHING, lambda session: service.prune(session, days=0))
    after = await _snapshot(licensed)
    assert (after.revision, after.objects) == (before.revision, before.objects)
    assert (await licensed("GET", f"{CHANGES}?after=0", by="internal", status=410))["code"] == "RevisionGone"
    assert (await _changes(licensed, before.revision)).changes == ()
    assert (await licensed.check("acme", "deployer"))["reason"] == "AcceptanceMissing"


async def test_revisions_have_no_gaps_however_many_write_at_once(licensed: Any) -> None:
    start = (await _snapshot(licensed)).revision
    followed = PolicyView.from_snapshot(await _snapshot(licensed))
    calls = [licensed("POST", "/v1/tenants/acme/keys", {}, status=201) for _ in range(20)]
    writing = asyncio.gather(*calls)
    while followed.revision < start + 20:
        news = await _changes(licensed, followed.revision, wait=10)
        assert [change.revision for change in news.changes] == list(range(followed.revision + 1, news.revision + 1))
        followed = followed.apply(news.changes)
    await writing
    assert len(followed.api_keys) == 20
