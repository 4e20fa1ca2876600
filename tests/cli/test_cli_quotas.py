"""`paddock quota` for every level, and where limits stand."""

import time
from typing import Any

import httpx
import pytest
from paddock_cli.nouns.quota import bar

pytestmark = pytest.mark.postgres


def test_limits_of_each_level_are_set_shown_and_lifted(paddock: Any, acme: Any) -> None:
    levels = (("--platform",), ("--tenant", "acme", "--project", "web"), ("--tenant", "acme", "--end-users"))
    for words in levels:
        paddock("quota", "set", *words, "--tokens-per-day", "1000", "--max-context-tokens", "4096")
        paddock("quota", "set", *words, "--tokens-per-month", "20000", "--unset", "tokens-per-day")
        shown = paddock.read("quota", "show", *words)
        assert (shown["tokens_per_day"], shown["tokens_per_month"], shown["max_context_tokens"]) == (None, 20000, 4096)
        paddock("quota", "set", *words, "--unset", "tokens-per-month", "--unset", "max-context-tokens")
    paddock("quota", "set", "--platform", "--money-per-month", "12.5")
    assert paddock.read("quota", "show", "--platform")["money_per_month_nano"] == 12_500_000_000
    paddock("quota", "set", "--platform", "--unset", "money-per-month-nano")
    assert "acme/web" in acme("quota", "projects", "--tenant", "acme").out
    key = acme.read("key", "create", "--tenant", "acme", "--project", "web", "--tokens-per-day", "7")
    assert (key["project"], key["limits"]["tokens_per_day"]) == ("web", 7)


def test_a_tenant_has_a_gpu_quota_that_only_the_platform_sets(paddock: Any, acme: Any) -> None:
    assert paddock.read("quota", "show", "--tenant", "acme")["gpus"] is None
    both = paddock.read("quota", "set", "--tenant", "acme", "--gpus", "16", "--requests-per-minute", "9")
    assert (both["gpus"], both["requests_per_minute"]) == (16, 9)
    assert paddock.read("quota", "set", "--tenant", "acme", "--gpus", "0")["gpus"] == 0
    shown = acme.read("quota", "show", "--tenant", "acme")
    assert (shown["gpus"], shown["requests_per_minute"]) == (0, 9)
    assert acme("quota", "set", "--tenant", "acme", "--gpus", "99", code=None).code != 0
    assert "gpus" in acme("tenant", "show", "acme").out
    lifted = paddock.read("quota", "set", "--tenant", "acme", "--unset", "gpus", "--unset", "requests-per-minute")
    assert (lifted["gpus"], lifted["requests_per_minute"]) == (None, None)


def test_limits_of_an_issued_key_change(acme: Any) -> None:
    words = ("--tenant", "acme", "--tokens-per-day", "7", "--money-per-month", "12.5")
    key = acme.read("key", "create", *words)
    assert key["limits"]["money_per_month_nano"] == 12_500_000_000
    changes = ("--requests-per-minute", "3", "--unset", "money-per-month")
    changed = acme.read("key", "set-limits", key["id"], "--tenant", "acme", *changes)
    assert [changed[name] for name in ("tokens_per_day", "requests_per_minute", "money_per_month_nano")] == [7, 3, None]
    assert "nothing to set" in acme("key", "set-limits", key["id"], "--tenant", "acme", code=2).err
    unknown = acme("key", "set-limits", "a" * 12, "--tenant", "acme", "--tokens-per-day", "1", code=None)
    assert unknown.code != 0
    assert "has no key" in unknown.err


def test_groups_of_end_users_are_set(acme: Any) -> None:
    words = ("tenant", "end-user-groups", "acme")
    assert acme.read(*words, "--group", "paid", "--group", "free")["groups"] == ["free", "paid"]
    assert acme.read(*words)["groups"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("quota", "set", "--tokens-per-day", "1"), "whose limits?"),
        (("quota", "set", "--platform", "--tenant", "acme", "--tokens-per-day", "1"), "stands alone"),
        (("quota", "set", "--tenant", "acme", "--project", "a", "--end-users"), "no end users of its own"),
        (("quota", "set", "--tenant", "acme"), "nothing to set"),
        (("quota", "set", "--tenant", "acme", "--project", "a", "--gpus", "1"), "only a tenant as a whole"),
        (("quota", "set", "--platform", "--unset", "gpus"), "only a tenant as a whole"),
        (("quota", "set", "--tenant", "acme", "--gpus", "1", "--unset", "gpus"), "give one of them"),
        (("quota", "set", "--tenant", "acme", "--money-per-month", "much"), "is no amount"),
    ],
)
def test_what_makes_no_sense_is_said(paddock: Any, acme: Any, words: tuple[str, ...], says: str) -> None:
    assert says in paddock(*words, code=2).err


def test_a_project_that_is_not_there_is_named(paddock: Any, acme: Any) -> None:
    refused = paddock("quota", "show", "--tenant", "acme", "--project", "nowhere", code=None)
    assert refused.code != 0
    assert "no project nowhere" in refused.err


def test_standings_are_drawn(paddock: Any, acme: Any) -> None:
    token = (paddock.home / "internal_token").read_text().strip()
    ask = {"level": "tenant:acme", "kind": "requests_per_minute", "period": "", "limit": 4, "need": 2, "least": 2}
    call = {"instance": "g", "session": "s", "number": 1, "started_at": time.time(), "asks": [ask]}
    answer = httpx.post(
        f"{paddock.url}/internal/v1/leases", json=call, headers={"authorization": f"Bearer {token}"}, timeout=120
    )
    assert answer.status_code == 200, answer.text
    (item,) = [item for item in acme.read("quota", "status") if item["level"] == "tenant:acme"]
    assert (item["limit"], item["kind"]) == (4, "requests_per_minute")
    assert "requests per minute" in paddock("quota", "status", "--tenant", "acme").out


def test_a_bar_is_full_where_nothing_is_left() -> None:
    assert bar(used=0, limit=0) == bar(used=9, limit=3) == "█" * 20
    assert bar(used=1, limit=4) == "█" * 5 + "░" * 15
