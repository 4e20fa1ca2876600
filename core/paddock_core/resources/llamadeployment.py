"""The LlamaDeployment custom resource, group paddock.dev, version v1alpha1, as types.

`crds/llamadeployments.yaml` is the schema that the API server enforces; a test checks that both agree.
"""

from typing import Any

import msgspec

GROUP = "paddock.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "LlamaDeployment"
PLURAL = "llamadeployments"
FINALIZER = "paddock.dev/serving-resources"


class _Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base: camelCase on the wire, snake_case here."""


class ModelSpec(_Document, frozen=True, kw_only=True):
    id: str


class LicenseUse(_Document, frozen=True, kw_only=True):
    purpose: str = "commercial"


class LicenseSpec(_Document, frozen=True, kw_only=True):
    """What the tenant says of the license. It must agree with the record; it is never consent by itself."""

    accept: bool | None = None
    """None: nothing said, the record alone decides. False: the tenant does not want to be served under this license."""
    id: str | None = None
    revision: str | None = None
    acceptance_ref: str | None = None
    use: LicenseUse = LicenseUse()


class AccessSpec(_Document, frozen=True, kw_only=True):
    tenants: tuple[str, ...] = ()


class EngineSpec(_Document, frozen=True, kw_only=True):
    type: str | None = None
    """LLMAPI, TensorRTEngine or LlamaCpp; None means the catalogue entry's default."""
    precision: str | None = None
    """Which of the model's weights; None means the catalogue entry's default."""
    kv_precision: str | None = None
    """How the key-value cache is kept; None leaves it to the planner."""
    context_length: int | None = None
    """Tokens of prompt and answer together; None means the model's own, capped by the platform's default."""
    max_concurrency: int | None = None
    """Sequences that the engine runs at once."""


class ParallelismSpec(_Document, frozen=True, kw_only=True):
    tensor: int | None = None
    pipeline: int | None = None


class Toleration(_Document, frozen=True, kw_only=True):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class PlacementSpec(_Document, frozen=True, kw_only=True):
    """Where the pods run. Every pod of a group gets the same."""

    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    gpu: str | None = None
    """Id of a GPU product; None leaves it to the planner."""
    mig_profile: str | None = None
    """A slice of a GPU instead of a whole one, as in `3g.40gb`."""
    device_class: str | None = None
    """Name of a DeviceClass: GPUs are claimed through dynamic resource allocation instead of an extended resource."""
    topology_key: str | None = None
    """Node label: all pods of one group lie in nodes with the same value of it."""
    exclusive_topology: bool = False
    """True: no other group shares that domain."""
    scheduler_name: str | None = None
    priority_class_name: str | None = None
    queue: str | None = None
    """Name of the queue that admits it: a LocalQueue of Kueue, or a queue of Volcano where that is the scheduler."""
    network: str | None = None
    """Name of a network profile for the traffic inside a group; None means the first that the platform allows."""


class Spec(_Document, frozen=True, kw_only=True):
    model: ModelSpec
    license: LicenseSpec = LicenseSpec()
    access: AccessSpec = AccessSpec()
    engine: EngineSpec = EngineSpec()
    parallelism: ParallelismSpec = ParallelismSpec()
    placement: PlacementSpec = PlacementSpec()
    replicas: int = 1


class Condition(_Document, frozen=True, kw_only=True):
    type: str
    status: str
    """True, False or Unknown."""
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str


class Endpoint(_Document, frozen=True, kw_only=True):
    """One Triton that answers. `url` is `http://<pod ip>:<port>`."""

    pod: str
    url: str


class RoutingStatus(_Document, frozen=True, kw_only=True):
    """All that a gateway needs to serve this deployment, beside the policy."""

    model: str
    """Catalogue id."""
    tokenizer: str
    """`sha256:<hex>` of the published tokenizer document: GET /internal/v1/artifacts/<digest>."""
    context_length: int
    max_concurrency: int
    secret_rotation: int = 0
    rendering: str = ""
    """Digest of what the endpoints' pods were rendered from: only pods that carry it are endpoints of this routing."""
    endpoints: tuple[Endpoint, ...] = ()


class PlanStatus(_Document, frozen=True, kw_only=True):
    engine: str
    tensor_parallel: int
    pipeline_parallel: int
    gpus_per_pod: int
    pods_per_group: int
    context_length: int
    max_concurrency: int
    weights_bytes: int
    kv_cache_bytes: int
    explanation: str
    precision: str = ""
    kv_precision: str = ""
    gpu: str = ""
    """Id of the GPU product; empty on a CPU."""
    resource: str = ""
    """What each pod asks of its node; empty on a CPU."""
    device_class: str = ""
    kv_tokens: int = 0
    max_sequences: int = 0
    max_batch_size: int = 0
    max_num_tokens: int = 0


class WeightsStatus(_Document, frozen=True, kw_only=True):
    """How far the weights are, while they are being fetched and checked."""

    bytes_done: int
    bytes_total: int
    eta_seconds: int | None = None
    """None where it is not known."""


class LicenseStatus(_Document, frozen=True, kw_only=True):
    id: str
    acceptance: str | None = None


class Status(_Document, frozen=True, kw_only=True):
    observed_generation: int = 0
    phase: str = "Pending"
    """Derived from the conditions, for people; never read back."""
    conditions: tuple[Condition, ...] = ()
    license: LicenseStatus | None = None
    plan: PlanStatus | None = None
    weights: WeightsStatus | None = None
    replicas: int = 0
    ready_replicas: int = 0
    groups: int = 0
    """Copies that span several pods each; 0 where a copy is one pod."""
    ready_groups: int = 0
    selector: str = ""
    url: str = ""
    served_model_name: str = ""
    serving_namespace: str = ""
    routing: RoutingStatus | None = None


class LlamaDeployment(_Document, frozen=True, kw_only=True):
    """A whole object; `metadata` stays the API's own document."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: dict[str, Any]
    spec: Spec
    status: Status = Status()

    @property
    def served_model_name(self) -> str:
        """What a client sends as `model`: `<namespace>/<name>`, unique in the cluster."""
        return f"{self.metadata['namespace']}/{self.metadata['name']}"
