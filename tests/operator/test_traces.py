"""A round's calls to the control plane carry the round's trace."""

import httpx
from opentelemetry.sdk.trace import TracerProvider
from paddock_operator.adapters.controlplane import connect


async def test_calls_carry_the_traceparent() -> None:
    seen: list[str | None] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("traceparent"))
        return httpx.Response(204)

    tracer = TracerProvider().get_tracer("test")
    async with connect(url="http://controlplane.test", token=lambda: b"token") as client:
        client._transport = httpx.MockTransport(answer)
        with tracer.start_as_current_span("reconcile") as span:
            await client.get("/internal/v1/policy")
        await client.get("/internal/v1/policy")
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert seen[0] is not None
    assert seen[0].split("-")[1] == trace_id
    assert seen[1] is None
