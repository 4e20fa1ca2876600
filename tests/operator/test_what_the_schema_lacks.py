"""An operator that is newer than the cluster's schema says which fields are lost, where every status goes through."""

import logging
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from paddock_local.paths import find_checkout
from paddock_operator.decide.desired import decide
from paddock_operator.pruned import lost
from paddock_operator.report import Reporter

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import DEMO

CRD = yaml.safe_load((find_checkout() / "crds/llamadeployments.yaml").read_text(encoding="utf-8"))
STATUS = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]


def pruned(value: Any, schema: dict[str, Any]) -> Any:
    """What the API server stores of it."""
    if isinstance(value, list | tuple):
        return [pruned(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or "additionalProperties" in schema:
        return value
    known = schema.get("properties", {})
    return {name: pruned(item, known[name]) for name, item in value.items() if name in known and item is not None}


class OldCluster:
    """An API server whose schema lacks what was taken out of it; of its writes only those of a status are kept."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema

    async def replace(self, manifest: dict[str, Any], *, subresource: str) -> dict[str, Any]:
        assert subresource == "status"
        return {**manifest, "status": pruned(manifest["status"], self.schema)}

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        return manifest


def older() -> dict[str, Any]:
    """A schema from before routing, and before revisions had a time."""
    schema: dict[str, Any] = deepcopy(STATUS)
    del schema["properties"]["routing"]
    del schema["properties"]["revisions"]["items"]["properties"]["createdAt"]
    return schema


def world_of(worlds: Any) -> Any:
    world = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=DEMO)
    world.rounds()
    return world


def test_the_schema_that_ships_loses_nothing_and_an_older_one_what_it_lacks(worlds: Any) -> None:
    sent = world_of(worlds).status
    assert not list(lost(sent=sent, stored=pruned(sent, STATUS), path="status"))
    found = set(lost(sent=sent, stored=pruned(sent, older()), path="status"))
    assert found == {"status.routing", "status.revisions[].createdAt"}


async def test_what_is_lost_is_said_once_with_what_to_do(worlds: Any, caplog: pytest.LogCaptureFixture) -> None:
    world = world_of(worlds)
    world.status = {}
    observed = world.observed()
    known = SimpleNamespace(revision_after=lambda *_, **__: "5", wrote=lambda _: None)
    reporter = Reporter(cluster=OldCluster(older()), documents=known, gateway_url="http://gateway.test")  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert await reporter.report(observed, decide(observed, world.config))
    (record,) = caplog.records
    assert vars(record)["fields"] == ["status.revisions[].createdAt", "status.routing"]
    assert "kubectl apply --server-side -f crds/" in record.getMessage()
