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


class ScalingSpec(_Document, frozen=True, kw_only=True):
    """How many copies run, by what they are asked. Where it is set, `replicas` only says how many to begin with."""

    min_replicas: int = 1
    """0: it may be stopped while nobody asks, and is started by the next request."""
    max_replicas: int
    in_flight_per_replica: int | None = None
    """Requests that one copy should have at once; None leaves it to the plan."""
    kv_use_percent: int | None = None
    """Use of the key-value cache above which a copy is added."""
    time_to_first_token_ms: int | None = None
    """95th percentile above which a copy is added."""
    scale_down_delay_seconds: int = 300
    """A copy goes when fewer have been enough for so long."""
    idle_seconds: int = 600
    """With `min_replicas` 0 the last copy goes when nobody has asked for so long."""
    hold_seconds: int = 120
    """With `min_replicas` 0, so long a request waits for a deployment that is being started."""


class RolloutStep(_Document, frozen=True, kw_only=True):
    """A stage of a canary."""

    weight_percent: int
    """Share of the requests that go to the new revision."""
    seconds: int = 60
    """How long at least."""


class HealthGate(_Document, frozen=True, kw_only=True):
    """What the new revision must keep up against the former one."""

    max_error_percent: int = 5
    """Answers that may fail, beyond those of the former revision."""
    max_ttft_increase_percent: int = 50
    max_throughput_loss_percent: int = 30
    min_requests: int = 20
    """So many must have been answered before it is judged by its requests."""


class RolloutSpec(_Document, frozen=True, kw_only=True):
    """How a change reaches the copies."""

    strategy: str = "RollingUpdate"
    """RollingUpdate, DrainFirst, BlueGreen or Canary."""
    max_surge: int = 1
    """Copies beyond `replicas` while it goes on, where there are devices for them."""
    max_unavailable: int = 0
    """Copies that may be missing. Where a copy more finds no devices, one is taken away first all the same."""
    steps: tuple[RolloutStep, ...] = ()
    """Of a canary; none means 10, 50 and 100 percent. BlueGreen keeps the former copies for as long as the first says
    after the switch; none means a minute."""
    gate: HealthGate = HealthGate()
    deadline_seconds: int = 3600
    """A new copy that does not answer within so long has failed."""
    rollback: bool = True
    """Whether a change that failed is taken back by itself."""
    hold_seconds: int = 120
    """How long a request waits where the change itself leaves no copy for a while."""


class MaintenanceSpec(_Document, frozen=True, kw_only=True):
    """When the platform may restart copies for its own sake, as after an upgrade. All times are UTC."""

    days: tuple[str, ...] = ()
    """Mon to Sun; none means every day."""
    start: str = "00:00"
    hours: int = 4


class Spec(_Document, frozen=True, kw_only=True):
    model: ModelSpec
    license: LicenseSpec = LicenseSpec()
    access: AccessSpec = AccessSpec()
    engine: EngineSpec = EngineSpec()
    parallelism: ParallelismSpec = ParallelismSpec()
    placement: PlacementSpec = PlacementSpec()
    replicas: int = 1
    min_available: int = 1
    """Copies that must answer for the condition Serving."""
    scaling: ScalingSpec | None = None
    rollout: RolloutSpec = RolloutSpec()
    maintenance: MaintenanceSpec | None = None
    """None: the platform's own window."""


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


class TargetStatus(_Document, frozen=True, kw_only=True):
    """One revision as gateways see it: what it runs, which share of the requests it gets, and who answers."""

    revision: str
    weight: int = 100
    """Share of the requests in proportion to the other targets' weights; one of weight 0 gets none."""
    model: str
    """Catalogue id."""
    tokenizer: str
    """`sha256:<hex>` of the published tokenizer document: GET /internal/v1/artifacts/<digest>."""
    context_length: int
    max_concurrency: int
    endpoints: tuple[Endpoint, ...] = ()


class RoutingStatus(_Document, frozen=True, kw_only=True):
    """All that a gateway needs to serve this deployment, beside the policy."""

    digest: str = ""
    """Of everything else in here but `leaving`: gateways report it, and so confirm what they know. Empty only where an
    operator from before there were digests wrote it last."""
    version: int = 0
    """Grows with each change of what requests follow, so that what was told before and is told again has another
    digest."""
    secret_rotation: int = 0
    hold_seconds: int = 0
    """So long a request may wait while no target has an endpoint; 0: it is refused at once."""
    targets: tuple[TargetStatus, ...] = ()
    leaving: tuple[str, ...] = ()
    """Base URLs of copies that are being drained: they get no request, and can still be asked what one came to."""


class BenchmarkStatus(_Document, frozen=True, kw_only=True):
    """What the first copy of a revision did when it was tried, before it got requests."""

    concurrency: int
    requests: int
    output_tokens: int
    ttft_p50_ms: int
    ttft_p95_ms: int
    tokens_per_second: int
    at: str
    error: str = ""
    """Why it could not be tried, as often as that was attempted."""

    @property
    def failed(self) -> bool:
        """True where it was attempted and nothing was measured."""
        return self.requests == 0


class RevisionStatus(_Document, frozen=True, kw_only=True):
    """One rendering of the deployment, as long as any copy of it is there, and the newest one."""

    name: str
    state: str
    """Current, Coming, Former or Failed."""
    created_at: str
    rendered_by: str = ""
    """Version of the operator that rendered it."""
    replicas: int = 0
    ready_replicas: int = 0
    message: str = ""
    """Why it failed."""
    retry: str = ""
    """Digest of what had asked last for a new try when it failed."""
    benchmark: BenchmarkStatus | None = None


class RolloutStatus(_Document, frozen=True, kw_only=True):
    """How far a change is."""

    former: str
    target: str
    strategy: str
    step: int = 0
    step_since: str = ""
    starved_since: str = ""
    """Since when a new copy finds no devices though nothing that holds some is on its way out."""
    gave_way: bool = False
    """True once a copy of another revision went before enough others answered."""
    former_served: int = 0
    """Copies of the former revision that answered when it began."""
    started_at: str = ""
    message: str = ""


class ScalingStatus(_Document, frozen=True, kw_only=True):
    """What scaling wants. All that it remembers is here."""

    desired_replicas: int
    reason: str = ""
    scaled_at: str = ""
    below_since: str = ""
    """Since when fewer copies would have been enough."""
    below_most: int = 0
    """Most copies that were wanted since then."""
    idle_since: str = ""
    """Since when nobody has asked."""
    saved_gpu_seconds: int = 0
    """Time of GPUs that `replicas` copies would have used and did not."""
    saved_until: str = ""
    """Up to when that is counted."""


class EvidenceStatus(_Document, frozen=True, kw_only=True):
    """What a pod left when it failed."""

    pod: str
    container: str = ""
    node: str = ""
    reason: str = ""
    exit_code: int | None = None
    message: str = ""
    """Its last words."""
    at: str = ""


class CopyStatus(_Document, frozen=True, kw_only=True):
    """What is remembered of a copy: of one that has failed, and of a group that has answered.

    One that has answered for long enough has its failures forgotten.
    """

    name: str
    revision: str
    failures: int
    failed_at: str
    """When it failed last, or let its devices go; empty where it has done neither."""
    retry_at: str = ""
    """When it is tried again; empty where that is up to a person, or nothing failed."""
    yielded: int = 0
    """How often in a row it let its devices go, because not all of its pods found some."""
    seen: str = ""
    """Which pods of it, and which of their ends, were counted."""
    evidence: EvidenceStatus | None = None


class QuotaStatus(_Document, frozen=True, kw_only=True):
    """GPUs that the deployment is charged: what its plan needs for the most copies that it may have, or what it has.

    It is written before anything is created with them.
    """

    gpus: int
    limit: int
    """Of the tenant, all deployments together."""
    wanted: int = 0
    """What it was refused; 0: nothing."""


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
    quota: QuotaStatus | None = None
    revisions: tuple[RevisionStatus, ...] = ()
    rollout: RolloutStatus | None = None
    scaling: ScalingStatus | None = None
    copies: tuple[CopyStatus, ...] = ()
    drifted: bool = False
    """True while the copies run what an earlier operator rendered, or what the platform's settings were then."""


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
