"""What a decision consists of."""

from dataclasses import dataclass, field

import msgspec
from paddock_core.catalog.images import EngineImage, packaged_images
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, Finding
from paddock_core.resources.llamadeployment import (
    CopyStatus,
    LicenseStatus,
    MaintenanceSpec,
    PlanStatus,
    QuotaStatus,
    RevisionStatus,
    RolloutStatus,
    RoutingStatus,
    ScalingStatus,
    Status,
    WeightsStatus,
)

from paddock_operator.decide.actions import Action
from paddock_operator.decide.healing import HealingRules
from paddock_operator.decide.rollout.types import Verdict
from paddock_operator.networks import PLAIN, Network, offered


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The operator's settings, as far as decisions and renderings depend on them."""

    serving_image: str
    image_pull_policy: str
    weights_volume: dict[str, object]
    serving_controlplane_url: str
    gateway_url: str
    platform_key: bytes = field(repr=False)
    drain_seconds: float
    """How long gateways are given to stop sending, where what runs must go and nobody is waited for."""
    probe_interval_seconds: float
    drain_limit_seconds: float = 960.0
    """How long the requests of a copy that goes are waited for: as long as the longest request may take."""
    hub_token_secret: str = ""
    """Name of the Secret, in the weights' namespace, with the platform's token for the model hub; empty: none."""
    hub_url: str = ""
    """Base URL of the model hub; empty: the public one."""
    source_secret: str = ""
    """Name of the Secret, there too, with the platform's credentials for S3 and registries; empty: none."""
    source_endpoints: tuple[str, ...] = ()
    """URLs below which tenants' models may be fetched, beside the model hub."""
    networks: tuple[Network, ...] = field(default_factory=lambda: offered((PLAIN,)))
    """The network profiles that deployments may name; the first is the one of those that name none."""
    images: tuple[EngineImage, ...] = field(default_factory=packaged_images)
    """The images of GPU engines, with this platform's pins."""
    priority_classes: tuple[str, ...] = ()
    """Priority classes that deployments may name."""
    scheduler_names: tuple[str, ...] = ()
    """Schedulers that they may name beside the cluster's own."""
    volcano_queues: tuple[str, ...] = ()
    """Volcano's queues that they may name."""
    toleration_keys: tuple[str, ...] = ()
    """Keys of taints that they may tolerate; `*`: any."""
    cluster_queue: str = ""
    """Kueue's ClusterQueue for deployments that name no queue; empty: they are not queued."""
    allow_unpinned_images: bool = False
    """True where an image without a digest may run."""
    monitoring_namespace: str = names.PLATFORM_NAMESPACE
    """Namespace whose pods may read the metrics."""
    healing: HealingRules = field(default_factory=HealingRules)
    """How patient the platform is with copies that fail."""
    maintenance: MaintenanceSpec | None = None
    """When copies of deployments that say nothing of it may be restarted for the platform's sake; None: never."""
    given_gpus: int = 0
    """GPUs of a tenant that has no quota of its own."""
    version: str = ""
    """Of this operator."""
    endpoint_picker: str = "paddock-endpoint-picker"
    """Name of the Service that picks endpoints of an InferencePool."""
    endpoint_picker_port: int = 9002
    """Its port, without which the API takes no pool."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """What the status says of copies and revisions, beside the conditions. What a round does not judge stays."""

    revisions: tuple[RevisionStatus, ...] = ()
    rollout: RolloutStatus | None = None
    scaling: ScalingStatus | None = None
    copies: tuple[CopyStatus, ...] = ()
    quota: QuotaStatus | None = None
    drifted: bool = False

    @classmethod
    def former(cls, status: Status) -> "Life":
        """As the last round left it."""
        return cls(
            revisions=status.revisions,
            rollout=status.rollout,
            scaling=status.scaling,
            copies=status.copies,
            quota=status.quota,
            drifted=status.drifted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """What a copy waits for that comes up."""

    reason: ConditionReason
    """Loading or PodsPending."""
    text: str
    since: float
    """When something happened to it last: a pod was made, got a node, a container began. Unix seconds."""
    patience_seconds: float = 0.0
    """For so long its container is left alone while it starts."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, what to tell, and when to look again even if nothing is heard."""

    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    license: LicenseStatus | None = None
    plan: PlanStatus | None = None
    weights: WeightsStatus | None = None
    routing: RoutingStatus | None = None
    life: Life = Life()
    wanted: int | None = None
    """Copies that should answer; None where that was not decided."""
    replicas: int = 0
    ready_replicas: int = 0
    groups: int = 0
    ready_groups: int = 0
    verdict: Verdict = Verdict.STEADY
    """How far a change is."""
    note: str = ""
    """What a change waits for, or why it failed."""
    in_vain: str = ""
    """What a copy went for that is still in a queue, where fewer serve for that than are promised."""
    refused: str = ""
    """Why Kubernetes refuses copies or what they need, where it does: nothing comes of waiting."""
    slowest: Coming | None = None
    """The copy to which nothing has happened for longest, of those that come up."""
    serving_namespace: str = ""
    look_after_seconds: float | None = None
