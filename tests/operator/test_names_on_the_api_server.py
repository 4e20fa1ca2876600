"""The real API server refuses names that no Service can have, and lets go what was stored before it did."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

SCHEMA = Path(__file__).resolve().parents[2] / "crds" / "llamadeployments.yaml"
TRIED = ("--dry-run=server",)


def tried(api: Any, cluster_helpers: Any, name: str) -> Any:
    document = yaml.safe_dump(cluster_helpers.deployment(name=name))
    return api.kubectl("apply", "--server-side", *TRIED, "-f", "-", stdin=document)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "3-llamas", "a.b"])
def test_a_name_that_no_service_can_have_is_refused_with_a_better_one(
    api: Any, cluster_helpers: Any, name: str
) -> None:
    done = tried(api, cluster_helpers, name)
    assert done.returncode != 0
    assert "metadata.name must start with a lower-case letter" in done.stderr
    assert "llama-31-8b" in done.stderr


@pytest.mark.parametrize("name", ["llama-31-8b", "a", "x" * 40])
def test_a_name_that_a_service_can_have_is_taken(api: Any, cluster_helpers: Any, name: str) -> None:
    done = tried(api, cluster_helpers, name)
    assert done.returncode == 0, done.stderr


async def test_an_object_that_was_stored_before_can_still_be_changed_and_deleted(
    api: Any, cluster_helpers: Any, eventually: Any
) -> None:
    schema = yaml.safe_load(SCHEMA.read_text())
    former = copy.deepcopy(schema)
    root = former["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    root["x-kubernetes-validations"] = root["x-kubernetes-validations"][:1]
    stored = cluster_helpers.deployment(name="stored.before")
    stored["metadata"]["finalizers"] = ["paddock.dev/serving-resources"]
    api.apply(former)
    try:
        await eventually(lambda: api.apply(stored).returncode == 0)
    finally:
        api.apply(schema)
    await eventually(lambda: tried(api, cluster_helpers, "stored.after").returncode != 0)
    place = ("llamadeployment", "stored.before", "-n", "acme")
    labelled = api.kubectl("label", *place, "a=b")
    assert labelled.returncode == 0, labelled.stderr
    api.kubectl("delete", *place, "--wait=false")
    released = api.kubectl("patch", *place, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert released.returncode == 0, released.stderr
    await eventually(lambda: cluster_helpers.get(api, *place) is None)
