"""Kinds of other projects, as far as they are rendered: closed schemas, so that a field too many or too few is refused.

Written from what these projects document of their APIs, for the API server of the tests.
"""

from typing import Any

from paddock_operator.kinds import INFERENCE_POOL, LOCAL_QUEUES, POD_GROUP, POD_MONITOR, Kind

_NAME = {"type": "string", "minLength": 1, "maxLength": 253}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_SELECTOR = {
    "type": "object",
    "required": ["matchLabels"],
    "properties": {"matchLabels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}}},
}
_NUMBERED = {"type": "object", "required": ["number"], "properties": {"number": _PORT}}
_PICKER = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "group": {"type": "string", "default": "", "maxLength": 253},
        "kind": {"type": "string", "default": "Service"},
        "name": _NAME,
        "port": _NUMBERED,
        "failureMode": {"type": "string", "enum": ["FailOpen", "FailClose"], "default": "FailClose"},
    },
    "x-kubernetes-validations": [
        {"rule": "self.kind != 'Service' || has(self.port)", "message": "a Service that picks needs a port"}
    ],
}
_ENDPOINT = {"type": "object", "properties": {"port": _NAME, "path": {"type": "string"}}}

SCHEMAS: dict[Kind, dict[str, Any]] = {
    INFERENCE_POOL: {
        "type": "object",
        "required": ["selector", "targetPorts", "endpointPickerRef"],
        "properties": {
            "selector": _SELECTOR,
            "targetPorts": {"type": "array", "minItems": 1, "maxItems": 8, "items": _NUMBERED},
            "endpointPickerRef": _PICKER,
        },
    },
    POD_MONITOR: {
        "type": "object",
        "required": ["selector"],
        "properties": {
            "selector": _SELECTOR,
            "podTargetLabels": {"type": "array", "items": {"type": "string"}},
            "podMetricsEndpoints": {"type": "array", "items": _ENDPOINT},
        },
    },
    POD_GROUP: {
        "type": "object",
        "properties": {
            "minMember": {"type": "integer", "format": "int32"},
            "queue": {"type": "string"},
            "priorityClassName": {"type": "string"},
        },
    },
}


QUEUE: dict[str, Any] = {
    "type": "object",
    "required": ["clusterQueue"],
    "properties": {"clusterQueue": _NAME, "stopPolicy": {"type": "string", "enum": ["None", "Hold", "HoldAndDrain"]}},
}
"""Of Kueue's LocalQueue, which belongs to a namespace and to no deployment."""


def queue_definition() -> dict[str, Any]:
    """Kueue's LocalQueue, in the oldest version that is known."""
    return _definition(LOCAL_QUEUES[0], QUEUE)


def definitions() -> list[dict[str, Any]]:
    """Their custom resource definitions."""
    return [_definition(kind, schema) for kind, schema in SCHEMAS.items()]


def _definition(kind: Kind, schema: dict[str, Any]) -> dict[str, Any]:
    whole = {"type": "object", "required": ["spec"], "properties": {"spec": schema}}
    version = {"name": kind.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": whole}}
    # The API server guards this suffix: it asks who approved the kind.
    approved = {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"}
    names = {"plural": kind.plural, "singular": kind.name.lower(), "kind": kind.name, "listKind": f"{kind.name}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}", "annotations": approved},
        "spec": {"group": kind.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
