"""Names and labels of everything that the operator creates: one place, because cleaning up goes by them."""

import hashlib
import json
from dataclasses import asdict

from paddock_core.catalog.types import ModelEntry, WeightSet

MOST_DIGESTS = 2000
"""So many digests of models are kept: each round of each deployment asks for one a few times."""
_digests: dict[tuple[str, str], tuple[WeightSet, str]] = {}
MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR = "paddock-operator"
"""Value of MANAGED_BY, and the operator's field manager."""
PART_OF = "app.kubernetes.io/part-of"
PRODUCT = "paddock"
COMPONENT = "paddock.dev/component"
SERVING = "serving"
SERVING_ACCOUNT = "serving"
"""ServiceAccount of all pods of a serving namespace: it may do nothing."""
WEIGHTS = "weights"
ENGINE = "engine"
PURGE = "purge"
TENANT_SPACE = "tenant-namespace"
"""Of what a tenant's own namespace gets."""
SERVING_SPACE = "serving-namespace"
"""Of what a serving namespace gets as a whole."""
TENANT_ROLE = "paddock-tenant"
"""ClusterRole of a tenant's people."""
TENANT_BINDING = "paddock-tenant-group"
QUEUE = "paddock"
"""LocalQueue, in each serving namespace, of deployments that name no queue."""
PURGE_ORDER = "paddock.dev/purge"
"""Label: the control plane's order that a purge Job carries out."""
ENGINE_KEY = "paddock.dev/engine-key"
"""Label: the key of the compiled engine that a Job makes, as far as a label holds it."""
TENANT = "paddock.dev/tenant"
MODEL = "paddock.dev/model"
MODEL_DIGEST = "paddock.dev/model-digest"
DEPLOYMENT_NAMESPACE = "paddock.dev/deployment-namespace"
DEPLOYMENT_NAME = "paddock.dev/deployment-name"
DEPLOYMENT_UID = "paddock.dev/deployment-uid"
COPY = "paddock.dev/copy"
"""Label of a copy's workload, of its pods and of what guards them: the copy's name."""
REVISION = "paddock.dev/revision"
"""Label of a revision's ConfigMap, and of its copies and their pods: the revision's name."""
DRAINING = "paddock.dev/draining-since"
"""Annotation of a copy's workload that gets no requests any more, and goes when those that it has are over."""
GPUS = "paddock.dev/gpus"
"""Annotation of serving pods: GPUs, or parts of them, that the pod takes, however it asks for them."""
AVOIDS = "paddock.dev/avoids-nodes"
"""Annotation of a copy's workload: nodes on which its pods may not run, by name, with commas between."""
GROUP = "paddock.dev/group"
"""Label of a copy that spans several pods, and of these: the copy's name."""
RENDERING = "paddock.dev/rendering"
"""Annotation: digest of the manifest as rendered; on pods, of the secret that they were started with."""
RESULT = "paddock.dev/result"
"""Annotation of a finished weights Job: what its container left, so that it outlives the pod."""
REFUSED = "paddock.dev/refused"
"""Annotation of an engine Job: why a server could not load what it made, and when it said so."""

RETRY = "paddock.dev/retry"
"""Annotation that a person sets on a LlamaDeployment, to any new value: what its copies failed of is forgotten."""

WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index"
"""Label that the controller of groups gives each pod of one."""
LEADER_INDEX = "0"
"""Value of WORKER_INDEX on the pod that answers for its group."""
MAX_COPY_STEM = 29
"""Characters of a deployment's name in those of its copies: controllers append to them, and they become labels."""

WEIGHTS_NAMESPACE = "paddock-weights"
PLATFORM_NAMESPACE = "paddock-system"

_SERVING_PREFIX = "paddock-serving-"

SELECTOR = f"{MANAGED_BY}={OPERATOR}"
"""Label selector of everything that the operator created."""


def serving_namespace(tenant: str) -> str:
    """Namespace of the platform in which this tenant's models run."""
    return _SERVING_PREFIX + tenant


def tenant_group(tenant: str) -> str:
    """Group of the tenant's people, as the cluster's identity provider names it."""
    return f"paddock:{tenant}"


def tenant_served_in(namespace: str) -> str | None:
    """The tenant whose models run in this namespace of the platform; None for any other namespace."""
    tenant = namespace.removeprefix(_SERVING_PREFIX)
    return tenant if tenant and tenant != namespace else None


def is_platforms(namespace: str) -> bool:
    """True for the namespaces in which the operator makes things and nobody else may write."""
    return namespace == WEIGHTS_NAMESPACE or tenant_served_in(namespace) is not None


def serving_name(*, namespace: str, name: str) -> str:
    """Name of a deployment's serving objects: several of the tenant's namespaces share one serving namespace."""
    return f"{name}-{hashlib.sha256(f'{namespace}/{name}'.encode()).hexdigest()[:8]}"


def revision_name(*, namespace: str, name: str, revision: str) -> str:
    """Name of the ConfigMap that holds one rendering of a deployment."""
    serving = serving_name(namespace=namespace, name=name)
    return f"{name[:MAX_COPY_STEM].rstrip('-')}{serving[len(name) :]}-{revision}"


def copy_name(*, namespace: str, name: str, revision: str, index: int) -> str:
    """Name of one copy of a deployment: of its workload object, and the beginning of its pods' names."""
    return f"{revision_name(namespace=namespace, name=name, revision=revision)}-{index}"


def model_digest(model: ModelEntry, *, precision: str) -> str:
    """Hex digest that names a model's weights. Two models never share one: each is asked leave for, and checked, by
    itself. Bytes that come from one place they share all the same, on the volume."""
    weights, place = model.weights[precision], (model.id, precision)
    known = _digests.get(place)
    # The very object, since it is never changed: comparing two lists of files would cost as much as the digest.
    if known is None or known[0] is not weights:
        if len(_digests) >= MOST_DIGESTS:
            _digests.clear()
        text = json.dumps([model.id, precision, asdict(weights)], sort_keys=True)
        known = _digests[place] = (weights, hashlib.sha256(text.encode()).hexdigest())
    return known[1]


def weights_job_name(digest: str) -> str:
    """One Job for each set of weights of a model, whoever needs it."""
    return f"weights-{digest[:12]}"


def engine_job_name(key: str) -> str:
    """One Job for each compiled engine, whoever needs it."""
    return f"engine-{key[:12]}"


def engine_path(key: str) -> str:
    """Where a serving pod finds a compiled engine."""
    return f"/weights/{key}"


def purge_job_name(order: str) -> str:
    """One Job for each order of the control plane."""
    return f"purge-{order}"


def model_label(model: str) -> str:
    """A model's id as the value of a label."""
    return model[:63].rstrip("-.")


def weights_path(model: ModelEntry, *, precision: str, weights: str) -> str:
    """Where a serving pod finds the weights: the file itself where the set is one file, else its folder.

    `weights` is the digest that the weights Job reported.
    """
    files = model.weights[precision].files
    folder = f"/weights/{weights}"
    return f"{folder}/{files[0].name}" if len(files) == 1 else folder


def deployment_labels(*, namespace: str, name: str, uid: str, tenant: str, model: str) -> dict[str, str]:
    """Labels of everything that belongs to one LlamaDeployment."""
    return {
        MANAGED_BY: OPERATOR,
        PART_OF: PRODUCT,
        COMPONENT: SERVING,
        TENANT: tenant,
        MODEL: model_label(model),
        DEPLOYMENT_NAMESPACE: namespace,
        DEPLOYMENT_NAME: name,
        DEPLOYMENT_UID: uid,
    }


def pod_selector(*, namespace: str, name: str) -> dict[str, str]:
    """Labels by which the pods of one LlamaDeployment are selected. Never changes during its life."""
    return {MANAGED_BY: OPERATOR, DEPLOYMENT_NAMESPACE: namespace, DEPLOYMENT_NAME: name}
