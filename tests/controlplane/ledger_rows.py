"""Rows to enter in the ledger, and how tests enter them."""

import json
import time
import uuid
from typing import Any

from paddock_core.usage.buckets import NAMES, Buckets
from paddock_core.usage.prices import Price

USAGE = "/internal/v1/usage"


def uuid7(at: float, tail: int) -> str:
    """A UUIDv7 of a moment."""
    return str(uuid.UUID(int=(int(at * 1000) << 80) | (7 << 76) | (2 << 62) | tail))


def record(n: int, *, at: float | None = None, **other: Any) -> dict[str, Any]:
    """The record of a request; its id says `at` and `n`."""
    moment = time.time() if at is None else at
    values = {
        "usage_id": uuid7(moment, n),
        "tenant": "acme",
        "key_id": "key",
        "owner_tenant": "globex",
        "deployment": "ns/chat",
        "model": "m",
        "dialect": "openai",
        "operation": "chat",
        "stream": True,
        "status": "ok",
        "finish_reason": "stop",
        "t_admit": moment,
        "t_first_token": moment + 0.25,
        "t_end": moment + 1,
        "reserved_tokens": 100,
        "input_tokens": 10 + n,
        "output_tokens_engine": 5,
        "output_tokens_sent": 5,
        "output_tokens": 5,
        "billed_from": "engine",
        "usage_source": "exact",
        "acceptance_id": "acc-x",
        "end_user_hash": None,
        "gateway_instance": "gw-1",
        "journal_seq": n,
    }
    return {**values, **other}


async def enter(api: Any, records: list[dict[str, Any]]) -> tuple[int, int]:
    """Enter a batch as a gateway does; accepted, duplicates."""
    answer = await api("POST", USAGE, {"records": records}, by="internal", status=200)
    return answer["accepted"], answer["duplicates"]


async def total(api: Any, query: str = "") -> dict[str, Any]:
    """The sums of everything."""
    found: dict[str, Any] = (await api("GET", f"/v1/usage{query}", status=200))["total"]
    return found


async def price(api: Any, per_token: int | None, **scope: Any) -> dict[str, Any]:
    """Set a price in nano-dollars a token, from now on unless `effective_from` says otherwise."""
    prices = None if per_token is None else {"input_uncached": per_token * 10**6, "output_text": per_token * 10**6}
    body = {"currency": "USD", "prices": prices, **({} if "deployment" in scope else {"model": "m"}), **scope}
    made: dict[str, Any] = await api("POST", "/v1/prices", body, status=201)
    return made


async def drift(api: Any, *, start: float, end: float) -> dict[str, Any]:
    """How far the sums by hour are from the rows."""
    found: dict[str, Any] = await api("GET", f"/v1/usage/drift?from={start}&to={end}", status=200)
    return found


async def old_price(connection: Any, at: float, *, per_million: int, **scope: str) -> str:
    """A price that was set long ago, entered as the database's owner; answers its id."""
    prices = Buckets(**dict.fromkeys(NAMES, per_million))
    named = scope if "deployment" in scope else {"model": "m", **scope}
    entry = Price(currency="USD", effective_from=at, prices=prices, **named)
    await connection.execute(
        "INSERT INTO prices (id, tenant, deployment, model, currency, effective_from, prices, set_by)"
        " VALUES ($1, $2, $3, $4, 'USD', $5, $6, 'test')",
        entry.id,
        entry.tenant,
        entry.deployment,
        entry.model,
        at,
        json.dumps(dict.fromkeys(NAMES, per_million)),
    )
    return entry.id
