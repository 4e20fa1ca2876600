"""`paddock cost`, `key rotate` and `tenant token` against a real control plane."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from paddock_cli.durations import seconds
from paddock_cli.errors import UsageError

START_MS = 1_767_225_600_000  # 2026-01-01
DAY = ("--since", "2026-01-01", "--until", "2026-01-02")
EARLY = ("--since", "2025-12-20", "--until", "2025-12-21")
EXAMPLE = Path(__file__).parents[2] / "examples" / "prices.yaml"


@pytest.fixture(scope="module")
def ran(paddock: Any, acme: Any) -> None:
    """A tenant of its own, whose deployment held four GPUs for half an hour and answered a million tokens."""
    token = (paddock.home / "internal_token").read_text(encoding="utf-8")
    headers = {"authorization": f"Bearer {token}"}
    paddock("tenant", "create", "costs", "--entity", "acme-inc")
    pod = {"tenant": "costs", "deployment": "cost-ns/chat", "gpus": 4, "cpu_millis": 2000}
    times = {"uid": "pod-of-costs", "started_ms": START_MS, "seen_ms": START_MS + 1_800_000}
    answer = httpx.post(
        f"{paddock.url}/internal/v1/pod-time", json={"pods": [pod | times]}, headers=headers, timeout=300
    )
    assert answer.status_code == 200, answer.text
    paddock("tenant", "namespace", "add", "costs", "cost-ns")
    at = START_MS / 1000 + 60
    record = {
        "usage_id": "019b76db-9260-7000-8000-0000000000c0",
        "tenant": "costs",
        "key_id": "key",
        "owner_tenant": "costs",
        "deployment": "cost-ns/chat",
        "model": "model-of-costs",
        "dialect": "openai",
        "operation": "chat",
        "stream": True,
        "status": "ok",
        "finish_reason": "stop",
        "t_admit": at,
        "t_first_token": None,
        "t_end": at + 1,
        "reserved_tokens": 1_000_000,
        "input_tokens": 900_000,
        "output_tokens_engine": 100_000,
        "output_tokens_sent": 100_000,
        "output_tokens": 100_000,
        "billed_from": "engine",
        "usage_source": "exact",
        "acceptance_id": "acc-x",
        "end_user_hash": None,
        "gateway_instance": "gw-of-costs",
        "journal_seq": 1,
    }
    early = {"deployment": "cost-ns/podless", "t_admit": 1_766_188_860.0, "t_end": 1_766_188_861.0}
    podless = {**record, **early, "usage_id": "019b390f-4260-7000-8000-0000000000c1"}
    answer = httpx.post(
        f"{paddock.url}/internal/v1/usage", json={"records": [record, podless]}, headers=headers, timeout=300
    )
    assert answer.status_code == 200, answer.text


def test_a_million_tokens_cost_what_their_gpus_did(paddock: Any, ran: None) -> None:
    found = paddock.read("cost", *DAY, "--gpu-hour", "2.50", "--cpu-hour", "0.1")
    (row,) = [row for row in found["rows"] if row["deployment"] == "cost-ns/chat"]
    assert (row["gpu_seconds"], row["cpu_seconds"], row["tenant"]) == (7200, 3600, "costs")
    assert (row["cost"], row["per_million_tokens"]) == ("5.10", "5.10")
    table = paddock("cost", *DAY, "--by", "deployment", PADDOCK_GPU_HOUR="2.5").out
    assert "GPU SECONDS" in table
    assert "7200" in table
    assert "5.00" in table


def test_without_a_price_of_hardware_nothing_costs_anything(paddock: Any, ran: None) -> None:
    outcome = paddock("cost", *DAY)
    assert "PADDOCK_GPU_HOUR" in outcome.err
    assert paddock.read("cost", *DAY)["total"]["cost"] is None


def test_own_cost_stands_beside_a_list(paddock: Any, ran: None) -> None:
    found = paddock.read("cost", "compare", "--prices", str(EXAMPLE), *DAY, "--gpu-hour", "0.65")
    first, second = [row for row in found["rows"] if row["deployment"] == "cost-ns/chat"]
    assert (first["own_cost"], first["listed_cost"], first["ratio"]) == ("1.30", "1.30", 1.0)
    assert (second["listed_cost"], second["ratio"]) == ("0.13", 10.0)
    table = paddock("cost", "compare", "--prices", str(EXAMPLE), *DAY, "--gpu-hour", "0.65")
    assert "some-closed-model" in table.out
    assert "tokenizer" in table.err


def test_a_deployment_without_pod_time_is_not_called_free(paddock: Any, ran: None) -> None:
    words = ("cost", "compare", "--prices", str(EXAMPLE), "--gpu-hour", "2.50", *EARLY)
    rows = [row for row in paddock.read(*words)["rows"] if row["deployment"] == "cost-ns/podless"]
    assert rows
    assert {(row["own_cost"], row["ratio"]) for row in rows} == {(None, None)}
    shown = paddock(*words)
    assert "unknown" in shown.out
    assert "No pod time is known in this period of cost-ns/podless" in shown.err


def test_what_cannot_be_compared_is_said(paddock: Any, acme: Any, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("models: []", encoding="utf-8")
    bad = ("cost", "compare", "--prices", str(tmp_path / "list"), "--gpu-hour", "1")
    assert "examples/prices.yaml" in paddock(*bad, code=2).err
    assert "--gpu-hour" in paddock("cost", "compare", "--prices", str(EXAMPLE), code=2).err
    assert "decimal" in paddock("cost", "--gpu-hour", "two", code=2).err
    assert "platform team" in acme("cost", code=3).err


def test_a_key_and_a_token_get_new_secrets(acme: Any) -> None:
    words = ("--scope", "chat", "--scope", "models:read")
    made = acme.read("key", "create", "--tenant", "acme", "--name", "to-rotate", *words)
    assert made["scopes"] == ["chat", "models:read"]
    rotated = acme.read("key", "rotate", made["id"], "--tenant", "acme", "--overlap", "24h")
    assert (rotated["id"], rotated["key"] != made["key"]) == (made["id"], True)
    outcome = acme("key", "rotate", made["id"], "--tenant", "acme", "--overlap", "90m")
    assert "works until" in outcome.err
    assert "chat, models:read" in acme("key", "list", "--tenant", "acme").out
    assert "no such scope" in acme("key", "create", "--tenant", "acme", "--scope", "all", code=1).err

    token = acme.read("tenant", "token", "create", "acme", "--name", "Ada", "--days", "3")
    ada = acme.as_tenant(token["admin_token"])
    again = ada.read("tenant", "token", "rotate", "acme", token["id"], "--overlap", "1h")
    ada.read("key", "list", "--tenant", "acme")
    acme("tenant", "token", "revoke", "acme", token["id"])
    ada("key", "list", "--tenant", "acme", code=3)
    acme.as_tenant(again["admin_token"])("key", "list", "--tenant", "acme", code=3)
    table = acme("tenant", "token", "list", "acme").out
    assert "Ada" in table
    assert "revoked" in table


def test_spans_of_time() -> None:
    assert [seconds(text) for text in ("0", "90", "90m", "24h", "7d")] == [0, 90, 5400, 86_400, 604_800]
    for text in ("", "h", "-1h", "1.5h", "1w", "٣h", "9999999999d"):
        with pytest.raises(UsageError):
            seconds(text)
