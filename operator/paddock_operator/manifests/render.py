"""From a decision to manifests: one Kubernetes kind a file, found by its folder, applied in the order of `ORDER`."""

import hashlib
import importlib
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, cast

from paddock_core.catalog.types import ModelEntry
from paddock_core.engines.request import EngineRequest
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Purge
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import PlacementSpec, Spec

from paddock_operator.decide.engine_size import JobSize
from paddock_operator.decide.images import image_of
from paddock_operator.decide.outcome import Config
from paddock_operator.kinds import Kind
from paddock_operator.manifests.spaces import ServingSpace, TenantSpace
from paddock_operator.networks import Network
from paddock_operator.ports import Key, Manifest

COPY = "$(copy)"
"""Stands for the copy's name in what is rendered once for all copies of a revision."""
REVISION = "$(revision)"
"""Stands there for the revision's name."""
REVISION_OBJECT = "$(revision-object)"
"""Stands there for the name of its ConfigMap."""


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
    compiled: str | None = None
    """Key of the compiled engine; None for engines that load the weights themselves."""
    group_seed: bytes = field(repr=False, default=b"")
    """32 bytes from which the key pair of its groups is made."""
    apis: frozenset[Kind] = frozenset()
    """Which of the kinds that a cluster may lack this one has."""

    @property
    def spans_pods(self) -> bool:
        """True if one copy is a group of pods."""
        return self.plan.pods_per_group > 1

    @property
    def image(self) -> str:
        """What the pods run in: the image of their engine, else the platform's general one."""
        return image_of(self.config, self.plan.engine)

    @property
    def network(self) -> Network:
        """The profile of the traffic inside a group; the platform's first where none is named or offered."""
        asked = self.spec.placement.network
        found = (item for item in self.config.networks if item.name == asked)
        return next(found, self.config.networks[0])

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

    @property
    def endpoints(self) -> dict[str, str]:
        """Labels of the pods that answer: of a group its leader alone."""
        return {**self.selector, names.WORKER_INDEX: names.LEADER_INDEX} if self.spans_pods else self.selector

    def metadata(self) -> dict[str, Any]:
        """Metadata of an object of this deployment."""
        return {"name": self.name, "namespace": self.namespace, "labels": self.labels}

    @property
    def copy_labels(self) -> dict[str, str]:
        """Labels of everything that belongs to one copy, its pods too."""
        group = {names.GROUP: COPY} if self.spans_pods else {}
        return {**self.labels, names.COPY: COPY, names.REVISION: REVISION, **group}

    def copy_metadata(self) -> dict[str, Any]:
        """Metadata of an object of one copy."""
        return {"name": COPY, "namespace": self.namespace, "labels": self.copy_labels}


class VolumeJob(ABC):
    """A Job that works on the weights volume, by what its objects are called."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """Of each of its objects."""

    @property
    @abstractmethod
    def labels(self) -> dict[str, str]:
        """Of each of its objects."""

    def metadata(self) -> dict[str, Any]:
        """Metadata of an object of this Job."""
        return {"name": self.name, "namespace": names.WEIGHTS_NAMESPACE, "labels": self.labels}


def volume_job_labels(*, component: str, model: str) -> dict[str, str]:
    """The labels that every such Job has; `model` is a catalogue id."""
    return {
        names.MANAGED_BY: names.OPERATOR,
        names.PART_OF: names.PRODUCT,
        names.COMPONENT: component,
        names.MODEL: names.model_label(model),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRendering(VolumeJob):
    """All that the manifests of an engine Job are made from."""

    model: ModelEntry
    plan: Plan
    request: EngineRequest
    digest: str
    """Of the model's weights, as their Job has it."""
    key: str
    size: JobSize
    placement: PlacementSpec
    """Of the deployment that asks first: others that need the same engine wait for the same Job."""
    config: Config

    @property
    def name(self) -> str:
        return names.engine_job_name(self.key)

    @property
    def labels(self) -> dict[str, str]:
        return {
            **volume_job_labels(component=names.ENGINE, model=self.model.id),
            names.MODEL_DIGEST: self.digest[:12],
            names.ENGINE_KEY: self.key[:12],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRendering(VolumeJob):
    """All that the manifests of a weights Job are made from."""

    model: ModelEntry
    precision: str
    digest: str
    licenses: tuple[str, ...]
    """Those whose notices lie beside the files."""
    catalogued: bool
    """True for a model of the catalogue, whose source no tenant chose."""
    owner: str
    """The tenant that registered it; empty for the platform's own."""
    token: str = field(repr=False)
    config: Config

    @property
    def name(self) -> str:
        return names.weights_job_name(self.digest)

    @property
    def labels(self) -> dict[str, str]:
        return {
            **volume_job_labels(component=names.WEIGHTS, model=self.model.id),
            names.MODEL_DIGEST: self.digest[:12],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeRendering(VolumeJob):
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
            **volume_job_labels(component=names.PURGE, model=self.order.model),
            names.PURGE_ORDER: self.order.id,
        }


def render_serving(rendering: Rendering) -> list[Manifest]:
    """What all copies of a deployment have in common, in the order in which it is to be applied."""
    return _rendered("serving", rendering)


def render_copy(rendering: Rendering) -> list[Manifest]:
    """What each copy has, in the order in which it is to be applied, with COPY and REVISION in place of names."""
    return _rendered("copy", rendering)


def filled(manifest: Manifest, values: Mapping[str, str]) -> Manifest:
    """The same manifest with real names: each string that is one of the stand-ins is replaced, and no part of one."""
    made = _filled(manifest, values)
    return cast("Manifest", made)


def render_engine(rendering: EngineRendering) -> list[Manifest]:
    """Every manifest of an engine Job, in the order in which they are to be applied."""
    return _rendered("engine", rendering)


def render_weights(rendering: WeightsRendering) -> list[Manifest]:
    """Every manifest of a weights Job, in the order in which they are to be applied."""
    return _rendered("weights", rendering)


def render_purge(rendering: PurgeRendering) -> list[Manifest]:
    """Every manifest of a purge Job, in the order in which they are to be applied."""
    return _rendered("purge", rendering)


def render_tenant_space(space: TenantSpace) -> list[Manifest]:
    """What a tenant's own namespace gets."""
    return _rendered("tenant_space", space)


def render_serving_space(space: ServingSpace) -> list[Manifest]:
    """What the namespace gets in which a tenant's models run, beside what each deployment needs there."""
    return _rendered("serving_space", space)


def digest_of(value: object) -> str:
    """A short digest of anything that is JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _rendered(folder: str, rendering: object) -> list[Manifest]:
    """A module renders one manifest, or a list where there may be several or none."""
    made = (_render(module)(rendering) for module in _modules(folder))
    return [_stamped(item) for found in made for item in (found if isinstance(found, list) else [found])]


def _stamped(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.RENDERING: digest_of(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return values.get(value, value) if isinstance(value, str) else value


def _render(module: ModuleType) -> Callable[[Any], Manifest | list[Manifest]]:
    function: Callable[[Any], Manifest | list[Manifest]] = module.render
    return function


@cache
def _modules(folder: str) -> tuple[ModuleType, ...]:
    package = importlib.import_module(f"paddock_operator.manifests.{folder}")
    found = (
        importlib.import_module(f"{package.__name__}.{item.name}") for item in pkgutil.iter_modules(package.__path__)
    )
    return tuple(sorted(found, key=lambda module: int(module.ORDER)))
