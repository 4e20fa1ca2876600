"""Time that pods of deployments held: reports in any order, tenants apart, tokens beside it."""

import time
from typing import Any

import pytest

pytestmark = pytest.mark.postgres

DAY = 86_400
TODAY = int(time.time()) // DAY * DAY
PATH = "/internal/v1/pod-time"


def _pod(uid: str, start: float, seen: float, **other: Any) -> dict[str, Any]:
    """Times are seconds after yesterday's beginning."""
    base = (TODAY - DAY) * 1000
    fields = {"tenant": "acme", "deployment": "acme-ns/chat", "gpus": 2, "cpu_millis": 500, **other}
    return {"uid": uid, "started_ms": base + int(start * 1000), "seen_ms": base + int(seen * 1000), **fields}


async def _tell(api: Any, *pods: dict[str, Any]) -> None:
    answer = await api("POST", PATH, {"pods": pods}, by="internal", status=200)
    assert answer["pods"] == len({pod["uid"] for pod in pods})


async def _read(api: Any, query: str = "", *, by: str = "platform", path: str = "/v1/gpu-time") -> Any:
    return await api("GET", f"{path}?from={TODAY - DAY}&to={TODAY + DAY}{query}", by=by, status=200)


async def test_reports_of_a_pod_count_once_in_any_order(api: Any) -> None:
    await api.tenant("acme")
    reports = [_pod("one", 10, 40), _pod("one", 10, 20), _pod("one", 10.5, 70.25), _pod("one", 10, 70.25)]
    await _tell(api, *reports)
    for report in reversed(reports):
        await _tell(api, report)
    found = await _read(api)
    (row,) = found["rows"]
    assert (row["tenant"], row["deployment"], row["pods"]) == ("acme", "acme-ns/chat", 1)
    assert (row["pod_seconds"], row["gpu_seconds"], row["cpu_seconds"]) == (60.25, 120.5, 30.125)
    assert found["total"]["gpu_seconds"] == 120.5


async def test_an_operator_that_was_away_for_an_hour_loses_nothing_of_what_still_runs(api: Any) -> None:
    await api.tenant("acme")
    await _tell(api, _pod("stays", 0, 60), _pod("went", 0, 60))
    await _tell(api, _pod("stays", 0, 3660), _pod("came", 1800, 3660))
    found = await _read(api, "&by=tenant")
    assert found["rows"][0]["gpu_seconds"] == 2 * (3660 + 60 + 1860)


async def test_days_are_apart_and_add_up(api: Any) -> None:
    await api.tenant("acme")
    await _tell(api, _pod("one", DAY - 100, DAY + 50))
    found = await _read(api, "&by=day")
    assert [row["gpu_seconds"] for row in found["rows"]] == [200, 100]
    assert (found["total"]["gpu_seconds"], found["total"]["pods"]) == (300, 1)


async def test_a_tenant_sees_its_own_and_nobody_that_of_no_tenant(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    await _tell(
        api,
        _pod("one", 0, 10),
        _pod("two", 0, 20, tenant="globex", deployment="globex-ns/chat"),
        _pod("three", 0, 30, tenant="gone", deployment="gone-ns/chat"),
    )
    assert [row["deployment"] for row in (await _read(api, by="acme"))["rows"]] == ["acme-ns/chat"]
    assert [row["deployment"] for row in (await _read(api, by="globex"))["rows"]] == ["globex-ns/chat"]
    every = await _read(api)
    assert [(row["tenant"], row["pod_seconds"]) for row in every["rows"]] == [("", 30), ("acme", 10), ("globex", 20)]
    assert (await _read(api, "&tenant=globex"))["total"]["pod_seconds"] == 20


async def test_tokens_stand_beside_the_time_of_the_deployment_that_made_them(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    await api("PUT", "/v1/tenants/acme/namespaces/acme-ns", status=200)
    at = time.time()
    records = [
        ledger.record(n, at=at, tenant=tenant, owner_tenant="acme", deployment="acme-ns/chat")
        for n, tenant in enumerate(("acme", "globex"))
    ]
    await api("POST", "/internal/v1/usage", {"records": records}, by="internal", status=200)
    await _tell(api, _pod("one", DAY, DAY + 100))
    found = await _read(api, "&by=deployment&by=tenant", path="/v1/costs")
    (row,) = found["rows"]
    assert (row["tenant"], row["deployment"], row["requests"], row["gpu_seconds"]) == ("acme", "acme-ns/chat", 2, 200)
    assert row["input_tokens"] == sum(record["input_tokens"] for record in records)
    assert row["output_tokens"] == sum(record["output_tokens"] for record in records)
    assert found["total"]["requests"] == 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seen_ms": 1}, "before it starts"),
        ({"gpus": -1}, "gpus"),
        ({"deployment": "no-slash"}, "deployment"),
        ({"uid": ""}, "uid"),
        ({"seen_ms": int(time.time() * 1000) + 3_600_000}, "clock"),
    ],
)
async def test_what_cannot_be_is_refused(change: dict[str, Any], word: str, api: Any) -> None:
    await api.tenant("acme")
    problem = await api("POST", PATH, {"pods": [{**_pod("one", 0, 10), **change}]}, by="internal", status=422)
    assert word in problem["detail"]
    assert (await _read(api))["rows"] == []


async def test_a_period_is_bounded(api: Any) -> None:
    for start, end in ((0, 93 * DAY), (10, 9)):
        problem = await api("GET", f"/v1/gpu-time?from={start}&to={end}", status=422)
        assert problem["code"] == "PeriodTooLong"
