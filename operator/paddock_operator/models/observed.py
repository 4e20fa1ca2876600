"""What one round sees of a LlamaModel."""

from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_core.catalog.loader import Catalog
from paddock_core.resources.llamamodel import FINALIZER, LlamaModel

from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import LLAMA_DEPLOYMENT, LLAMA_MODEL
from paddock_operator.observed import parse
from paddock_operator.ports import Cluster, Manifest, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedModel:
    """One look at a LlamaModel and what bears on it. `problem` says why its specification makes no sense."""

    policy: Policy
    catalog: Catalog
    now: float
    model: LlamaModel
    problem: str | None = None
    users: tuple[str, ...] = ()
    """Deployments that ask for it or still run it; only looked for when it is being deleted."""

    @property
    def metadata(self) -> dict[str, Any]:
        return self.model.metadata

    @property
    def uid(self) -> str:
        return str(self.metadata.get("uid", ""))

    @property
    def deleting(self) -> bool:
        return "deletionTimestamp" in self.metadata

    @property
    def has_finalizer(self) -> bool:
        return FINALIZER in self.metadata.get("finalizers", ())


def parse_model(document: Manifest) -> tuple[LlamaModel, str | None]:
    """A LlamaModel from its document, and what is wrong with its specification, if anything."""
    try:
        return msgspec.convert(document, LlamaModel), None
    except msgspec.ValidationError as error:
        bare = {"metadata": document["metadata"], "spec": {"base": "?"}}
        return msgspec.convert(bare, LlamaModel), str(error)


async def look(name: str, *, cluster: Cluster, policy: Policy, catalog: Catalog, now: float) -> ObservedModel | None:
    """One look; None if the object is gone. Raises ClusterError."""
    try:
        document = await cluster.get(LLAMA_MODEL, namespace=None, name=name)
    except NotFoundError:
        return None
    model, problem = parse_model(document)
    users = await _users(name, cluster) if "deletionTimestamp" in model.metadata else ()
    return ObservedModel(policy=policy, catalog=catalog, now=now, model=model, problem=problem, users=users)


async def _users(name: str, cluster: Cluster) -> tuple[str, ...]:
    """Asked freshly: a deployment that was not heard of yet must not lose its model."""
    found = []
    for manifest in (await cluster.list(LLAMA_DEPLOYMENT)).items:
        deployment, _ = parse(manifest)
        routing = deployment.status.routing
        asked = manifest.get("spec", {}).get("model", {}).get("id")
        if name == asked or any(name == target.model for target in (routing.targets if routing else ())):
            found.append(deployment.served_model_name)
    return tuple(sorted(found))
