"""Which LlamaDeployments exist, as far as was heard: only used to find the keys that a change elsewhere concerns."""

from collections.abc import Iterable, Mapping

from paddock_core.catalog.loader import Catalog
from paddock_core.policy.documents import Acceptance, Entity, Grant, Statement
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_core.resources import names

from paddock_operator.ports import Key, Manifest


class Index:
    """Keys and the model that each wants. A list of all objects replaces it: a lost event is mended by the resync."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._models: dict[Key, str] = {}

    def put(self, manifest: Manifest) -> Key:
        """Note an object."""
        key = key_of(manifest)
        self._models[key] = str(manifest.get("spec", {}).get("model", {}).get("id", ""))
        return key

    def drop(self, key: Key) -> None:
        """Forget an object."""
        self._models.pop(key, None)

    def replace(self, manifests: Iterable[Manifest]) -> None:
        """Forget everything and note these."""
        self._models.clear()
        for manifest in manifests:
            self.put(manifest)

    def keys(self) -> list[Key]:
        """All keys."""
        return list(self._models)

    def waiting_for(self, job: str) -> list[Key]:
        """Keys whose model's weights this Job prepares."""
        return [key for key, model_id in self._models.items() if job in self._jobs_of(model_id)]

    def in_namespaces(self, namespaces: set[str] | None) -> list[Key]:
        """Keys in these namespaces; None means all."""
        return [key for key in self._models if namespaces is None or key.namespace in namespaces]

    def _jobs_of(self, model_id: str) -> set[str]:
        model = self._catalog.model(model_id)
        if model is None:
            return set()
        digests = (names.model_digest(model, precision=precision) for precision in model.weights)
        return {names.weights_job_name(digest) for digest in digests}


def key_of(manifest: Manifest) -> Key:
    """The key of an object."""
    return Key(str(manifest["metadata"]["namespace"]), str(manifest["metadata"]["name"]))


ENTITY_KINDS = ("acceptance", "statement", "grant")


def concerned(changes: Iterable[Change], *, before: PolicyView, after: PolicyView) -> set[str] | None:
    """Namespaces whose deployments a policy change may concern; None means all of them."""
    namespaces: set[str] = set()
    for change in changes:
        if change.kind == "license_text":
            return None
        if change.kind == "namespace":
            namespaces.add(change.id)
        elif change.kind == "tenant":
            namespaces |= _of_tenants({change.id}, before) | _of_tenants({change.id}, after)
        elif change.kind == "entity" or change.kind in ENTITY_KINDS:
            entities = _entities(change, before)
            if any(entity.is_operator for view in (before, after) for entity in _known(entities, view)):
                return None
            namespaces |= _of_entities(entities, before) | _of_entities(entities, after)
    return namespaces


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
