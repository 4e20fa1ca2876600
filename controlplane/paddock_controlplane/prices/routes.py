"""The price book over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from paddock_core.usage.buckets import Buckets
from paddock_core.usage.money import MOST_PRICE
from paddock_core.usage.prices import Price
from pydantic import Field, StringConstraints

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, CatalogId, Id
from paddock_controlplane.paging import Limit, Page
from paddock_controlplane.prices import service
from paddock_controlplane.prices.service import PriceEntry

router = APIRouter(prefix="/v1/prices", tags=["prices"])

Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
DeploymentName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
]
_Nano = Annotated[int, Field(ge=0, le=MOST_PRICE)]


class TokenPrices(Body):
    """Nano-units (10^-9) of the currency for a million tokens of each bucket."""

    input_uncached: _Nano
    output_text: _Nano
    cache_read: _Nano | None = None
    """As input_uncached if it is left out."""
    cache_write: _Nano | None = None
    """As input_uncached if it is left out."""
    output_reasoning: _Nano | None = None
    """As output_text if it is left out."""

    def buckets(self) -> Buckets:
        """A price for each bucket."""
        read, write, reasoning = self.cache_read, self.cache_write, self.output_reasoning
        return Buckets(
            input_uncached=self.input_uncached,
            cache_read=self.input_uncached if read is None else read,
            cache_write=self.input_uncached if write is None else write,
            output_text=self.output_text,
            output_reasoning=self.output_text if reasoning is None else reasoning,
        )


class PriceBody(Body):
    """A price to set, for a model or for a deployment."""

    model: CatalogId | None = None
    deployment: DeploymentName | None = None
    tenant: Id | None = None
    """Only for requests of this tenant."""
    currency: Currency
    effective_from: Annotated[float, Field(ge=0, lt=1e11)] | None = None
    """Unix seconds; now if it is left out. Requests admitted from then on have this price."""
    prices: TokenPrices | None
    """Null ends the price that this scope has: then the next wider scope decides."""


@router.post("", status_code=201, operation_id="setPrice", response_model=PriceEntry)
async def set_price(call: Annotated[Call, Depends(callers("platform"))], body: PriceBody) -> Response:
    """Set a price from a moment on. What was admitted before keeps the price it had."""
    price = Price(
        currency=body.currency,
        effective_from=float(body.effective_from or 0.0),
        prices=body.prices.buckets() if body.prices else None,
        model=body.model or "",
        deployment=body.deployment or "",
        tenant=body.tenant or "",
    )
    now, actor = body.effective_from is None, call.principal.name
    return await call.once(lambda session: service.set_price(session, price=price, starts_now=now, actor=actor))


@router.get("", operation_id="listPrices", response_model=Page[PriceEntry])
async def list_prices(
    call: Annotated[Call, Depends(callers("platform", "tenant", "internal"))],
    tenant: Annotated[Id | None, Query()] = None,
    model: Annotated[CatalogId | None, Query()] = None,
    deployment: Annotated[DeploymentName | None, Query()] = None,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Limit = 100,
) -> Response:
    """Every entry that the caller may see, in the order in which they were set; `after` is a `seq`."""
    if tenant is not None and call.principal.kind == "tenant":
        call.own_tenant(tenant)
    found = await call.run(
        lambda session: service.list_prices(
            session, tenant=tenant, model=model, deployment=deployment, after=after, limit=limit
        )
    )
    shown = found[:limit]
    return call.answer(Page(items=shown, next=str(shown[-1].seq) if len(found) > limit else None))
