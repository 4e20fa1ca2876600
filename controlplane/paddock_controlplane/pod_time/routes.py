"""Time that pods held, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from paddock_core.usage.pod_time import Sighting
from pydantic import Field, StringConstraints, model_validator

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, Id
from paddock_controlplane.pod_time import service

router = APIRouter(prefix="/v1", tags=["usage"])
internal = APIRouter(prefix="/internal/v1/pod-time", tags=["internal"])

Platform = Annotated[Call, Depends(callers("platform"))]
PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]
Moment = Annotated[float, Query(ge=0, lt=1e11)]
Groups = Annotated[list[service.Group], Query(max_length=3)]
Milliseconds = Annotated[int, Field(ge=0, lt=10**14)]


class SightingBody(Body):
    """A pod of a deployment that was seen. Times are Unix milliseconds."""

    uid: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z-]{1,64}$")]
    tenant: Id
    deployment: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{1,63}/[a-z0-9.-]{1,253}$")]
    gpus: Annotated[int, Field(ge=0, le=10_000)] = 0
    cpu_millis: Annotated[int, Field(ge=0, le=10**8)] = 0
    started_ms: Milliseconds
    seen_ms: Milliseconds

    @model_validator(mode="after")
    def _forward(self) -> "SightingBody":
        if self.seen_ms < self.started_ms:
            raise ValueError("a pod is not seen before it starts")
        return self


class SightingsBody(Body):
    """Sightings, in any order and however often."""

    pods: Annotated[tuple[SightingBody, ...], Field(max_length=1000)]


@internal.post("", operation_id="takePodTime", response_model=service.Taken)
async def take(call: Annotated[Call, Depends(callers("internal"))], body: SightingsBody) -> Response:
    """Take in which pods were seen, and when."""
    sightings = [Sighting(**item.model_dump()) for item in body.pods]
    return call.answer(await call.run(lambda session: service.take(session, sightings)))


@router.get("/gpu-time", operation_id="readGpuTime", response_model=service.PodTime)
async def read_gpu_time(
    call: PlatformOrTenant,
    start: Annotated[Moment, Query(alias="from")],
    end: Annotated[Moment, Query(alias="to")],
    by: Groups = ["tenant", "deployment", "day"],  # noqa: B006 - read only
    tenant: Annotated[Id | None, Query()] = None,
) -> Response:
    """GPU-seconds, CPU-seconds and pod-seconds of deployments over a period (Unix seconds), at most 92 days."""
    if tenant is not None:
        call.own_tenant(tenant)
    period = service.Period(start=start, end=end, by=tuple(dict.fromkeys(by)), tenant=tenant)
    return call.answer(await call.run(lambda session: service.held(session, period)))


@router.get("/costs", operation_id="readCosts", response_model=service.PodTimeAndTokens)
async def read_costs(
    call: Platform,
    start: Annotated[Moment, Query(alias="from")],
    end: Annotated[Moment, Query(alias="to")],
    by: Groups = ["tenant", "deployment", "day"],  # noqa: B006 - read only
) -> Response:
    """The same with the tokens that the deployments answered, whoever asked: what cost for a million is made of."""
    period = service.Period(start=start, end=end, by=tuple(dict.fromkeys(by)))
    return call.answer(await call.run(lambda session: service.held_with_tokens(session, period)))
