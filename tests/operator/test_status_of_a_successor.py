"""What was found of a deployment that is gone is never told of another one of the same name: on a real API server."""

import asyncio
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.resources.conditions import ConditionType, holds
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.decide.outcome import Outcome
from paddock_operator.documents import Documents
from paddock_operator.errors import ConflictError, NotFoundError
from paddock_operator.observed import Observed, parse
from paddock_operator.ports import Key, Policy
from paddock_operator.report import Reporter

KEY = Key("acme", "twice")
FOUND = Outcome(findings=(holds(ConditionType.ACCEPTED, "Accepted", "what the first one was found to be"),))


def looked(document: dict[str, Any]) -> Observed:
    policy = Policy(view=PolicyView.empty(), expired=False, at=0.0)
    return Observed(
        key=KEY, now=1_800_000_000.0, catalog=packaged_catalog(), policy=policy, deployment=parse(document)[0]
    )


async def frozen(documents: Documents) -> None:
    """Listed once; what happens later is heard of no more."""
    task = asyncio.create_task(documents.reflector.run())
    async with asyncio.timeout(60):
        await documents.reflector.synced.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def remove(api: Any) -> None:
    done = api.kubectl("delete", "llamadeployment", KEY.name, "-n", KEY.namespace, "--timeout=30s")
    assert done.returncode == 0, done.stderr


async def test_a_status_lands_on_the_object_that_was_looked_at_or_on_none(api: Any, cluster_helpers: Any) -> None:
    cluster = LightkubeCluster(connect(api.kubeconfigs["operator"]), may_write=lambda: None)
    documents = Documents(cluster=cluster, clock=SystemClock(), changed=lambda _item, _gone: None)
    reporter = Reporter(cluster=cluster, documents=documents, gateway_url="http://gateway.test")
    made = cluster_helpers.deployment(name=KEY.name, namespace=KEY.namespace)
    try:
        assert api.apply(made).returncode == 0
        await frozen(documents)
        seen = documents.get(KEY)
        assert seen is not None
        first = looked(seen)
        remove(api)
        with pytest.raises(NotFoundError):
            await reporter.report(first, FOUND)
        assert api.apply(made).returncode == 0
        with pytest.raises(ConflictError):
            await reporter.report(first, FOUND)
        # A look at the successor must not lend its revision to what was found before it.
        successor = await documents.fresh(KEY)
        assert successor is not None
        assert successor["metadata"]["uid"] != first.uid
        with pytest.raises(ConflictError):
            await reporter.report(first, FOUND)
        live = cluster_helpers.get(api, "llamadeployment", KEY.name, "-n", KEY.namespace)
        assert "status" not in live
        assert await reporter.report(looked(successor), FOUND)
        assert cluster_helpers.condition(api, KEY.name, "Accepted")["status"] == "True"
        remove(api)
    finally:
        await cluster.close()
