"""The process is told to end, or is ended, in the middle of its work."""

import re
import signal
import time
from collections import Counter
from typing import Any

import httpx
from paddock_core.resources import names as labels
from paddock_operator.kinds import LLAMA_DEPLOYMENT

from faults.cluster.kinds.two_operators import holder
from faults.cluster.outcome import Outcome
from faults.cluster.process import Process, Scene, scene
from faults.cluster.stage import Stage, http_of, tests_helper

ROW = 11
WHAT = "SIGTERM, then SIGKILL, while {size} deployments are being reconciled; another operator begins, and a third"
PASS = (
    "SIGTERM: ends within 10 s with status 0, and the next leads at once; after SIGKILL the next goes on within 20 s;"
    " each child is there once; one more operator changes no child"
)
SHORT, FULL = 10, 100
END_SECONDS = 10.0
LAPSE_SECONDS = 20.0
COPIES = 2
CHILDREN = ("replicasets", "configmaps", "poddisruptionbudgets", "networkpolicies", "serviceaccounts")
WAIT_SECONDS = 240.0
"""For all of them, on a machine that is busy."""


def play(stage: Stage, size: int) -> Outcome:
    """All deployments are told of in the end, each once."""
    names = [f"ended-{number}" for number in range(size)]
    with scene(stage) as made:
        first = made.operator()
        made.until("a leader", lambda: holder(made))
        made.apply("before")
        made.finish_weights()
        made.until("copies of the first", lambda: count(made, "before") == COPIES - 1)
        apply(made, names, replicas=1)
        first.signal(signal.SIGTERM)
        ended = first.wait(seconds=60)
        left = [size - told(made, names)]
        second = made.operator()
        began = time.monotonic()
        made.until("the second to lead", lambda: holder(made) == second.settings["identity"])
        at_once = time.monotonic() - began
        apply(made, names, replicas=COPIES)
        third = made.operator()
        made.until("some to be told of", lambda: told(made, names))
        second.signal(signal.SIGKILL)
        killed = time.monotonic()
        left.append(size - told(made, names))
        made.until("the third to lead", lambda: holder(made) == third.settings["identity"])
        after_kill = time.monotonic() - killed
        made.until("all to be told of", lambda: told(made, names) == size, seconds=WAIT_SECONDS)
        made.until("all children", lambda: all(count(made, name) == COPIES for name in names), seconds=WAIT_SECONDS)
        doubled, changed = duplicates(made, names), again(made, third, names)
        status = first.exit_status
    text = (
        f"SIGTERM with {left[0]} to do: ended after {ended:.1f} s with {status}; SIGKILL with {left[1]} to do: the next"
    )
    text += (
        f" led {after_kill:.1f} s later; {len(doubled)} duplicates; another operator changed {len(changed)} children"
    )
    passed = ended <= END_SECONDS and status == 0 and at_once <= END_SECONDS and after_kill <= LAPSE_SECONDS
    bad = doubled + changed
    return Outcome(measured=text + "".join(f"; {item}" for item in bad[:3]), passed=passed and not bad)


def apply(made: Scene, names: list[str], **spec: Any) -> None:
    """All at once, so that most of them are not done at the signal."""
    path = LLAMA_DEPLOYMENT.path(namespace=made.tenant)
    how = {"Content-Type": "application/apply-patch+yaml"}
    with http_of(made.api) as http:
        for name in names:
            wanted = tests_helper("cluster_parts").deployment(name=name, namespace=made.tenant, **spec)
            query = {"fieldManager": "people", "force": "true"}
            answer = http.patch(f"{path}/{name}", params=query, headers=how, json=wanted)
            assert answer.is_success, answer.text


def told(made: Scene, names: list[str]) -> int:
    """Of how many the status is about the last change."""
    with http_of(made.api) as http:
        items = http.get(LLAMA_DEPLOYMENT.path(namespace=made.tenant)).json()["items"]
    mine = [item for item in items if item["metadata"]["name"] in names]
    return sum(item.get("status", {}).get("observedGeneration") == item["metadata"]["generation"] for item in mine)


def children(made: Scene) -> list[dict[str, Any]]:
    """All objects that belong to a deployment, but Secrets: whoever begins writes those anew, unread."""
    place = ("-n", f"paddock-serving-{made.tenant}", "-l", labels.DEPLOYMENT_NAME)
    found: list[dict[str, Any]] = (made.get(",".join(CHILDREN), *place) or {}).get("items") or []
    return found


def count(made: Scene, name: str) -> int:
    """Its copies."""
    mine = [item for item in children(made) if item["kind"] == "ReplicaSet"]
    return sum(item["metadata"]["labels"][labels.DEPLOYMENT_NAME] == name for item in mine)


def duplicates(made: Scene, names: list[str]) -> list[str]:
    """Where a deployment has not as many objects of a kind as all others have."""
    found = Counter((item["kind"], item["metadata"]["labels"][labels.DEPLOYMENT_NAME]) for item in children(made))
    kinds = {kind for kind, _ in found}
    usual = {kind: Counter(found[kind, name] for name in names).most_common(1)[0][0] for kind in kinds}
    usual["ReplicaSet"] = COPIES
    return [
        f"{name} has {found[kind, name]} of kind {kind}, not {usual[kind]}"
        for kind in kinds
        for name in names
        if found[kind, name] != usual[kind]
    ]


def again(made: Scene, last: Process, names: list[str]) -> list[str]:
    """Children that one more operator changes, which finds everything done."""
    before = stable(made)
    last.signal(signal.SIGTERM)
    last.wait(seconds=60)
    new = made.operator()
    made.until("it to lead", lambda: holder(made) == new.settings["identity"])
    made.until("a look at each", lambda: rounds(new) >= len(names), seconds=WAIT_SECONDS)
    after = stable(made)
    return [
        f"{kind} {name} was written" for (kind, name), item in before.items() if after.get((kind, name)) != item
    ] + [f"{kind} {name} was made" for kind, name in set(after) - set(before)]


def stable(made: Scene) -> dict[tuple[str, str], tuple[str, str]]:
    """Uid and revision of each child, once nothing has moved for a while."""
    seen: list[dict[tuple[str, str], tuple[str, str]]] = [{}]

    def now() -> dict[tuple[str, str], tuple[str, str]]:
        parts = ((item["kind"], item["metadata"]) for item in children(made))
        return {(kind, part["name"]): (part["uid"], part["resourceVersion"]) for kind, part in parts}

    def still() -> bool:
        found, before = now(), seen[0]
        seen[0] = found
        if found == before:
            return True
        time.sleep(2)
        return False

    made.until("nothing to move", still, seconds=WAIT_SECONDS)
    return now()


def rounds(operator: Process) -> int:
    """How many rounds it has made, by its own metrics."""
    try:
        text = httpx.get(f"http://127.0.0.1:{operator.settings['health_port']}/metrics", timeout=10).text
    except httpx.HTTPError:
        return 0
    found = re.search(r"^paddock_operator_rounds_total(?:\{[^}]*\})? ([0-9.e+]+)", text, re.MULTILINE)
    return int(float(found[1])) if found else 0
