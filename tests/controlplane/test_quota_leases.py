"""Leases on a real PostgreSQL: what gateways are granted, what the ledger settles, what comes back from the dead."""

import asyncio
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.quotas import accounts, leases
from sqlalchemy import text

pytestmark = pytest.mark.postgres

TENANT = "tenant:acme"
MONTH = "tokens_per_month"


def month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


class Gateway:
    """A caller with the numbers and session that the control plane expects."""

    def __init__(self, api: Any, instance: str = "gateway-0") -> None:
        self.api = api
        self.instance = instance
        self.session = uuid.uuid4().hex
        self.number = 0
        self.started = time.time() - 1

    async def call(self, *asks: dict[str, Any], status: int = 200, **other: Any) -> Any:
        self.number += 1
        body = {
            "instance": self.instance,
            "session": self.session,
            "number": self.number,
            "started_at": self.started,
            "asks": asks,
            **other,
        }
        return await self.api("POST", "/internal/v1/leases", body, by="internal", status=status)

    async def tokens(self, need: int, *, want: int = 0, back: int = 0, limit: int = 1000, level: str = TENANT) -> Any:
        """Ask for tokens of the month."""
        asked = ask(level, MONTH, month(), limit, need=need, want=want, back=back)
        return (await self.call(asked))["grants"][0]

    async def ship(self, *rows: dict[str, Any]) -> None:
        """Enter rows in the ledger."""
        records = [record(gateway_instance=self.instance, **row) for row in rows]
        await self.api("POST", "/internal/v1/usage", {"records": records}, by="internal", status=200)


def ask(
    level: str, kind: str, period: str, limit: int, *, need: int = 0, want: int = 0, back: int = 0
) -> dict[str, Any]:
    return {
        "level": level,
        "kind": kind,
        "period": period,
        "limit": limit,
        "need": need,
        "least": need,
        "want": want,
        "back": back,
    }


def record(*, at: float | None = None, tokens: int = 10, **other: Any) -> dict[str, Any]:
    moment = time.time() if at is None else at
    milliseconds = int(moment * 1000)
    value = milliseconds << 80 | 0x7 << 76 | 2 << 62 | uuid.uuid4().int & 0xFFFFFFFFFFFF
    return {
        "usage_id": str(uuid.UUID(int=value)),
        "tenant": "acme",
        "key_id": "a" * 12,
        "owner_tenant": "acme",
        "deployment": "acme/chat",
        "model": "smollm2-135m-instruct",
        "dialect": "openai",
        "operation": "chat",
        "stream": False,
        "status": "ok",
        "finish_reason": "stop",
        "t_admit": moment,
        "t_first_token": None,
        "t_end": moment + 1,
        "reserved_tokens": tokens,
        "input_tokens": tokens - 1,
        "output_tokens_engine": 1,
        "output_tokens_sent": 1,
        "output_tokens": 1,
        "billed_from": "engine",
        "usage_source": "exact",
        "acceptance_id": "",
        "end_user_hash": None,
        "gateway_instance": "gateway-0",
        "journal_seq": 1,
        **other,
    }


async def standing(api: Any, kind: str = MONTH, level: str = TENANT) -> tuple[int, int, int]:
    """What is spent, leased and left."""
    items = (await api("GET", "/v1/quotas", status=200))["items"]
    (found,) = [item for item in items if item["kind"] == kind and item["level"] == level]
    return found["spent"], found["leased"], found["remaining"]


async def test_a_grant_is_debited_and_the_ledger_settles_it(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    assert (await gateway.tokens(100))["granted"] == 100
    assert await standing(api) == (0, 100, 900)
    await gateway.ship({"tokens": 60})
    assert await standing(api) == (60, 40, 900)
    await gateway.tokens(0, back=40)
    assert await standing(api) == (60, 0, 940)


async def test_a_row_that_comes_twice_is_settled_once(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    await gateway.tokens(100)
    row = record(tokens=60)
    for _ in range(2):
        await api("POST", "/internal/v1/usage", {"records": [row]}, by="internal", status=200)
    assert await standing(api) == (60, 40, 900)


async def test_near_the_limit_only_the_need_is_granted_and_then_nothing(api: Any) -> None:
    await api.tenant("acme")
    one, two = Gateway(api, "one"), Gateway(api, "two")
    first = await one.tokens(10, want=1000, limit=1000)
    assert first["granted"] == 10 + 990 // 16
    left = 1000 - first["granted"]
    assert (await two.tokens(left - 5))["granted"] == left - 5
    assert (await one.tokens(6)) == {"granted": 0, "room": 5, "fill_ns": 0, "over": 0, "problem": ""}
    assert (await one.tokens(5))["granted"] == 5
    assert await standing(api) == (0, 1000, 0)


async def test_racing_gateways_never_get_more_than_the_limit(api: Any) -> None:
    await api.tenant("acme")
    gateways = [Gateway(api, f"gateway-{index}") for index in range(6)]

    async def greedy(gateway: Gateway) -> int:
        return sum([(await gateway.tokens(7, want=40, limit=200))["granted"] for _ in range(12)])

    async with asyncio.timeout(300):
        granted = await asyncio.gather(*(greedy(gateway) for gateway in gateways))
    assert 194 <= sum(granted) <= 200
    assert await standing(api) == (0, sum(granted), 200 - sum(granted))


async def test_a_lost_answer_is_given_again(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    first = await gateway.tokens(100)
    gateway.number -= 1
    assert await gateway.tokens(100) == first
    assert await standing(api) == (0, 100, 900)


async def test_a_rate_is_shared_and_drains(api: Any) -> None:
    await api.tenant("acme")
    one, two = Gateway(api, "one"), Gateway(api, "two")
    asked = ask(TENANT, "requests_per_minute", "", 2, need=1)
    granted = [(await gateway.call(asked))["grants"][0] for gateway in (one, two, one)]
    assert [item["granted"] for item in granted] == [1, 1, 0]
    assert 55e9 < granted[2]["fill_ns"] <= 60e9
    assert (await two.call(asked))["gateways"] == 2


async def test_slots_of_a_new_process_are_free_at_once_and_its_budget_when_its_records_came(api: Any) -> None:
    await api.tenant("acme")
    first = Gateway(api)
    slots = ask(TENANT, "concurrent_requests", "", 3, need=3)
    assert (await first.call(slots))["grants"][0]["granted"] == 3
    await first.tokens(100)
    again = Gateway(api)
    again.started = time.time() + 1
    assert (await again.call(slots))["grants"][0]["granted"] == 3
    assert await standing(api) == (0, 100, 900)
    await again.tokens(50)
    await again.ship({"tokens": 30})
    assert await standing(api) == (30, 120, 850), "a record of the old process settles the old lease"
    await again.ship({"tokens": 20, "at": time.time() + 2})
    assert await standing(api) == (50, 100, 850)
    await again.call(shipped=True)
    assert await standing(api) == (50, 30, 920), "what the old process did not use has come back"


async def test_a_silent_gateway_loses_its_slots_and_later_its_budget(api: Any) -> None:
    await api.tenant("acme")
    silent, other = Gateway(api, "silent"), Gateway(api, "other")
    await silent.call(ask(TENANT, "concurrent_requests", "", 3, need=3))
    await silent.tokens(100)
    await age(api, "silent", leases.ALIVE_SECONDS + 5)
    assert (await other.call(ask(TENANT, "concurrent_requests", "", 3, need=3)))["grants"][0]["granted"] == 3
    assert await standing(api) == (0, 100, 900)
    await age(api, "silent", 300 + leases.GRACE_SECONDS + 5)
    await other.call()
    assert await standing(api) == (0, 0, 1000)
    await silent.call(status=409)
    await silent.ship({"tokens": 70})
    assert await standing(api) == (70, 0, 930), "late, but not lost"


async def age(api: Any, instance: str, seconds: float) -> None:
    async with api.state.database.transaction(EVERYTHING) as session:
        await session.execute(
            text("UPDATE quota_sessions SET seen_at = now() - make_interval(secs => :seconds) WHERE instance = :name"),
            {"seconds": seconds, "name": instance},
        )


async def test_an_account_begins_with_what_the_ledger_shows(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    key = (await api("POST", "/v1/tenants/acme/keys", {}, status=201))["id"]
    await gateway.ship({"tokens": 30, "key_id": key}, {"tokens": 7, "end_user_hash": "ab", "project": "web"})
    month_ago = time.time() - 40 * 86400
    await gateway.ship({"tokens": 500, "at": month_ago})
    levels = {"platform": 37, TENANT: 37, f"key:{key}": 30, "user:acme:ab": 7, "project:acme/web": 7}
    for level, spent in levels.items():
        await gateway.tokens(1, level=level)
        assert (await standing(api, level=level))[0] == spent
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    await gateway.call(ask(TENANT, "tokens_per_day", day, 50, need=1))
    await gateway.ship({"tokens": 5, "key_id": key, "end_user_hash": "ab", "project": "web"})
    assert {level: (await standing(api, level=level))[0] for level in levels} == {
        level: spent + 5 for level, spent in levels.items()
    }
    assert (await standing(api, "tokens_per_day"))[0] == 42


async def test_money_is_settled_at_the_price_of_the_row(api: Any) -> None:
    await api.tenant("acme")
    prices = {"input_uncached": 3_000_000, "cache_read": 0, "cache_write": 0}
    prices |= {"output_text": 7_000_000, "output_reasoning": 0}
    body = {"model": "smollm2-135m-instruct", "currency": "EUR", "prices": prices}
    made = await api("POST", "/v1/prices", body, status=201)
    objects = (await api("GET", "/internal/v1/policy", by="internal", status=200))["objects"]
    published = objects["price"][made["price_id"]]
    assert published["price"]["prices"]["output_text"] == 7_000_000
    gateway = Gateway(api)
    kind = "money_per_month_nano"
    asked = ask(TENANT, kind, month(), 1000, need=100)
    assert (await gateway.call(asked))["grants"][0]["granted"] == 100
    await gateway.ship({"tokens": 10, "at": time.time() + 1})
    assert await standing(api, kind) == (3 * 9 + 7, 100 - 34, 900)
    async with api.state.database.transaction(EVERYTHING) as session:
        assert await accounts.rebuild(session) == 0


async def test_accounts_are_rebuilt_from_the_ledger_and_the_drift_is_told(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    await gateway.tokens(100)
    await gateway.ship({"tokens": 60})
    for _ in range(2):  # the process's own first look may come between, once
        async with api.state.database.transaction(EVERYTHING) as session:
            await session.execute(text("UPDATE quota_accounts SET spent = 3"))
        await api.state.quotas.look(api.state.database, seconds=300)
        if api.state.quotas.drift:
            break
    assert api.state.quotas.drift == 57
    assert await standing(api) == (60, 40, 900)
    metrics = await api("GET", "/metrics")
    assert re.search(r"^paddock_quota_drift(\{.*\})? 57(\.0)?$", metrics.text, re.M)
    await api.state.quotas.look(api.state.database, seconds=300)
    assert api.state.quotas.drift == 0


async def test_accounts_that_are_made_while_rows_come_miss_none(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)

    async def rows() -> None:
        for _ in range(20):
            await gateway.ship({"tokens": 3, "end_user_hash": "ab"}, {"tokens": 4, "end_user_hash": "cd"})

    async def made() -> None:
        for level in (TENANT, "user:acme:ab", "user:acme:cd", "platform", "project:acme/web"):
            await gateway.tokens(0, level=level)
            await asyncio.sleep(0.05)

    async with asyncio.timeout(300):
        await asyncio.gather(rows(), made())
    spent = {level: (await standing(api, level=level))[0] for level in (TENANT, "user:acme:ab", "user:acme:cd")}
    assert spent == {TENANT: 140, "user:acme:ab": 60, "user:acme:cd": 80}
    async with api.state.database.transaction(EVERYTHING) as session:
        assert await accounts.rebuild(session) == 0


async def test_the_ledger_waits_for_no_look_at_its_accounts(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    for person in range(30):
        await gateway.tokens(0, level=f"user:acme:{person:02}")
    rows = [{"tokens": 3, "end_user_hash": f"{person:02}"} for person in range(30)]
    await gateway.ship(*rows)
    async with api.state.database.transaction(EVERYTHING) as session, asyncio.timeout(300):
        assert await accounts.rebuild(session) == 0
        await gateway.ship(*rows)
        await gateway.tokens(0, level="user:acme:new")
        assert await accounts.rebuild(session) == 0, "what came meanwhile is in accounts and sums alike"
    assert await standing(api, level="user:acme:07") == (6, 0, 994)


async def test_an_account_without_its_sum_is_summed_before_anything_is_granted(api: Any) -> None:
    """As a control plane leaves it that dies between the two: what the account counted since stays."""
    await api.tenant("acme")
    gateway = Gateway(api)
    await gateway.ship({"tokens": 300, "end_user_hash": "ab"}, {"tokens": 50})
    level = "user:acme:ab"
    async with api.state.database.transaction(EVERYTHING) as session:
        await session.execute(
            text(
                "INSERT INTO quota_accounts (level, kind, period, tenant, ceiling, summed)"
                " VALUES (:level, :kind, :period, 'acme', 1000, false)"
            ),
            {"level": level, "kind": MONTH, "period": month()},
        )
    assert (await api("GET", "/v1/quotas", status=200))["items"] == []
    await gateway.ship({"tokens": 100, "end_user_hash": "ab"})
    assert (await gateway.tokens(601, level=level))["granted"] == 0
    assert (await gateway.tokens(600, level=level))["granted"] == 600
    assert await standing(api, level=level) == (400, 600, 0)
    async with api.state.database.transaction(EVERYTHING) as session:
        assert await accounts.rebuild(session) == 0


async def test_days_of_end_users_go_with_their_budgets(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    for at in (time.time(), time.time() - 40 * 86400):
        await gateway.ship({"tokens": 5, "end_user_hash": "ab", "at": at})
    await api.state.quotas.look(api.state.database, seconds=300)
    async with api.state.database.transaction(EVERYTHING) as session:
        days = list(await session.execute(text("SELECT day, tokens FROM usage_end_user_day")))
    assert [(row.day, row.tokens) for row in days] == [(datetime.now(UTC).date(), 5)]


async def test_a_lowered_limit_asks_for_the_units_beyond_it(api: Any) -> None:
    await api.tenant("acme")
    one, two = Gateway(api, "one"), Gateway(api, "two")
    await one.tokens(600)
    await two.tokens(300)
    assert (await one.tokens(0, limit=800))["over"] == 100
    assert (await two.tokens(0, limit=500))["over"] == 300, "no more than it holds"
    assert (await one.tokens(1, limit=500))["granted"] == 0
    assert (await one.tokens(0, limit=500, back=400))["over"] == 0
    assert await standing(api) == (0, 500, 0)
    slots = ask(TENANT, "concurrent_requests", "", 100, need=100)
    assert (await one.call(slots))["grants"][0]["granted"] == 100
    assert (await one.call({**slots, "limit": 1, "need": 0, "least": 0}))["grants"][0]["over"] == 99


async def test_a_repeated_call_is_a_sign_of_life(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    await gateway.tokens(100)
    await age(api, "gateway-0", 300 + leases.GRACE_SECONDS - 5)
    gateway.number -= 1
    await gateway.tokens(100)
    await age_more(api, "gateway-0", 30)
    await Gateway(api, "other").call()
    assert await standing(api) == (0, 100, 900), "the lease counts from the repeated call"


async def age_more(api: Any, instance: str, seconds: float) -> None:
    async with api.state.database.transaction(EVERYTHING) as session:
        await session.execute(
            text(
                "UPDATE quota_sessions SET seen_at = seen_at - make_interval(secs => :seconds) WHERE instance = :name"
            ),
            {"seconds": seconds, "name": instance},
        )


async def test_a_gateway_whose_clock_is_wrong_gets_nothing_of_another_period(api: Any) -> None:
    await api.tenant("acme")
    gateway = Gateway(api)
    answer = await gateway.call(ask(TENANT, MONTH, "2031-01", 100, need=1))
    assert answer["grants"][0]["granted"] == 0
    assert "compare the gateway's clock" in answer["grants"][0]["problem"]


@pytest.mark.parametrize(
    "change",
    [
        {"asks": [{"level": "tenant:acme", "kind": "nonsense", "period": "", "limit": 1}]},
        {"asks": [{"level": "nobody:acme", "kind": MONTH, "period": "", "limit": 1}]},
        {"asks": [{"level": "tenant:acme", "kind": MONTH, "period": "", "limit": -1}]},
        {"asks": [{"level": "tenant:acme", "kind": "tokens_per_day", "period": "2020-99-99", "limit": 1}]},
        {"asks": [{"level": "tenant:acme", "kind": MONTH, "period": "2020-13", "limit": 1}]},
        {"asks": [{"level": "tenant:acme", "kind": MONTH, "period": "2020-\u0661\u0661", "limit": 1}]},
        {"asks": 7},
        {"asks": [{"level": "tenant:acme", "kind": MONTH, "period": "x", "limit": 1}] * 2001},
    ],
)
async def test_calls_that_make_no_sense_are_refused(api: Any, change: dict[str, Any]) -> None:
    gateway = Gateway(api)
    refused = await gateway.call(status=422, **change)
    assert refused["code"] == "LeaseCallInvalid"


async def test_only_gateways_borrow(api: Any) -> None:
    await api.tenant("acme")
    body = {"instance": "x", "session": "y", "number": 1, "started_at": 1.0}
    await api("POST", "/internal/v1/leases", body, by="acme", status=403)


async def test_a_tenant_sees_its_own_accounts_alone(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    gateway = Gateway(api)
    for level in ("platform", TENANT, "tenant:globex", "user:globex:ab", "project:globex/web"):
        await gateway.tokens(1, level=level)
    seen = (await api("GET", "/v1/quotas", by="acme", status=200))["items"]
    assert [item["level"] for item in seen] == [TENANT]
    await api("GET", "/v1/quotas?tenant=globex", by="acme", status=403)
    page = await api("GET", "/v1/quotas?limit=3", status=200)
    rest = await api("GET", "/v1/quotas", status=200, params={"after": page["next"], "limit": 3})
    levels = [item["level"] for item in (*page["items"], *rest["items"])]
    assert sorted(levels) == sorted(["platform", TENANT, "tenant:globex", "user:globex:ab", "project:globex/web"])


async def test_projects_are_the_tenant_s_own_and_reach_the_policy(api: Any) -> None:
    await api.tenant("acme")
    await api.tenant("globex")
    await api("PUT", "/v1/tenants/acme/projects/web", {"tokens_per_day": 9}, by="acme", status=200)
    await api("PUT", "/v1/tenants/acme/projects/web", {}, by="globex", status=403)
    await api("POST", "/v1/tenants/globex/keys", {"project": "web"}, by="globex", status=404)
    key = await api("POST", "/v1/tenants/acme/keys", {"project": "web"}, by="acme", status=201)
    await api("PUT", "/v1/tenants/acme/end-user-limits", {"tokens_per_day": 5}, by="acme", status=200)
    await api("PUT", "/v1/platform/limits", {"requests_per_minute": 7}, by="acme", status=403)
    await api("PUT", "/v1/platform/limits", {"requests_per_minute": 7}, status=200)
    objects = (await api("GET", "/internal/v1/policy", by="internal", status=200))["objects"]
    assert objects["project"]["acme/web"]["limits"]["tokens_per_day"] == 9
    assert objects["api_key"][key["id"]]["project"] == "web"
    assert objects["tenant"]["acme"]["end_user_limits"]["tokens_per_day"] == 5
    assert objects["platform_limits"]["platform"]["limits"]["requests_per_minute"] == 7
    assert (await api("GET", "/v1/platform/limits", status=200))["limits"]["requests_per_minute"] == 7
    (listed,) = (await api("GET", "/v1/tenants/acme/projects", by="acme", status=200))["items"]
    assert msgspec.convert(listed["limits"]["tokens_per_day"], int) == 9
    await api("DELETE", "/v1/tenants/acme/projects/web", by="acme", status=409)
    await api("PUT", "/v1/tenants/acme/projects/spare", {}, by="acme", status=200)
    await api("DELETE", "/v1/tenants/acme/projects/spare", by="acme", status=204)
    await api("DELETE", "/v1/tenants/acme/projects/spare", by="acme", status=404)
