"""Nobody answers for the webhook, or nobody asks it: what it would have refused is stored, and the loop is left."""

import json
import time
from typing import Any

from paddock_local.bare_kubernetes import free_port

from faults.cluster.outcome import Outcome
from faults.cluster.process import Scene, scene
from faults.cluster.stage import Stage, tests_helper
from faults.cluster.webhook import Webhook, expired, issued

ROW = 13
WHAT = "the webhook is down, its certificate expired, its configuration deleted; bad specifications come, {size} times"
PASS = (
    "what is new is refused while nobody answers; what is stored nevertheless gets a condition of the loop, and 0 pods"
)
SHORT, FULL = 1, 10
WAYS = ("down", "expired", "deleted")
NOT_ASKED = "failed calling webhook"
BAD: dict[str, dict[str, Any]] = {
    "LicenseMismatch": {"license": {"id": "mit"}},
    "ContextTooLong": {"engine": {"contextLength": 100_000}},
}
"""By the reason for which both the webhook and the loop refuse it: of a model that acme may serve."""
QUIET_SECONDS = 2.0


def play(stage: Stage, size: int) -> Outcome:
    """Each way of being away, with each bad specification."""
    told, refused, running = 0, 0, list[str]()
    with scene(stage) as made:
        process = made.operator()
        webhook = Webhook(made, port=int(process.settings["webhook_port"]))
        good, past = issued(made.folder, "good"), expired(made.folder)
        try:
            for number in range(size):
                for way in WAYS:
                    stored = stored_ones(made, webhook, name=f"{way}-{number}", way=way)
                    break_it(webhook, way, past=past)
                    refused += way != "deleted" and is_refused(made, webhook)
                    for name, reason in stored.items():
                        spoil(made, name, reason, way=way)
                    for name, reason in stored.items():
                        made.until(f"{reason} of {name}", lambda: reason in refusals(made, name))
                        told += 1
                    time.sleep(QUIET_SECONDS)
                    running += [item for name in stored for item in children(made, name)]
                    if way == "expired":
                        webhook.serve(good)
        finally:
            webhook.remove()
    text = f"{told} bad ones stored, each refused by the loop; {len(running)} pods or workloads of them; "
    text += f"{refused} of {size * 2} times nothing new was stored while nobody answered"
    return Outcome(
        measured=text + "".join(f"; {item}" for item in running[:3]), passed=not running and refused == size * 2
    )


def stored_ones(made: Scene, webhook: Webhook, *, name: str, way: str) -> dict[str, str]:
    """The webhook is there and refuses; names of those that will be bad, and why. What is changed later is stored now:
    of a model that nobody knows, so that nothing runs."""
    webhook.install()
    for reason, spec in BAD.items():
        made.until(f"the webhook to refuse {reason}", lambda: reason in webhook.says(document(made, "probe", **spec)))
    names = {f"{name}-{number}": reason for number, reason in enumerate(BAD)}
    for each in names if way != "deleted" else ():
        made.apply(each, model={"id": "not-there-yet"})
    return names


def break_it(webhook: Webhook, way: str, *, past: Any) -> None:
    """Take the webhook away."""
    if way == "down":
        webhook.install(port=free_port())
    elif way == "expired":
        webhook.serve(past)
        webhook.install(host="localhost")
    else:
        webhook.remove()


def is_refused(made: Scene, webhook: Webhook) -> bool:
    """Whether not even a good one is stored, once the API server has noticed."""
    return bool(made.until("nobody to answer", lambda: NOT_ASKED in webhook.says(document(made, "probe"))))


def spoil(made: Scene, name: str, reason: str, *, way: str) -> None:
    """Store a bad specification: a new object where nobody asks, a change of one where nobody answers."""
    wanted = document(made, name, **BAD[reason])
    place = ("llamadeployment", name, "-n", made.tenant)

    def attempt() -> bool:
        if way == "deleted":
            return made.api.kubectl("create", "-f", "-", stdin=json.dumps(wanted)).returncode == 0
        patch = json.dumps({"spec": wanted["spec"]})
        return made.api.kubectl("patch", *place, "--type=merge", "-p", patch).returncode == 0

    made.until(f"{name} to be stored", attempt)


def document(made: Scene, name: str, **spec: Any) -> dict[str, Any]:
    """Of the demonstration model."""
    found: dict[str, Any] = tests_helper("cluster_parts").deployment(name=name, namespace=made.tenant, **spec)
    return found


def refusals(made: Scene, name: str) -> set[str]:
    """Reasons of the conditions that do not hold, of the specification as it is now."""
    found = made.get("llamadeployment", name, "-n", made.tenant)
    conditions = (found.get("status") or {}).get("conditions") or ()
    now = found["metadata"]["generation"]
    return {item["reason"] for item in conditions if item["status"] == "False" and item["observedGeneration"] == now}


def children(made: Scene, name: str) -> list[str]:
    """Workloads and pods that a deployment has anywhere."""
    found = made.get("deployments,statefulsets,pods", "-A", "-l", f"paddock.dev/deployment-name={name}")
    return [f"{item['kind']} {item['metadata']['name']}" for item in found["items"]]
