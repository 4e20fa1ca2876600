"""What the generated OpenAPI document needs besides the routes: the shape of errors, and of a usage batch."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from paddock_core.active_users.documents import MOST_SKETCHES
from paddock_core.usage.record import UsageRecord
from pydantic import TypeAdapter

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem details; `code` is stable, `detail` says what to do.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


def complete(app: FastAPI) -> None:
    """Make `app.openapi()` answer the whole document; made once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    schemas["UsageRecord"] = TypeAdapter(UsageRecord).json_schema()
    schemas["UsageBatch"] = {
        "type": "object",
        "required": ["records"],
        "properties": {"records": {"type": "array", "items": {"$ref": "#/components/schemas/UsageRecord"}}},
    }
    schemas["SketchBatch"] = {
        "type": "object",
        "required": ["sketches"],
        "properties": {
            "sketches": {
                "type": "array",
                "maxItems": MOST_SKETCHES,
                "items": {
                    "type": "object",
                    "required": ["tenant", "product", "day", "sketch"],
                    "properties": {
                        "tenant": {"type": "string"},
                        "product": {"type": "string", "description": "`<namespace>/<name>` of the served deployment."},
                        "day": {"type": "string", "format": "date"},
                        "sketch": {"type": "string", "contentEncoding": "base64"},
                    },
                },
            }
        },
    }
    # Errors of validation have the shape of every other error, not the framework's own.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    return document
