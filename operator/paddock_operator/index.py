"""Which LlamaDeployments exist, as far as was heard: only used to find the keys that a change elsewhere concerns."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.index import index_of
from paddock_core.licensing.lineage import resolve
from paddock_core.policy.documents import Acceptance, Entity, Grant, RegisteredModel, Statement
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_core.resources import names
from paddock_core.resources.conditions import TRUE, ConditionType

from paddock_operator.ports import Key, Manifest

ASKED_BY = ("uid", "generation", "deletionTimestamp", "labels", "annotations")
"""What of an object's metadata changes with what is asked of it: the generation for the whole specification."""


class Index:
    """Keys and the model that each wants. A list of all objects replaces it: a lost event is mended by the resync."""

    def __init__(self, catalog: Catalog, *, registered: Callable[[], Mapping[str, RegisteredModel]]) -> None:
        self._catalog = catalog
        self._registered = registered
        self._models: dict[Key, str] = {}
        self._scaled: set[Key] = set()
        self._asked: dict[Key, tuple[Any, ...]] = {}
        """All but the status and the finalizers."""

    def knows(self, key: Key) -> bool:
        """True if it was heard of."""
        return key in self._models

    def put(self, manifest: Manifest) -> bool:
        """Note an object; whether anything is asked of it that was not before: more than its status or its finalizers
        is another than when it was last noted."""
        key, metadata = key_of(manifest), manifest["metadata"]
        asked = tuple(metadata.get(name) for name in ASKED_BY)
        known, self._asked[key] = self._asked.get(key), asked
        spec = manifest.get("spec", {})
        self._models[key] = str(spec.get("model", {}).get("id", ""))
        (self._scaled.add if spec.get("scaling") else self._scaled.discard)(key)
        return known != asked

    def drop(self, key: Key) -> None:
        """Forget an object."""
        self._models.pop(key, None)
        self._asked.pop(key, None)
        self._scaled.discard(key)

    def replace(self, manifests: Iterable[Manifest]) -> None:
        """Forget everything and note these."""
        self._models.clear()
        self._asked.clear()
        self._scaled.clear()
        for manifest in manifests:
            self.put(manifest)

    def keys(self) -> list[Key]:
        """All keys."""
        return list(self._models)

    def is_scaled(self, key: Key) -> bool:
        """True if the number of its copies follows what is asked of it."""
        return key in self._scaled

    def waiting_for(self, job: str) -> list[Key]:
        """Keys whose model's weights this Job prepares."""
        return [key for key, model_id in self._models.items() if job in self._jobs_of(model_id)]

    def in_namespaces(self, namespaces: set[str] | None) -> list[Key]:
        """Keys in these namespaces; None means all."""
        return [key for key in self._models if namespaces is None or key.namespace in namespaces]

    def _jobs_of(self, model_id: str) -> set[str]:
        model = resolve(model=model_id, registered=self._registered(), catalog=self._catalog)
        if model is None:
            return set()
        digests = (names.model_digest(model, precision=precision) for precision in model.weights)
        return {names.weights_job_name(digest) for digest in digests}


def key_of(manifest: Manifest) -> Key:
    """The key of an object."""
    return Key(str(manifest["metadata"]["namespace"]), str(manifest["metadata"]["name"]))


OF_ENTITIES = ("entity", "acceptance", "statement", "grant")
"""Kinds that bear on the decisions of the entities that they name."""
NOT_OURS = frozenset({"api_key"})
"""Kinds that bear on no decision of the operator."""


def is_at_rest(manifest: Manifest) -> bool:
    """Whether the status says that all is as asked: it serves, requests reach it, and nothing is under way."""
    found = {str(item["type"]): item["status"] for item in manifest.get("status", {}).get("conditions", ())}
    reached = found.get(ConditionType.SERVING) == TRUE and found.get(ConditionType.ROUTABLE) == TRUE
    return reached and ConditionType.PROGRESSING not in found


def concerned(changes: Iterable[Change], *, before: PolicyView, after: PolicyView) -> set[str] | None:
    """Namespaces whose deployments a policy change may concern; None means all of them."""
    namespaces: set[str] = set()
    for change in changes:
        if change.kind in NOT_OURS:
            continue
        if change.kind == "namespace":
            namespaces.add(change.id)
        elif change.kind == "tenant":
            if index_of(before.facts()).hosted != index_of(after.facts()).hosted:
                # Whether the platform serves others than itself bears on every decision.
                return None
            entities = {view.tenants[change.id].entity for view in (before, after) if change.id in view.tenants}
            namespaces |= _of_tenants({change.id}, before) | _of_tenants({change.id}, after)
            namespaces |= _of_entities(entities, before) | _of_entities(entities, after)
        elif change.kind in OF_ENTITIES:
            entities = _entities(change, before)
            if _reaches_others(change, entities, before) or _reaches_others(change, entities, after):
                return None
            namespaces |= _of_entities(entities, before) | _of_entities(entities, after)
        else:
            # Texts, models and the platform's policy bear on everybody; so may a kind that this version does not know.
            return None
    return namespaces


def _reaches_others(change: Change, entities: set[str], view: PolicyView) -> bool:
    """True if others than these entities may be decided differently: by way of the platform or of affiliates."""
    if any(entity.is_operator for entity in _known(entities, view)):
        return True
    grant = view.grants.get(change.id) if change.kind == "grant" else None
    if grant is not None and grant.affiliates:
        return True
    stated = {entity for statement in view.statements.values() for entity in statement.affiliates}
    return bool(entities & (stated | set(index_of(view.facts()).groups)))


def _entities(change: Change, before: PolicyView) -> set[str]:
    """The entities that a change is about, also where it removes the object that said so."""
    if change.kind == "entity":
        return {change.id}
    fields: dict[str, Mapping[str, Acceptance | Statement | Grant]] = {
        "acceptance": before.acceptances,
        "statement": before.statements,
        "grant": before.grants,
    }
    known = fields[change.kind].get(change.id)
    named = [change.body.get("entity") if change.body else None, known.entity if known else None]
    return {str(entity) for entity in named if entity}


def _known(entities: set[str], view: PolicyView) -> list[Entity]:
    return [view.entities[entity] for entity in entities if entity in view.entities]


def _of_entities(entities: set[str], view: PolicyView) -> set[str]:
    return _of_tenants({tenant.id for tenant in view.tenants.values() if tenant.entity in entities}, view)


def _of_tenants(tenants: set[str], view: PolicyView) -> set[str]:
    return {namespace.id for namespace in view.namespaces.values() if namespace.tenant in tenants}
