"""The Kubernetes kinds that the operator touches: how each is called in a URL."""

from dataclasses import dataclass

from paddock_core.resources import llamadeployment, llamamodel


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of object in one API version. Each is made once, here, and compared as the object that it is: that is done
    a hundred times in a round."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None) -> str:
        """Path below the API server's root. Without a namespace: of all namespaces."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/" + "/".join(parts)


LLAMA_DEPLOYMENT = Kind(llamadeployment.GROUP, llamadeployment.VERSION, llamadeployment.PLURAL, llamadeployment.KIND)
LLAMA_MODEL = Kind(llamamodel.GROUP, llamamodel.VERSION, llamamodel.PLURAL, llamamodel.KIND, namespaced=False)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
POD = Kind("", "v1", "pods", "Pod")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
SECRET = Kind("", "v1", "secrets", "Secret")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")
EVENT = Kind("", "v1", "events", "Event")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
JOB = Kind("batch", "v1", "jobs", "Job")
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
LEADER_WORKER_SET = Kind("leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet")
RESOURCE_CLAIM_TEMPLATE = Kind("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
POD_MONITOR = Kind("monitoring.coreos.com", "v1", "podmonitors", "PodMonitor")
INFERENCE_POOL = Kind("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool")
POD_GROUP = Kind("scheduling.volcano.sh", "v1beta1", "podgroups", "PodGroup")
LOCAL_QUEUES = tuple(Kind("kueue.x-k8s.io", version, "localqueues", "LocalQueue") for version in ("v1beta1", "v1beta2"))
"""Kueue's queues: only whether the cluster has them is looked at."""
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
"""Label of what Kueue admits."""

ROLE_BINDING = Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
RESOURCE_QUOTA = Kind("", "v1", "resourcequotas", "ResourceQuota")
LIMIT_RANGE = Kind("", "v1", "limitranges", "LimitRange")

DEVICE_CLASS = Kind("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)

OPTIONAL = (
    LEADER_WORKER_SET,
    RESOURCE_CLAIM_TEMPLATE,
    POD_MONITOR,
    INFERENCE_POOL,
    POD_GROUP,
    *LOCAL_QUEUES,
)
"""Kinds of APIs that a cluster may lack. They are followed like the others: that is how their coming is noticed."""

EXTRAS = frozenset({POD_MONITOR, INFERENCE_POOL, POD_GROUP})
"""Of these, what pods serve without: where the cluster refuses one, the rest of a round goes on."""

ALL = (
    LLAMA_DEPLOYMENT,
    LLAMA_MODEL,
    NAMESPACE,
    NODE,
    POD,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    EVENT,
    REPLICA_SET,
    JOB,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
    LEASE,
    DEVICE_CLASS,
    ROLE_BINDING,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    *OPTIONAL,
)
_BY_NAME = {(kind.api_version, kind.name): kind for kind in ALL}

WATCHED = (
    NAMESPACE,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    JOB,
    POD,
)
"""Kinds whose objects with our label are kept in a cache. Secrets are not among them: the operator never reads them."""


def kind_of(manifest: dict[str, object]) -> Kind:
    """The kind of a manifest. Raises KeyError for one that the operator does not know."""
    return _BY_NAME[(str(manifest["apiVersion"]), str(manifest["kind"]))]
