"""A tenant's namespace is deleted with deployments inside: while the operator runs, and while it does not."""

import asyncio
import json
from pathlib import Path

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.documents import Namespace
from paddock_core.resources import names
from paddock_local.bare_kubernetes import KubeApi

from faults.cluster.on_api import control_plane, controllers, operator_on, until
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.controlplane import ControlPlane
from faults.cluster.stage import Stage, tests_helper

ROW = 15
WHAT = "a namespace is deleted with {size} deployments inside, with the operator up; and with it down, then up"
PASS = "gone within 60 s, by the namespace controller alone; nothing is left in the serving namespace"
SHORT, FULL = 2, 20
LIMIT_SECONDS = 60.0
PATIENCE_SECONDS = 240.0
"""To be measured it must end; what takes longer than the limit has not passed."""
SERVING = names.serving_namespace("acme")
KINDS = "deployments,pods,configmaps,serviceaccounts,secrets,poddisruptionbudgets,networkpolicies"
CONTROLLERS = ("namespace-controller", "replicaset-controller", "garbage-collector-controller")


def play(stage: Stage, size: int) -> Outcome:
    """Both ways, one after the other; each in a namespace of its own."""
    folder, api = stage.empty("namespace"), stage.api()
    with controllers(api, *CONTROLLERS, folder=folder):
        return asyncio.run(_both(api, folder, size))


async def _both(api: KubeApi, folder: Path, size: int) -> Outcome:
    beside = control_plane()
    lives = [folder / name for name in ("up", "down", "again")]
    for life in lives:
        life.mkdir()
    async with operator_on(api, beside=beside, folder=lives[0]):
        await _deployed(api, beside, "falls-up", size)
        up = await _gone(api, "falls-up")
    async with operator_on(api, beside=beside, folder=lives[1]):
        await _deployed(api, beside, "falls-down", size)
    assert api.kubectl("delete", "namespace", "falls-down", "--wait=false").returncode == 0
    await until(lambda: _all_are_going(api, "falls-down", size), "the namespace controller to begin", seconds=60)
    async with operator_on(api, beside=beside, folder=lives[2]):
        down = await _gone(api, "falls-down")
        await until(lambda: not _left(api, "falls-up", "falls-down"), "what belongs to them", seconds=LIMIT_SECONDS)
    left = _left(api, "falls-up", "falls-down")
    measured = f"gone after {up:.1f} s with the operator up, {down:.1f} s after it came back; {len(left)} objects left"
    return Outcome(measured=measured, passed=max(up, down) <= LIMIT_SECONDS and not left)


async def _deployed(api: KubeApi, beside: ControlPlane, namespace: str, size: int) -> None:
    """Deployments whose copies have pods, which no node takes."""
    helper = tests_helper("cluster_parts")
    beside.put(Namespace(id=namespace, tenant="acme"))
    assert api.kubectl("create", "namespace", namespace).returncode == 0
    made = api.apply(*(helper.deployment(name=f"d{number}", namespace=namespace) for number in range(size)))
    assert made.returncode == 0, made.stderr
    model = packaged_catalog().models["smollm2-135m-instruct"]
    job = names.weights_job_name(names.model_digest(model, precision=model.default_precision))
    done = api.kubectl("get", "job", job, "-n", names.WEIGHTS_NAMESPACE, "-o", "jsonpath={.status.succeeded}")
    if done.stdout != "1":
        await until(lambda: helper.get(api, "job", job, "-n", names.WEIGHTS_NAMESPACE), "the weights Job", seconds=120)
        await asyncio.to_thread(helper.finish_weights, api, job)
    pods = ("get", "pods", "-n", SERVING, "-l", f"{names.DEPLOYMENT_NAMESPACE}={namespace}", "-o", "name")
    await until(lambda: len(api.kubectl(*pods).stdout.split()) >= size, "a pod of each", seconds=PATIENCE_SECONDS)


async def _gone(api: KubeApi, namespace: str) -> float:
    """Delete it, if nobody has; after how many seconds it is gone."""
    api.kubectl("delete", "namespace", namespace, "--wait=false")
    gone = ("get", "namespace", namespace, "--ignore-not-found", "-o", "name")
    return await until(lambda: not api.kubectl(*gone).stdout, f"{namespace} to go", seconds=PATIENCE_SECONDS)


def _all_are_going(api: KubeApi, namespace: str, size: int) -> bool:
    found = api.kubectl("get", "llamadeployments", "-n", namespace, "-o", "json")
    items = json.loads(found.stdout)["items"]
    return len(items) == size and all("deletionTimestamp" in item["metadata"] for item in items)


def _left(api: KubeApi, *namespaces: str) -> list[str]:
    """What belongs to deployments of these namespaces in the one where they ran."""
    chosen = f"{names.DEPLOYMENT_NAMESPACE} in ({','.join(namespaces)})"
    return api.kubectl("get", KINDS, "-n", SERVING, "-l", chosen, "-o", "name").stdout.split()
