"""Whose a pod is: what the garbage collector and the controller of ReplicaSets do by owners and labels."""

from paddock_core.resources import names
from paddock_operator.kinds import JOB, LEADER_WORKER_SET, POD, REPLICA_SET
from paddock_operator.ports import Manifest

from faults.cluster.simulated.store import Place, Store


def is_orphan(store: Store, manifest: Manifest) -> bool:
    """Whether the garbage collector deletes it: it had owners, and none of them is there."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    if not owners or "deletionTimestamp" in manifest["metadata"]:
        return False
    return not any(_lives(store, owner, manifest["metadata"].get("namespace", "")) for owner in owners)


def _lives(store: Store, owner: Manifest, namespace: str) -> bool:
    for kind in (REPLICA_SET, LEADER_WORKER_SET, JOB, POD):
        if kind.name == owner["kind"]:
            found = store.get(Place(kind, namespace, owner["name"]))
            return found is not None and found["metadata"]["uid"] == owner["uid"]
    # Owners of other kinds (a LlamaDeployment, a ConfigMap): found by their uid among all.
    return any(
        store.get(place)["metadata"]["uid"] == owner["uid"]  # type: ignore[index]
        for place in store.places()
        if place.name == owner["name"] and place.kind.name == owner["kind"]
    )


def settled(store: Store, place: Place, pod: Manifest) -> bool:
    """False where its ReplicaSet let it go, since its labels are others now, or took it up again."""
    owners = pod["metadata"].get("ownerReferences") or ()
    name = owners[0]["name"] if owners else str((pod["metadata"].get("labels") or {}).get(names.COPY, ""))
    maker = store.get(Place(REPLICA_SET, place.namespace, name)) if name else None
    if maker is None or "deletionTimestamp" in maker["metadata"] or (owners and owners[0]["kind"] != REPLICA_SET.name):
        return True
    picked = maker["spec"]["selector"]["matchLabels"].items() <= (pod["metadata"].get("labels") or {}).items()
    if picked == bool(owners):
        return True
    reference = {"apiVersion": REPLICA_SET.api_version, "kind": REPLICA_SET.name, "name": name, "controller": True}
    own = [{**reference, "uid": maker["metadata"]["uid"]}] if picked else None
    store.put(place, {**pod, "metadata": {**pod["metadata"], "ownerReferences": own}})
    return False
