"""What namespaces should hold, by the policy: pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paddock_core.planning.gpus import mig_resource
from paddock_core.planning.products import mig_profiles
from paddock_core.policy.view import PolicyView
from paddock_core.resources import names

from paddock_operator.decide.quota import limit_of
from paddock_operator.kinds import Kind
from paddock_operator.manifests.render import render_serving_space, render_tenant_space
from paddock_operator.manifests.spaces import ServingSpace, TenantSpace
from paddock_operator.ports import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the platform decided for all tenants."""

    given_gpus: int
    """GPUs of those that have no quota of their own."""
    gpu_resource: str
    pods: int
    """In each serving namespace."""
    cluster_queue: str
    """Empty: deployments that name no queue are not queued."""


BACKSTOP = 2
"""A copy that is going and the one after it exist side by side for a while."""


def of_tenants(view: PolicyView, existing: Iterable[str]) -> list[Manifest]:
    """What belongs into the namespaces of tenants, of those that exist."""
    made: list[Manifest] = []
    for name in sorted(existing):
        tenant = view.namespace_tenant(name)
        if tenant is not None:
            made += render_tenant_space(TenantSpace(namespace=name, tenant=tenant.id))
    return made


def of_serving(
    view: PolicyView,
    existing: Iterable[str],
    *,
    rules: Rules,
    granted: Mapping[str, int],
    apis: frozenset[Kind],
    classes: tuple[str, ...] = (),
) -> list[Manifest]:
    """What belongs into the serving namespaces that exist. `granted` is what each tenant's deployments have,
    `classes` the device classes of the cluster."""
    made: list[Manifest] = []
    for name in sorted(existing):
        tenant = view.tenants.get(names.tenant_served_in(name) or "")
        if tenant is None:
            continue
        gpus = max(limit_of(tenant, given=rules.given_gpus), granted.get(tenant.id, 0))
        space = ServingSpace(
            tenant=tenant.id,
            gpus=BACKSTOP * gpus,
            resources=resources(rules.gpu_resource),
            classes=classes,
            pods=rules.pods,
            cluster_queue=rules.cluster_queue,
            apis=apis,
        )
        made += render_serving_space(space)
    return made


def unwanted(bindings: Iterable[Manifest], view: PolicyView) -> list[Manifest]:
    """Rights in namespaces that no tenant has any more."""
    return [item for item in bindings if view.namespace_tenant(str(item["metadata"]["namespace"])) is None]


def resources(gpu_resource: str) -> tuple[str, ...]:
    """Names by which nodes count whole GPUs and the parts that are known."""
    return (gpu_resource, *sorted(mig_resource(gpu_resource, profile) for profile in mig_profiles(None)))
