"""End users from requests at real gateways to the figures that a person reads."""

import asyncio
import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.postgres


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.1)


def counted(shell: Any) -> int:
    tenants = shell.read("license", "users")["tenants"]
    return int(tenants[0]["users"]) if tenants else 0


def rows(shell: Any) -> int:
    return int(shell.read("usage")["total"]["requests"])


async def test_two_gateways_one_killed_and_who_was_seen(stage: Any, paddock: Any, acme: Any) -> None:
    before = await asyncio.to_thread(rows, paddock)
    one = await stage.gateway("one", ACTIVE_USERS_SECONDS="0.2")
    two = await stage.gateway("two", ACTIVE_USERS_SECONDS="3600")
    await one.ask("ann", "bob", "cyd", "ann")
    await two.ask("cyd", "dan", "eve")
    await until(lambda: counted(paddock) == 3)  # the second has sent nothing yet
    await until(lambda: rows(paddock) == before + 7)  # but its rows are in the ledger

    await two.kill()
    assert await asyncio.to_thread(counted, paddock) == 3
    again = await stage.gateway("two", ACTIVE_USERS_SECONDS="0.2")
    await until(lambda: counted(paddock) == 5)  # ann bob cyd dan eve: cyd once
    await again.ask("ann", "eve")
    await again.stop()
    await one.stop()
    assert await asyncio.to_thread(counted, paddock) == 5
    assert await asyncio.to_thread(rows, paddock) == before + 9
    await asyncio.to_thread(told, paddock, acme)


def told(paddock: Any, acme: Any) -> None:
    """What the platform and the tenant are shown."""
    table = paddock("license", "users").out
    assert "acme-team/demo" in table
    assert "█" in table
    assert "THRESHOLD" in table
    found = paddock.read("license", "users")
    (tenant,) = found["tenants"]
    (entity,) = found["entities"]
    assert (tenant["entity"], [item["product"] for item in tenant["products"]]) == ("acme-inc", ["acme-team/demo"])
    assert sum(item["users"] for item in tenant["days"]) >= 5
    assert entity["low"] <= 5 <= entity["high"]
    assert [near["license"] for near in entity["thresholds"]] == ["paddock-demo"]
    lines = list(csv.DictReader(io.StringIO(paddock("license", "users", "-o", "csv").out)))
    assert {line["kind"] for line in lines} == {"tenant", "product", "day", "entity"}
    assert next(line for line in lines if line["kind"] == "tenant")["users"] == "5"
    own = acme.read("license", "users")
    assert [item["tenant"] for item in own["tenants"]] == ["acme"]
    assert "entities" not in own
    assert "acme-team/demo" in acme("license", "users", "--tenant", "acme").out
    report = paddock.read("license", "report", "--license", "paddock-demo", "--month", found["month"])
    assert [item["entity"] for item in report["active_users"]] == ["acme-inc"]
    assert "Active users" in paddock("license", "report", "--license", "paddock-demo", "--month", found["month"]).out
    assert "None" in paddock("license", "users", "--month", "2020-01").out
