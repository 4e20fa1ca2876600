"""Spans and metrics of requests."""

from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from paddock_controlplane.app import create_app
from paddock_controlplane.telemetry import build

pytestmark = pytest.mark.postgres

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_a_request_is_one_span_of_the_callers_trace(api: Any) -> None:
    telemetry, exporter = build(), InMemorySpanExporter()
    telemetry.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(api.state.settings, telemetry=telemetry)
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        await client.get("/v1/tenants/acme")
        app.state.parts.database.transaction = None
        await client.get("/readyz")
        shown = (await client.get("/metrics")).text
    await app.state.parts.database.engine.dispose()
    refused, failed, _ = exporter.get_finished_spans()
    telemetry.close()
    assert (refused.name, failed.name) == ("GET /v1/tenants/{tenant}", "GET /readyz")
    assert f"{refused.context.trace_id:032x}" == TRACE
    assert refused.attributes["http.response.status_code"] == 401
    assert (refused.status.status_code, failed.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert 'http_server_request_duration_seconds_count{http_request_method="GET"' in shown
