"""What is rendered for a namespace as a whole, whatever is deployed there."""

from dataclasses import dataclass

from paddock_core.resources import names

from paddock_operator.kinds import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSpace:
    """One of a tenant's own namespaces."""

    namespace: str
    tenant: str

    @property
    def labels(self) -> dict[str, str]:
        return _labels(names.TENANT_SPACE, self.tenant)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSpace:
    """The namespace of the platform in which a tenant's models run."""

    tenant: str
    gpus: int
    """As many as there may be for a moment: see decision 0025."""
    resources: tuple[str, ...]
    """Names by which nodes count GPUs and parts of them."""
    pods: int
    classes: tuple[str, ...] = ()
    """Device classes from which GPUs may be claimed."""
    cluster_queue: str = ""
    apis: frozenset[Kind] = frozenset()

    @property
    def namespace(self) -> str:
        return names.serving_namespace(self.tenant)

    @property
    def labels(self) -> dict[str, str]:
        return _labels(names.SERVING_SPACE, self.tenant)


def _labels(component: str, tenant: str) -> dict[str, str]:
    return {
        names.MANAGED_BY: names.OPERATOR,
        names.PART_OF: names.PRODUCT,
        names.COMPONENT: component,
        names.TENANT: tenant,
    }
