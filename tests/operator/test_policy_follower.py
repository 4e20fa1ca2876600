"""Following the policy over a real socket: changes, outages, restarts, reboots."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from paddock_core.policy.view import FIELDS
from paddock_operator.adapters.controlplane import HttpControlPlane, connect
from paddock_operator.adapters.policy import PolicyFollower
from paddock_operator.errors import ControlPlaneError, DownloadDeniedError

from tests.operator.clocks import Clock
from tests.waiting import until


@contextlib.asynccontextmanager
async def following(
    policy: Any, helpers: Any, folder: Path, *, boot: str = "boot-1", clock: Clock | None = None
) -> AsyncIterator[tuple[PolicyFollower, list[Any]]]:
    heard: list[Any] = []
    async with connect(url=policy.url, token=helpers.TOKEN.encode) as client:
        follower = PolicyFollower(
            client=client,
            clock=clock or Clock(),
            boot_id=boot,
            folder=folder,
            heard=lambda changes, _before, _after: heard.append(changes),
        )
        follower.load()
        task = asyncio.create_task(follower.run())
        try:
            yield follower, heard
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_changes_are_heard_at_once(policy: Any, helpers: Any, tmp_path: Path) -> None:
    async with following(policy, helpers, tmp_path) as (follower, heard):
        await until(lambda: heard)
        assert heard == [None], "a snapshot may change anything"
        assert follower.current().expired is False
        policy.put(*helpers.accepted("acme-inc"))
        await until(lambda: "acc-acme-inc-paddock-demo" in follower.current().view.acceptances)
        assert {change.kind for changes in heard[1:] for change in changes} == {"acceptance", "statement"}


async def test_kept_copy_serves_until_its_age_and_never_across_a_reboot(
    policy: Any, helpers: Any, tmp_path: Path
) -> None:
    clock = Clock()
    async with following(policy, helpers, tmp_path, clock=clock) as (_, heard):
        await until(lambda: heard)
    policy.down = True
    clock.boot += 100
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, _):
        assert follower.current().expired is False
        assert "acme" in follower.current().view.tenants
        clock.boot += policy.max_age_seconds
        assert follower.current().expired is True
    async with following(policy, helpers, tmp_path, boot="boot-2", clock=Clock()) as (follower, _):
        assert follower.current().expired is True
    (tmp_path / "policy.json").write_bytes(b"{broken")
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, _):
        assert follower.current().expired is True


async def test_everything_but_keys_survives_on_disk(policy: Any, helpers: Any, tmp_path: Path) -> None:
    policy._append("license_policy", "platform", {"id": "platform", "threshold": "conservative"})
    policy._append("model", "acme/tuned", {"id": "acme/tuned", "base": "smollm2-135m-instruct"})
    clock = Clock()
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, heard):
        await until(lambda: heard)
        known = follower.current().view
    policy.down = True
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, _):
        kept = follower.current().view
    assert kept.facts().policy.threshold == "conservative"
    for name in FIELDS.values():
        if name != "api_keys":
            assert getattr(kept, name) == getattr(known, name), name


async def test_an_answer_counts_from_the_moment_of_asking(policy: Any, helpers: Any, tmp_path: Path) -> None:
    clock = Clock()
    policy.max_age_seconds = 600.0
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, heard):
        await until(lambda: heard)
        await until(lambda: policy.waiting)
        clock.boot += 500  # the machine sleeps while the question is under way
        policy.put(*helpers.accepted("acme-inc"))
        await until(lambda: len(heard) >= 2)
        assert follower.age_seconds() == 500
        await until(lambda: policy.waiting)
        clock.boot += 700
        policy.put(*helpers.registered()[:1])
        await until(lambda: len(heard) >= 3)
        assert follower.current().expired is True
        assert heard[-1] is None, "a copy that is too old concerns everybody"
        policy.put(*helpers.registered()[:1])
        await until(lambda: not follower.current().expired)
        await until(lambda: len(heard) >= 4)
        assert heard[-1] is None


async def test_expiry_and_return_are_heard(policy: Any, helpers: Any, tmp_path: Path) -> None:
    clock = Clock()
    policy.max_age_seconds = 1.5
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, heard):
        await until(lambda: heard)
        policy.down = True
        for _ in range(100):
            # The poll that is under way may still be answered, and renews the copy once more.
            clock.boot += 2
            await asyncio.sleep(0.1)
            if len(heard) >= 2:
                break
        assert heard == [None, None]
        assert follower.current().expired is True
        policy.down = False
        await until(lambda: not follower.current().expired)
        await until(lambda: heard[-1] is None and len(heard) >= 3)


async def test_keys_of_tenants_are_not_kept_on_disk(policy: Any, helpers: Any, tmp_path: Path) -> None:
    policy._append("api_key", "k1", {"id": "k1", "tenant": "acme", "secret_sha256": "secret-digest"})
    async with following(policy, helpers, tmp_path) as (follower, heard):
        await until(lambda: heard)
        assert "k1" in follower.current().view.api_keys
    assert b"secret-digest" not in (tmp_path / "policy.json").read_bytes()
    assert (tmp_path / "policy.json").stat().st_mode & 0o777 == 0o600


async def test_download_tokens(policy: Any, helpers: Any) -> None:
    async with connect(url=policy.url, token=helpers.TOKEN.encode) as client:
        assert await HttpControlPlane(client).download_token(model="m", entity="e") == "token-for-m"
        policy.denies_downloads = True
        with pytest.raises(DownloadDeniedError, match="OperatorNotLicensed: accept as operator first"):
            await HttpControlPlane(client).download_token(model="m", entity="e")
        policy.down = True
        with pytest.raises(ControlPlaneError, match="503"):
            await HttpControlPlane(client).download_token(model="m", entity="e")
    async with connect(url="http://127.0.0.1:9", token=lambda: b"t") as client:
        with pytest.raises(ControlPlaneError, match="does not answer"):
            await HttpControlPlane(client).download_token(model="m", entity="e")


async def test_time_is_the_control_planes(policy: Any, helpers: Any, tmp_path: Path) -> None:
    clock = Clock()
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, heard):
        assert follower.current().at == 0.0
        await until(lambda: heard)
        assert abs(follower.current().at - time.time()) < 60
    policy.down = True
    clock.boot += 100
    async with following(policy, helpers, tmp_path, clock=clock) as (follower, _):
        assert abs(follower.current().at - time.time() - 100) < 60, "it goes on by the steady clock, also from the disk"
