"""Who was proved once is known for as long as nothing about it changes, and not a moment longer."""

from dataclasses import replace

import pytest
from paddock_core.keys import format_key, secret_digest
from paddock_core.policy.documents import ApiKey, Limits, PlatformLimits, Tenant
from paddock_core.policy.view import PolicyView
from paddock_gateway.authenticate import MOST_KNOWN, Callers
from paddock_gateway.errors import RequestError

ID, SECRET = "benchbenchab", bytes(range(32))
HEADER = f"Bearer {format_key('pk', ID, SECRET)}".encode()
KEY = ApiKey(id=ID, tenant="acme", secret_sha256=secret_digest(SECRET.hex()))
VIEW = PolicyView(revision=1, tenants={"acme": Tenant(id="acme", entity="acme-inc")}, api_keys={ID: KEY})


def proved(callers: Callers, view: PolicyView, *, now: float = 0.0) -> object:
    return callers.prove(authorization=HEADER, view=view, now=now)


def test_the_same_policy_gives_the_same_caller() -> None:
    callers = Callers()
    assert proved(callers, VIEW) is proved(callers, VIEW)


def test_a_key_that_is_gone_proves_nobody() -> None:
    callers = Callers()
    proved(callers, VIEW)
    for later in (replace(VIEW, revision=2, api_keys={}), replace(VIEW, api_keys={})):
        with pytest.raises(RequestError, match="unknown or was revoked"):
            proved(callers, later)


def test_another_secret_is_not_the_one_that_was_proved() -> None:
    callers = Callers()
    proved(callers, VIEW)
    header = f"Bearer {format_key('pk', ID, bytes(32))}".encode()
    with pytest.raises(RequestError, match="unknown or was revoked"):
        callers.prove(authorization=header, view=VIEW, now=0.0)


def test_a_rotated_key_is_read_anew() -> None:
    callers = Callers()
    proved(callers, VIEW)
    other = replace(KEY, secret_sha256="0" * 64)
    with pytest.raises(RequestError):
        proved(callers, replace(VIEW, revision=2, api_keys={ID: other}))


def test_time_ends_a_key_whether_or_not_it_was_proved_before() -> None:
    callers = Callers()
    view = replace(VIEW, api_keys={ID: replace(KEY, expires_at=100.0)})
    proved(callers, view, now=99.0)
    with pytest.raises(RequestError, match="expired"):
        proved(callers, view, now=100.0)
    view = replace(
        VIEW,
        api_keys={ID: replace(KEY, secret_sha256="0" * 64, previous_sha256=KEY.secret_sha256, previous_until=100.0)},
    )
    proved(callers, view, now=99.0)
    with pytest.raises(RequestError, match="unknown or was revoked"):
        proved(callers, view, now=100.0)


def test_limits_of_any_level_are_those_of_the_policy_now() -> None:
    callers = Callers()
    proved(callers, VIEW)
    limits = PlatformLimits(limits=Limits(requests_per_minute=7))
    caller = callers.prove(
        authorization=HEADER, view=replace(VIEW, revision=2, platform_limits={"platform": limits}), now=0.0
    )
    assert caller.levels[0].limits.requests_per_minute == 7


def test_what_is_remembered_is_bounded() -> None:
    callers = Callers()
    for number in range(MOST_KNOWN + 5):
        callers.prove(authorization=HEADER + b" " * number, view=VIEW, now=0.0)
    assert len(callers._known) <= MOST_KNOWN
