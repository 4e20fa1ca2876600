"""An object whose labels are changed to another deployment's is lost to the one whose it was: both hear of it."""

from typing import Any

from paddock_core.resources import names
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.kinds import POD_DISRUPTION_BUDGET
from paddock_operator.ports import Key
from paddock_operator.reflector import Reflector, owner_of


def budget(*, of: str, revision: int) -> dict[str, Any]:
    labels = names.pod_selector(namespace="acme", name=of)
    metadata = {"namespace": "serving", "name": "one", "uid": "u-1", "resourceVersion": str(revision), "labels": labels}
    return {"apiVersion": POD_DISRUPTION_BUDGET.api_version, "kind": POD_DISRUPTION_BUDGET.name, "metadata": metadata}


def test_both_are_told_when_an_object_changes_hands() -> None:
    told: list[Key | None] = []
    made = Reflector(
        cluster=None,  # type: ignore[arg-type]
        kind=POD_DISRUPTION_BUDGET,
        clock=SystemClock(),
        changed=lambda manifest: told.append(owner_of(manifest)),
    )
    chat, other = Key("acme", "chat"), Key("acme", "other")
    made.found(budget(of="chat", revision=1))
    assert told == [chat]
    made.found(budget(of="other", revision=2))
    assert told == [chat, chat, other]
    assert made.of(chat) == []
    made.found(budget(of="other", revision=3))
    assert chat not in told[3:], "it is the other's alone now"
