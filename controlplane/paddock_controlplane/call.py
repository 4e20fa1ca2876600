"""What a route is given: the caller, the process's parts, and a transaction that acts for the caller.

`callers(...)` names the kinds of principal that a route admits; everybody else is refused before the route runs.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response
from paddock_core.catalog.loader import Catalog
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.active_users.warnings import NearThresholds
from paddock_controlplane.db import Database
from paddock_controlplane.decision_tokens import DecisionTokens
from paddock_controlplane.idempotency import service as idempotency
from paddock_controlplane.idempotency.service import Answer, Sealer
from paddock_controlplane.policy.feed import PolicyFeed
from paddock_controlplane.policy.service import CurrentView
from paddock_controlplane.prices.book import Prices
from paddock_controlplane.principals import Authenticator, Kind, Principal
from paddock_controlplane.problems import Forbidden, Invalid
from paddock_controlplane.quotas.store import LeaseStore
from paddock_controlplane.quotas.watch import QuotaWatch
from paddock_controlplane.settings import Settings
from paddock_controlplane.usage.partitions import Partitions
from paddock_controlplane.usage.sink import EventSink
from paddock_controlplane.usage.watch import LedgerWatch

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

_KIND_NAMES: dict[Kind, str] = {
    "platform": "the platform team",
    "internal": "gateways and the operator",
    "tenant": "a tenant's admin",
    "signatory": "the signatory of an offer",
    "reviewer": "a reviewer of grants",
    "decision": "the holder of a decision token",
    "purge": "the holder of a purge's token",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The parts of the running process that routes use."""

    settings: Settings
    database: Database
    catalog: Catalog
    view: CurrentView
    feed: PolicyFeed
    authenticator: Authenticator
    decisions: DecisionTokens
    sealer: Sealer
    partitions: Partitions
    prices: Prices
    ledger: LedgerWatch
    quotas: QuotaWatch
    leases: LeaseStore
    near_thresholds: NearThresholds
    sink: EventSink | None
    """None where events are only read."""
    audit_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of one authenticated caller."""

    request: Request
    principal: Principal
    state: State

    async def run(self, work: Work[T]) -> T:
        """Do a unit of work for the caller."""
        return await self.state.database.run(self.principal.scope(), work)

    async def once(self, work: Work[object], *, status: int = 201) -> Response:
        """Do a unit of work and answer its result; a repetition with the same Idempotency-Key gets the same answer."""
        key = self.request.headers.get("idempotency-key")
        if key is None:
            return self.answer(await self.run(work), status=status)
        if not 0 < len(key) <= idempotency.LONGEST_KEY:
            raise Invalid(f"an Idempotency-Key has 1 to {idempotency.LONGEST_KEY} characters")
        request = idempotency.request_digest(
            method=self.request.method, path=self.request.url.path, body=await self.request.body()
        )
        sealer, principal = self.state.sealer, self.principal.name

        async def claimed(session: AsyncSession) -> Answer:
            known = await idempotency.claim(session, sealer=sealer, principal=principal, key=key, request=request)
            if known is not None:
                return known
            answer = Answer(status=status, content=_encode(await work(session)))
            await idempotency.keep(session, sealer=sealer, principal=principal, key=key, answer=answer)
            return answer

        answer = await self.run(claimed)
        return Response(answer.content, status_code=answer.status, media_type="application/json")

    def answer(self, document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON answer."""
        return Response(_encode(document), status_code=status, media_type="application/json", headers=headers)

    def own_tenant(self, tenant: str) -> str:
        """The tenant named in the path, if the caller may act for it.

        Raises:
            Forbidden: the caller is another tenant's admin.
        """
        if self.principal.kind == "tenant" and self.principal.tenant != tenant:
            raise NotYours(f"this token belongs to tenant {self.principal.tenant}, not to {tenant}")
        return tenant

    def own_entity(self, entity: str) -> str:
        """The entity that a request names, if the caller may act for it.

        Raises:
            Forbidden: the caller is the admin of a tenant of another entity.
        """
        if self.principal.kind == "tenant" and self.principal.entity != entity:
            raise NotYours(f"this token belongs to entity {self.principal.entity}, not to {entity}")
        return entity


class NotYours(Forbidden):
    code, title = "NotYours", "This belongs to somebody else"


def callers(*kinds: Kind) -> Callable[[Request], Awaitable[Call]]:
    """A dependency that authenticates the caller and admits only these kinds."""

    async def call(request: Request) -> Call:
        state: State = request.app.state.parts
        principal = await state.authenticator.principal(request.headers.get("authorization"))
        if principal.kind not in kinds:
            raise Forbidden(f"only {' or '.join(_KIND_NAMES[kind] for kind in kinds)} may do this")
        return Call(request=request, principal=principal, state=state)

    return call


def _encode(document: Any) -> bytes:
    return msgspec.json.encode(document)
