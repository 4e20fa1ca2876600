"""Objects that were stored under a former schema are read, written back and kept by the present one."""

import functools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml
from paddock_core.resources.llamadeployment import LlamaDeployment
from paddock_local.bare_kubernetes import KubeApi
from paddock_local.paths import find_checkout
from paddock_operator.decide.routing import stamped
from paddock_operator.observed import parse

from faults.cluster.filling import filled, leaves, paths
from faults.cluster.outcome import Outcome
from faults.cluster.stage import Stage, http_of

ROW = 22
WHAT = "{size} objects stored under the former schema are read by today's types, and written back under today's schema"
PASS = "0 fields lost that still exist, 0 refused; those that went are named"
SHORT, FULL = 40, 1_000
FORMER = Path("faults", "cluster", "schemas", "llamadeployments-1.yaml")
PRESENT = Path("crds", "llamadeployments.yaml")
SPACE = "schemas"
API = f"/apis/paddock.dev/v1alpha1/namespaces/{SPACE}/llamadeployments"
MOST_TRIES = 200
PARTS = ("spec", "status")


def play(stage: Stage, size: int) -> Outcome:
    """The API server is given the former schema, then the present one, as an upgrade does it."""
    api, chance = stage.api(), stage.random("schemas")
    api.kubectl("create", "namespace", SPACE)
    with http_of(api) as client:
        try:
            install(api, client, FORMER)
            stored = [stored_one(client, chance, f"stored-{number}") for number in range(size)]
            install(api, client, PRESENT)
            lost = Counter(text for document in stored for text in lost_of(client, document))
        finally:
            install(api, client, PRESENT)
            client.delete(API)
    went = sorted(paths(schema_of(FORMER)) - paths(schema_of(PRESENT)))
    tops = [path for path in went if path.rpartition(".")[0].removesuffix("[]") not in went]
    text = f"{size} objects, {sum(len(leaves(item)) for item in stored):,} values: {lost.total()} lost or refused; "
    text += f"fields that went: {', '.join(tops) or 'none'}"
    return Outcome(measured="; ".join([text, *map(str, lost.most_common(3))]), passed=not lost)


@functools.cache
def schema_of(file: Path) -> dict[str, Any]:
    """The schema of an object."""
    document = yaml.safe_load((find_checkout() / file).read_text())
    found: dict[str, Any] = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def install(api: KubeApi, client: httpx.Client, file: Path) -> None:
    """Replace the definition, and wait until it is the one that is served."""
    done = api.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(find_checkout() / file))
    assert done.returncode == 0, done.stderr
    wanted = paths(schema_of(file))
    for _ in range(600):
        served = client.get("/openapi/v3/apis/paddock.dev/v1alpha1").json()
        found = served["components"]["schemas"]["dev.paddock.v1alpha1.LlamaDeployment"]
        if {path for path in paths(found) if not path.startswith("metadata")} == wanted - {"metadata"}:
            return
        client.get("/readyz")
    raise AssertionError(f"the API server does not serve {file}")


def stored_one(client: httpx.Client, chance: random.Random, name: str) -> dict[str, Any]:
    """Store an object with a status; as the API server has it then. Raises AssertionError."""
    properties = schema_of(FORMER)["properties"]
    answer: httpx.Response | None = None
    for _ in range(MOST_TRIES):
        document = {
            "apiVersion": "paddock.dev/v1alpha1",
            "kind": "LlamaDeployment",
            "metadata": {"name": name, "namespace": SPACE},
            "spec": filled(properties["spec"], chance),
        }
        answer = client.post(API, json=document)
        if answer.status_code == 201:
            status = {**answer.json(), "status": filled(properties["status"], chance, often=0.9)}
            answer = client.put(f"{API}/{name}/status", json=status)
            assert answer.is_success, answer.text
            found: dict[str, Any] = answer.json()
            return found
    raise AssertionError(f"no object was taken: {answer.text if answer is not None else ''}")


def lost_of(client: httpx.Client, before: dict[str, Any]) -> list[str]:
    """What is lost of a stored object when it is read, understood, and written back."""
    path = f"{API}/{before['metadata']['name']}"
    read = client.get(path).json()
    still = paths(schema_of(PRESENT))
    lost = [f"pruned: {item}" for item, _ in of_parts(before) - of_parts(read) if item in still]
    understood, problem = parse(read)
    if problem is not None:
        return [*lost, f"not understood: {problem}"]
    lost += [f"not known to the types: {item}" for item, _ in of_parts(read) - of_parts(whole(understood))]
    if understood.status.routing is not None:
        # As the operator does before it writes one.
        status = msgspec.structs.replace(understood.status, routing=stamped(understood.status.routing))
        understood = msgspec.structs.replace(understood, status=status)
    written = msgspec.to_builtins(understood)
    for part, place in (("spec", path), ("status", f"{path}/status")):
        answer = client.put(place, json={**client.get(path).json(), part: written[part]})
        lost += [] if answer.is_success else [f"refused: {answer.text[:200]}"]
    again = msgspec.convert(client.get(path).json(), LlamaDeployment)
    same = (again.spec, again.status) == (understood.spec, understood.status)
    return lost if same else [*lost, "not the same when read again"]


def of_parts(document: dict[str, Any]) -> set[tuple[str, str]]:
    """The values of what people wish and of what was found."""
    return leaves({part: document.get(part) or {} for part in PARTS})


def whole(value: Any) -> Any:
    """As documents, with the defaults that are not written."""
    if isinstance(value, msgspec.Struct):
        return {field.encode_name: whole(getattr(value, field.name)) for field in msgspec.structs.fields(value)}
    if isinstance(value, tuple | list):
        return [whole(item) for item in value]
    return value
