"""What each part needs of the settings, in its own terms."""

from importlib import metadata

from paddock_operator.decide.outcome import Config
from paddock_operator.networks import offered
from paddock_operator.ports import Load
from paddock_operator.settings import OperatorSettings
from paddock_operator.tenancy.wanted import Rules


def config_of(settings: OperatorSettings) -> Config:
    """What decisions and renderings need of the settings."""
    return Config(
        serving_image=settings.serving_image,
        image_pull_policy=settings.image_pull_policy,
        images=settings.read_images(),
        given_gpus=settings.tenant_gpus,
        priority_classes=settings.priority_classes,
        scheduler_names=settings.scheduler_names,
        volcano_queues=settings.volcano_queues,
        toleration_keys=settings.toleration_keys,
        cluster_queue=settings.cluster_queue,
        allow_unpinned_images=settings.allow_unpinned_images,
        weights_volume=settings.weights_volume,
        serving_controlplane_url=settings.serving_controlplane_url or settings.controlplane_url,
        gateway_url=settings.gateway_url.rstrip("/"),
        platform_key=settings.read_secret(settings.platform_key_file),
        drain_seconds=settings.drain_seconds,
        drain_limit_seconds=settings.drain_limit_seconds,
        healing=settings.healing_rules(),
        maintenance=settings.read_maintenance(),
        version=metadata.version("paddock-llm"),
        probe_interval_seconds=settings.probe_interval_seconds,
        hub_token_secret=settings.hub_token_secret,
        hub_url=settings.hub_url,
        source_secret=settings.source_secret,
        source_endpoints=settings.source_endpoints,
        networks=offered(settings.networks, folder=settings.networks_dir),
        monitoring_namespace=settings.monitoring_namespace,
        endpoint_picker=settings.endpoint_picker,
        endpoint_picker_port=settings.endpoint_picker_port,
    )


def rules_of(settings: OperatorSettings) -> Rules:
    """What the platform decided for the namespaces of all tenants."""
    return Rules(
        given_gpus=settings.tenant_gpus,
        gpu_resource=settings.gpu_resource,
        pods=settings.tenant_pods,
        cluster_queue=settings.cluster_queue,
    )


def load_of(settings: OperatorSettings) -> Load | None:
    """What copies are tried with; None where they are not."""
    if settings.benchmark_requests == 0:
        return None
    return Load(
        requests=settings.benchmark_requests,
        concurrency=min(settings.benchmark_concurrency, settings.benchmark_requests),
        output_tokens=settings.benchmark_tokens,
        seconds=settings.benchmark_seconds,
    )
