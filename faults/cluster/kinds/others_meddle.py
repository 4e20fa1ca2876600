"""Somebody else's controller edits and deletes what belongs to a deployment."""

import json
import time
from typing import Any

from faults.cluster.outcome import Outcome
from faults.cluster.process import Scene, scene
from faults.cluster.stage import Stage

ROW = 14
WHAT = "another controller deletes or edits an object of a deployment, {size} times, and keeps fields of its own on it"
PASS = "restored within 10 s; what the other one owns is untouched"
SHORT, FULL = 4, 40
LIMIT_SECONDS = 10.0
OTHERS = {"labels": {"others.example/owner": "them"}, "annotations": {"others.example/note": "ours"}}


def play(stage: Stage, size: int) -> Outcome:
    """A PodDisruptionBudget, a NetworkPolicy and a ServiceAccount in turn: deleted, or edited by others."""
    with scene(stage) as made:
        made.apply("meddled", replicas=2)
        made.operator()
        made.finish_weights()
        place = ("-n", f"paddock-serving-{made.tenant}")
        # Of its own it has the first; the others all deployments of the tenant have together.
        kinds = ("poddisruptionbudget", "networkpolicy", "serviceaccount")
        budget = made.until("its budget", lambda: named(made, kinds[0], place))
        own = dict(zip(kinds, (budget, "callers", "serving"), strict=True))
        latest, touched = 0.0, 0
        for number in range(size):
            kind = kinds[number % len(kinds)]
            before = made.get(kind, own[kind], *place)
            began = time.monotonic()
            if number % 2 == 0:
                made.api.kubectl("delete", kind, own[kind], *place)
                made.until("it to be there again", lambda: is_another(made, kind, own[kind], place, before))
            else:
                edit = {"metadata": {**OTHERS, "labels": {**OTHERS["labels"], "paddock.dev/tenant": "nobody"}}}
                made.api.kubectl("patch", kind, own[kind], *place, "--type=merge", "-p", json.dumps(edit))
                made.until("the label", lambda: label(made, kind, own[kind], place) == made.tenant)
                left = made.get(kind, own[kind], *place)["metadata"]
                touched += any(not OTHERS[part].items() <= left[part].items() for part in OTHERS)
            latest = max(latest, time.monotonic() - began)
    text = f"{size} times meddled with: restored within {latest:.1f} s; {touched} fields of others touched"
    return Outcome(measured=text, passed=latest <= LIMIT_SECONDS and touched == 0)


def named(made: Scene, kind: str, place: tuple[str, str]) -> str:
    """The name of the deployment's object of a kind, empty where there is none."""
    found = made.get(kind, *place, "-l", "paddock.dev/deployment-name=meddled")["items"]
    return str(found[0]["metadata"]["name"]) if found else ""


def is_another(made: Scene, kind: str, name: str, place: tuple[str, str], before: dict[str, Any]) -> bool:
    """Whether the object is there, and not the one from before."""
    found = made.get(kind, name, *place)
    return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]


def label(made: Scene, kind: str, name: str, place: tuple[str, str]) -> str:
    """The tenant that an object's label names."""
    return str(made.get(kind, name, *place)["metadata"]["labels"]["paddock.dev/tenant"])
