"""A status that another version of the operator wrote makes no specification wrong."""

from typing import Any

from paddock_operator.observed import parse

SPEC = {"model": {"id": "smollm2-135m-instruct"}, "replicas": 2}
METADATA = {"namespace": "acme", "name": "chat"}


def document(**status: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": SPEC, "status": status}


def test_what_cannot_be_read_of_it_is_not_known_and_the_rest_is() -> None:
    found, problem = parse(document(phase="Serving", quota="ten", routing={"secretRotation": 3}, conditions=[{}]))
    assert problem is None
    assert (found.spec.replicas, found.status.phase) == (2, "Serving")
    assert (found.status.quota, found.status.conditions) == (None, ())
    assert found.status.routing is not None, "from before routing had a digest"
    assert (found.status.routing.secret_rotation, found.status.routing.digest) == (3, "")


def test_a_wrong_specification_is_wrong_whatever_the_status_says() -> None:
    found, problem = parse({**document(quota="ten"), "spec": {"model": {"id": "m"}, "replicas": "two"}})
    assert problem is not None
    assert "replicas" in problem
    assert found.spec.model.id == "?"
