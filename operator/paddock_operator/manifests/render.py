"""From a decision to manifests: one Kubernetes kind a file, found by its folder, applied in the order of `ORDER`."""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Purge
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import Spec

from paddock_operator.decide.outcome import Config
from paddock_operator.kinds import DEPLOYMENT
from paddock_operator.ports import Key, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """All that the serving manifests of one deployment are made from."""

    key: Key
    uid: str
    tenant: str
    spec: Spec
    model: ModelEntry
    plan: Plan
    weights: str
    """Digest under which the weights lie on the volume."""
    secret: str = field(repr=False)
    config: Config

    @property
    def name(self) -> str:
        return names.serving_name(namespace=self.key.namespace, name=self.key.name)

    @property
    def namespace(self) -> str:
        return names.serving_namespace(self.tenant)

    @property
    def labels(self) -> dict[str, str]:
        return names.deployment_labels(
            namespace=self.key.namespace,
            name=self.key.name,
            uid=self.uid,
            tenant=self.tenant,
            model=self.model.id,
        )

    @property
    def selector(self) -> dict[str, str]:
        return names.pod_selector(namespace=self.key.namespace, name=self.key.name)

    def metadata(self) -> dict[str, Any]:
        """Metadata of an object of this deployment."""
        return {"name": self.name, "namespace": self.namespace, "labels": self.labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRendering:
    """All that the manifests of a weights Job are made from."""

    model: ModelEntry
    precision: str
    digest: str
    licenses: tuple[str, ...]
    """Those whose notices lie beside the files."""
    catalogued: bool
    """True for a model of the catalogue, whose source no tenant chose."""
    token: str = field(repr=False)
    config: Config

    @property
    def name(self) -> str:
        return names.weights_job_name(self.digest)

    @property
    def labels(self) -> dict[str, str]:
        return {
            names.MANAGED_BY: names.OPERATOR,
            names.PART_OF: names.PRODUCT,
            names.COMPONENT: names.WEIGHTS,
            names.MODEL: names.model_label(self.model.id),
            names.MODEL_DIGEST: self.digest[:12],
        }

    def metadata(self) -> dict[str, Any]:
        """Metadata of an object of this Job."""
        return {"name": self.name, "namespace": names.WEIGHTS_NAMESPACE, "labels": self.labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeRendering:
    """All that the manifests of a purge Job are made from."""

    order: Purge
    token: str = field(repr=False)
    config: Config

    @property
    def name(self) -> str:
        return names.purge_job_name(self.order.id)

    @property
    def labels(self) -> dict[str, str]:
        return {
            names.MANAGED_BY: names.OPERATOR,
            names.PART_OF: names.PRODUCT,
            names.COMPONENT: names.PURGE,
            names.MODEL: names.model_label(self.order.model),
            names.PURGE_ORDER: self.order.id,
        }

    def metadata(self) -> dict[str, Any]:
        """Metadata of an object of this Job."""
        return {"name": self.name, "namespace": names.WEIGHTS_NAMESPACE, "labels": self.labels}


def render_serving(rendering: Rendering) -> list[Manifest]:
    """Every manifest of a deployment, in the order in which they are to be applied."""
    return [_stamped(_render(module)(rendering)) for module in _modules("serving")]


def pods_rendering(manifests: Iterable[Manifest]) -> str:
    """The digest that pods of these manifests carry: it differs when the model repository or the secret differs."""
    deployment = next(manifest for manifest in manifests if manifest["kind"] == DEPLOYMENT.name)
    return str(deployment["spec"]["template"]["metadata"]["annotations"][names.RENDERING])


def render_weights(rendering: WeightsRendering) -> list[Manifest]:
    """Every manifest of a weights Job, in the order in which they are to be applied."""
    return [_stamped(_render(module)(rendering)) for module in _modules("weights")]


def render_purge(rendering: PurgeRendering) -> list[Manifest]:
    """Every manifest of a purge Job, in the order in which they are to be applied."""
    return [_stamped(_render(module)(rendering)) for module in _modules("purge")]


def digest_of(value: object) -> str:
    """A short digest of anything that is JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _stamped(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.RENDERING: digest_of(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _render(module: ModuleType) -> Callable[[Any], Manifest]:
    function: Callable[[Any], Manifest] = module.render
    return function


@cache
def _modules(folder: str) -> tuple[ModuleType, ...]:
    package = importlib.import_module(f"paddock_operator.manifests.{folder}")
    found = (
        importlib.import_module(f"{package.__name__}.{item.name}") for item in pkgutil.iter_modules(package.__path__)
    )
    return tuple(sorted(found, key=lambda module: int(module.ORDER)))
