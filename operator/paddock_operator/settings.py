"""Settings of the operator, from the environment with prefix PADDOCK_OPERATOR_."""

import os
import platform
from pathlib import Path
from typing import Annotated, Any

import msgspec
from paddock_core.catalog.images import EngineImage, Pin, packaged_images, with_pins
from paddock_core.planning.types import GPU_RESOURCE
from paddock_core.resources.llamadeployment import MaintenanceSpec
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from paddock_operator.decide.healing import HealingRules
from paddock_operator.decide.maintenance import read_maintenance
from paddock_operator.decide.node_faults import FaultRules
from paddock_operator.networks import PLAIN


class OperatorSettings(BaseSettings):
    """What `paddock-operator` reads. Secrets come from files and are never printed."""

    model_config = SettingsConfigDict(env_prefix="PADDOCK_OPERATOR_", use_attribute_docstrings=True)

    kubeconfig: Path | None = None
    """Kubeconfig file; unset inside a cluster, where the pod's service account is used."""

    controlplane_url: str
    """Base URL of the control plane, as the operator reaches it."""

    serving_controlplane_url: str | None = None
    """Base URL of the control plane as weights Jobs reach it; the operator's own if unset."""

    gateway_url: str
    """Base URL of the gateway, as clients reach it; shown in every deployment's status."""

    gateway_internal_urls: tuple[Annotated[str, Field(max_length=300, pattern=r"^https?://[^@\s]+$")], ...] = ()
    """Base URLs (JSON list) of the gateways' internal port. Each address of a host name is a gateway, as of a headless
    Service. Without any it is not known what gateways do: no condition Routable, no scaling by load, and a copy that
    is taken out of service is deleted after `drain_seconds`, whatever is still in it."""

    internal_token_file: Path
    """File with the token of the control plane's internal API."""

    platform_key_file: Path
    """File with the key from which each deployment's Triton secret is derived; the same as the gateway's."""

    webhook_host: str = "127.0.0.1"
    """Address on which the admission webhook listens."""

    webhook_port: int = Field(default=9443, ge=1, le=65535)
    """Port of the admission webhook."""

    webhook_cert_file: Path
    """Certificate of the admission webhook (PEM); read again when it changes."""

    webhook_key_file: Path
    """Private key of the admission webhook (PEM)."""

    health_host: str = "127.0.0.1"
    """Address of /healthz, /readyz and /metrics."""

    health_port: int = Field(default=9090, ge=1, le=65535)
    """Port of /healthz, /readyz and /metrics."""

    serving_image: str
    """Image of weights Jobs, and of serving pods whose engine the table of images does not have."""

    images: dict[str, Any] = {}
    """Where the images of GPU engines are and their digests (JSON: id to repository, tag, digest, baseDigest), as
    `paddock images pin` writes them."""

    allow_unpinned_images: bool = False
    """Whether GPU engines may run in an image without a digest, which may be another one tomorrow."""

    image_pull_policy: str = Field(default="IfNotPresent", pattern="^(Always|IfNotPresent|Never)$")
    """How the node gets the image."""

    tenant_gpus: int = Field(default=0, ge=0, le=1_000_000)
    """GPUs of each tenant for which `paddock quota set --gpus` set no quota of its own; 0: none."""

    priority_classes: tuple[str, ...] = Field(default=("paddock-batch",), max_length=50)
    """Priority classes (JSON list) that deployments may name. The chart makes paddock-standard and paddock-critical
    too, which push away deployments that name none, whosever they are."""

    scheduler_names: tuple[str, ...] = Field(default=(), max_length=50)
    """Schedulers (JSON list) that deployments may name beside the cluster's own, for example volcano."""

    volcano_queues: tuple[str, ...] = Field(default=(), max_length=1000)
    """Volcano's queues (JSON list) that deployments may name: they are no tenant's, but the whole cluster's."""

    toleration_keys: tuple[str, ...] = Field(default=(), max_length=200)
    """Keys of node taints (JSON list) that deployments may tolerate, beside that of GPU nodes; `*`: any."""

    cluster_queue: str = Field(default="", max_length=253, pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$")
    """ClusterQueue of Kueue in which deployments that name no queue of their own wait for GPUs; empty: in none."""

    tenant_pods: int = Field(default=1000, ge=1, le=1_000_000)
    """Pods that may exist in each tenant's serving namespace."""

    tenant_deployments: int = Field(default=200, ge=1, le=100_000)
    """LlamaDeployments that a tenant may have in all its namespaces, those included that do not run: every instance of
    the operator holds all of them. A namespace that is no tenant's may have as many."""

    weights_volume: dict[str, Any]
    """Volume source (JSON, as in a pod's `volumes`, without the name) that holds the weights of all models."""

    hub_token_secret: str = Field(default="", max_length=253, pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$")
    """Secret in the namespace paddock-weights whose key `token` is the platform's token for the model hub. Only Jobs
    that fetch a model of the catalogue from the hub get it."""

    gpu_resource: str = Field(default=GPU_RESOURCE, min_length=3, max_length=253)
    """Extended resource under which the device plugin counts whole GPUs; parts are counted under the same domain."""

    networks: tuple[str, ...] = Field(default=(PLAIN,), min_length=1, max_length=20)
    """Network profiles (JSON list) that deployments of several nodes may name; the first serves those that name none.
    One whose pods keep capabilities (infiniband) lowers the pod security level of all serving namespaces."""

    networks_dir: Path | None = None
    """Folder with network profiles of the platform's own (YAML); they win over packaged ones of the same name."""

    monitoring_namespace: str = "paddock-system"
    """Namespace whose pods may read the metrics of serving pods."""

    endpoint_picker: str = Field(default="paddock-endpoint-picker", pattern="^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Service, in each serving namespace, that picks endpoints where the cluster has the InferencePool API."""

    endpoint_picker_port: int = Field(default=9002, ge=1, le=65535)
    """Port of that Service."""

    hub_url: str = Field(default="", max_length=200, pattern=r"^(https?://[^@\s]+)?$")
    """Base URL of the model hub, for a mirror of it that the platform trusts with its token; empty: the public hub."""

    source_secret: str = Field(default="", max_length=253, pattern=r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$")
    """Secret in the namespace paddock-weights with the platform's credentials for S3 and registries, for models of the
    catalogue and those that the platform registered. A tenant's models have those of `source-of-<tenant>`, if there."""

    source_endpoints: tuple[Annotated[str, Field(max_length=200, pattern=r"^[^@\s]+$")], ...] = ()
    """URLs (JSON list) of S3 servers, registries, mirrors and file servers that may have tenants' models."""

    lease_namespace: str = "paddock-system"
    """Namespace of the leadership Lease."""

    cache_dir: Path
    """Folder for the last good copy of the policy."""

    identity: str = Field(default_factory=lambda: f"{platform.node()}-{os.getpid()}")
    """Name of this instance in the Lease."""

    workers: int = Field(default=8, ge=1, le=64)
    """Deployments that are reconciled side by side."""

    resync_seconds: float = Field(default=600.0, ge=10, le=86400)
    """Every so often all deployments are listed and looked at again."""

    drain_seconds: float = Field(default=3.0, ge=0, le=600)
    """How long gateways are given to stop sending, before pods are deleted."""

    maintenance: dict[str, Any] | None = None
    """When copies may be restarted for the platform's own sake, as after an upgrade (JSON: days, start, hours; UTC), of
    deployments that say nothing themselves. Unset: never; they go on as they were rendered until somebody changes them.
    """

    drain_limit_seconds: float = Field(default=960.0, ge=0, le=86400)
    """How long a copy that is taken out of service waits at most for the requests in it, as gateways tell them. With a
    minute more than the longest request that gateways allow (PADDOCK_GATEWAY_REQUEST_TIMEOUT_SECONDS), in which they
    hear of it, none is cut."""

    probe_interval_seconds: float = Field(default=30.0, ge=1, le=3600)
    """How often a serving pod is asked for a token again."""

    benchmark_requests: int = Field(default=8, ge=0, le=1000)
    """Requests with which the first answering copy of each revision is tried; 0: none is tried."""

    benchmark_concurrency: int = Field(default=4, ge=1, le=1000)
    """Of them at once."""

    benchmark_tokens: int = Field(default=32, ge=1, le=4096)
    """Most tokens of each answer."""

    benchmark_seconds: float = Field(default=60.0, ge=1, le=600)
    """A copy that has not answered them all within so long is not measured."""

    restart_budget: int = Field(default=6, ge=1, le=100)
    """After so many failures in a row a copy is not started again, until a person or another specification says so."""

    restart_pause_seconds: float = Field(default=10.0, ge=1, le=600)
    """How long a copy is left alone after its second failure; after each further one twice as long, at most 600 s."""

    restart_forget_seconds: float = Field(default=600.0, ge=10, le=86400)
    """A copy that has answered for so long has its failures forgotten."""

    partial_group_seconds: float = Field(default=90.0, ge=10, le=3600)
    """So long a group may hold GPUs while other pods of it find none; then it gives them back and is tried later."""

    hung_seconds: float = Field(default=600.0, ge=60, le=86400)
    """A copy that is ready and has generated nothing for so long has failed once more, and is made anew. Longer than
    its longest answer where it answers one request at a time, since what it is asked waits behind that. The time is
    memory of the process: a restart of the operator counts anew."""

    node_lost_seconds: float = Field(default=60.0, ge=10, le=3600)
    """A node that is not ready for so long is lost: the copies on it are placed elsewhere."""

    gpu_fault_conditions: tuple[Annotated[str, Field(pattern=r"^[\w./-]{1,200}=(True|False|Unknown)$")], ...] = (
        FaultRules().conditions
    )
    """Node conditions (JSON list of `<type>=<status>`) that mean a GPU is broken: copies leave the node."""

    gpu_fault_taints: tuple[Annotated[str, Field(min_length=1, max_length=316)], ...] = ()
    """Keys of node taints (JSON list) that mean the same."""

    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """Least level that is logged."""

    def healing_rules(self) -> HealingRules:
        """How patient the platform is with copies."""
        return HealingRules(
            budget=self.restart_budget,
            first_pause_seconds=self.restart_pause_seconds,
            forget_seconds=self.restart_forget_seconds,
            partial_seconds=self.partial_group_seconds,
            hung_seconds=self.hung_seconds,
        )

    def fault_rules(self) -> FaultRules:
        """What counts as a fault of a node."""
        return FaultRules(
            lost_seconds=self.node_lost_seconds,
            conditions=self.gpu_fault_conditions,
            taints=self.gpu_fault_taints,
            resource=self.gpu_resource,
        )

    def read_images(self) -> tuple[EngineImage, ...]:
        """The table of images with this platform's pins. Raises ValueError for a pin that makes no sense."""
        return with_pins(packaged_images(), msgspec.convert(self.images, dict[str, Pin]))

    def read_maintenance(self) -> MaintenanceSpec | None:
        """The platform's window. Raises ValueError for one that makes no sense."""
        return None if self.maintenance is None else read_maintenance(self.maintenance)

    def read_secret(self, file: Path) -> bytes:
        """The content of a secret file without surrounding white space. Raises ValueError if it is missing or empty."""
        try:
            secret = file.read_bytes().strip()
        except OSError as error:
            raise ValueError(f"cannot read the secret file {file.name}: {error.strerror}") from error
        if not secret:
            raise ValueError(f"the secret file {file.name} is empty")
        return secret
