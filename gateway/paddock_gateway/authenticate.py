"""Who calls: an API key looked up in the policy's copy, nowhere else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from paddock_core.keys import API_KEY, opens, parse_key
from paddock_core.policy.documents import ApiKey, Limits, Project, Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.quotas.levels import Level

from paddock_gateway.errors import AUTHENTICATION, RequestError, denied

_BEARER = b"bearer "
MOST_KNOWN = 10_000
"""Callers remembered at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A tenant's key that was proved."""

    key: ApiKey
    tenant: Tenant
    levels: tuple[Level, ...]
    """The limits that each of its requests counts against; an end user comes on top."""
    revision: int
    """Of the policy by which it was proved."""


def authenticate(*, authorization: bytes | None, view: PolicyView, now: float) -> Caller:
    """The caller behind an Authorization header. `now` is Unix seconds. Raises RequestError (401)."""
    if not authorization or not authorization[:7].lower() == _BEARER:
        raise _refusal("no API key was sent: send `Authorization: Bearer pk_...`")
    parsed = parse_key(authorization[7:].strip().decode("latin-1"))
    if parsed is None or parsed.prefix != API_KEY:
        raise _refusal("this is not an API key of this platform: check that it was copied whole")
    key = view.api_keys.get(parsed.id)
    if key is None or not opens(
        parsed.secret,
        digest=key.secret_sha256,
        previous=key.previous_sha256,
        previous_until=key.previous_until,
        now=now,
    ):
        raise revoked(parsed.id)
    if key.expires_at is not None and now >= key.expires_at:
        raise _refusal(f"API key {parsed.id} has expired: ask your tenant's admin for a new one")
    tenant = view.tenants.get(key.tenant)
    if tenant is None:
        raise _refusal(f"API key {parsed.id} belongs to a tenant that no longer exists")
    return Caller(key=key, tenant=tenant, levels=_levels(key, tenant, view), revision=view.revision)


class Callers:
    """Callers who were proved, by the SHA-256 of the header that proved them, so that the next request costs little.

    One counts for as long as the policy has the same revision and the same key. Keys that time ends are proved anew.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Caller] = {}

    def prove(self, *, authorization: bytes | None, view: PolicyView, now: float) -> Caller:
        """As `authenticate`. Raises RequestError (401)."""
        digest = hashlib.sha256(authorization or b"").digest()
        known = self._known.get(digest)
        if known is not None and known.revision == view.revision and view.api_keys.get(known.key.id) is known.key:
            return known
        caller = authenticate(authorization=authorization, view=view, now=now)
        if caller.key.expires_at is None and not caller.key.previous_sha256:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = caller
        return caller


def revoked(key: str) -> RequestError:
    """A 401 for a key that is not, or no longer, known."""
    return _refusal(f"API key {key} is unknown or was revoked: ask your tenant's admin for a new one")


def need_scope(caller: Caller, scope: str) -> None:
    """Raises RequestError (403) where the caller's key is confined to other things."""
    if caller.key.scopes and scope not in caller.key.scopes:
        raise denied(
            "ScopeMissing", f"this API key lacks the scope {scope}: use another key or ask your tenant's admin"
        )


def _levels(key: ApiKey, tenant: Tenant, view: PolicyView) -> tuple[Level, ...]:
    """The widest first: a refusal names the first level that refuses."""
    levels = [Level(id="platform", limits=item.limits) for item in view.platform_limits.values()]
    levels.append(Level(id=f"tenant:{tenant.id}", limits=tenant.limits))
    project = view.projects.get(f"{tenant.id}/{key.project}") if key.project else None
    if project is not None:
        levels.append(Level(id=f"project:{project.id}", limits=project.limits))
    levels.append(Level(id=f"key:{key.id}", limits=key.limits))
    return tuple(levels)


def limits_of(level: str, view: PolicyView) -> Limits | None:
    """The limits of a level by its id, an end user's included; None where the policy has no such level any more."""
    kind, _, name = level.partition(":")
    if kind == "platform":
        return next((item.limits for item in view.platform_limits.values()), None)
    if kind == "user":
        tenant = view.tenants.get(name.partition(":")[0])
        return None if tenant is None else tenant.end_user_limits
    levels: dict[str, Mapping[str, Tenant | Project | ApiKey]] = {
        "tenant": view.tenants,
        "project": view.projects,
        "key": view.api_keys,
    }
    found = levels[kind].get(name)
    return None if found is None else found.limits


def _refusal(message: str) -> RequestError:
    headers = ((b"www-authenticate", b"Bearer"),)
    return RequestError(status=401, code="invalid_api_key", message=message, type=AUTHENTICATION, headers=headers)
