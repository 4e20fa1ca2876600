"""A pod on a node that is gone: an ordinary deletion waits for ever, a forced one ends it, and it alone.

On the real API server, with the operator's own rights.
"""

from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.decide.actions import Delete
from paddock_operator.errors import ConflictError
from paddock_operator.execute import Executor
from paddock_operator.kinds import POD

NAMESPACE = "paddock-serving-nobody"


@pytest.fixture
def hanging(api: Any, cluster_helpers: Any) -> Any:
    """A pod on a node that does not exist."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    container = {"name": "triton", "image": "i", "resources": {}}
    spec = {"nodeName": "gone", "containers": [container], "terminationGracePeriodSeconds": 90}
    metadata = {"namespace": NAMESPACE, "name": "chat-0", "labels": {names.MANAGED_BY: names.OPERATOR}}
    done = api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    assert done.returncode == 0, done.stderr
    yield cluster_helpers.get(api, "pod", "chat-0", "-n", NAMESPACE)
    api.kubectl("delete", "pod", "chat-0", "-n", NAMESPACE, "--grace-period=0", "--force", "--ignore-not-found")


def deletion(pod: dict[str, Any], *, forced: bool, uid: str = "") -> Delete:
    metadata = pod["metadata"]
    return Delete(kind=POD, namespace=NAMESPACE, name=metadata["name"], uid=uid or metadata["uid"], forced=forced)


async def test_it_is_ended_by_force_alone(api: Any, cluster_helpers: Any, settings: Any, hanging: Any) -> None:
    cluster = LightkubeCluster(connect(settings.kubeconfig), may_write=lambda: None)
    unused: Any = None
    executor = Executor(
        cluster=cluster, control_plane=unused, cache=unused, documents=unused, config=unused, time=lambda: 0.0
    )
    try:
        await executor._delete(deletion(hanging, forced=False))
        left = cluster_helpers.get(api, "pod", "chat-0", "-n", NAMESPACE)
        assert "deletionTimestamp" in left["metadata"]
        with pytest.raises(ConflictError):
            await executor._delete(deletion(hanging, forced=True, uid="another"))
        assert cluster_helpers.get(api, "pod", "chat-0", "-n", NAMESPACE) is not None
        await executor._delete(deletion(hanging, forced=True))
        assert cluster_helpers.get(api, "pod", "chat-0", "-n", NAMESPACE) is None
    finally:
        await cluster.close()
