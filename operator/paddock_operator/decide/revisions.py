"""Revisions: what a deployment's copies run, pinned when it was rendered first.

A revision is an immutable ConfigMap. It holds Triton's files, which the pods mount, and beside them everything that
makes a copy of it again: so a copy is never what today's code would render, and a new operator restarts nothing. It is
named by the digest of what the pods get to see. What else is known of it stands in annotations, which may change.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, cast

import msgspec
from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.constants import table
from paddock_core.planning.products import gpu_table
from paddock_core.planning.types import Plan
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import BenchmarkStatus, Endpoint, RolloutSpec, TargetStatus

from paddock_operator.decide.counted import digest
from paddock_operator.decide.marking import marked
from paddock_operator.decide.planned import ask_of
from paddock_operator.decide.rollout.types import State
from paddock_operator.kinds import CONFIG_MAP, LEADER_WORKER_SET, REPLICA_SET, kind_of
from paddock_operator.manifests import repository
from paddock_operator.manifests.render import (
    COPY,
    REVISION,
    REVISION_OBJECT,
    Rendering,
    digest_of,
    filled,
    render_copy,
    render_serving,
)
from paddock_operator.observed import Observed
from paddock_operator.ports import Manifest
from paddock_operator.sharing import Sharing

WORKLOADS = (REPLICA_SET, LEADER_WORKER_SET)
"""Kinds that make the pods of a copy."""
WISH = "paddock.dev/wish"
"""Annotation: digest of the tenant's wish that the revision answers."""
RENDERED_BY = "paddock.dev/rendered-by"
"""Annotation: version of the operator that rendered it."""
FACTS_KEY = "paddock.facts.json"
TEMPLATE_KEY = "paddock.template.json"
NAME_LENGTH = 8
MOST_KEPT = 4096
"""Of each thing that is worth keeping from one round to the next. What is kept can be thrown away."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a revision without looking into its manifests.

    Former operators have written it: a field that comes needs a default, here and in what lies in it.
    """

    model: str
    tokenizer: str
    weights: str
    plan: Plan
    source: str
    """Digest of the model's weights in the catalogue's terms: by it their Job is found."""
    basis: str
    """Digest of the tables that the plan was made by."""
    compiled: str | None = None
    image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One rendering of a deployment, as its ConfigMap holds it."""

    name: str
    facts: Facts
    template: str
    """The manifests of a copy as JSON, with stand-ins for names."""
    manifest: Manifest
    """Its ConfigMap, as found or as rendered."""

    @property
    def wish(self) -> str:
        return _annotation(self.manifest, WISH)

    @property
    def rendered_by(self) -> str:
        return _annotation(self.manifest, RENDERED_BY)

    @property
    def created_at(self) -> str:
        """RFC 3339; empty for one that is not there yet."""
        return str(self.manifest["metadata"].get("creationTimestamp", ""))

    @property
    def going(self) -> bool:
        return "deletionTimestamp" in self.manifest["metadata"]

    def target(self, *, weight: int, endpoints: tuple[Endpoint, ...]) -> TargetStatus:
        """What gateways are told of it."""
        return TargetStatus(
            revision=self.name,
            weight=weight,
            model=self.facts.model,
            tokenizer=self.facts.tokenizer,
            context_length=self.facts.plan.context_length,
            max_concurrency=self.facts.plan.max_concurrency,
            endpoints=endpoints,
        )

    def copy(self, name: str, *, avoids: Sequence[str] = (), draining_since: str | None = None) -> list[Manifest]:
        """The manifests of one copy, in the order in which they are to be applied; the last one makes its pods.

        `draining_since` is the mark of a drain; empty takes a mark away that is there.
        """
        values = ((COPY, name), (REVISION, self.name), (REVISION_OBJECT, str(self.manifest["metadata"]["name"])))
        return list(_copy(self.template, values, tuple(avoids), draining_since))


def of(observed: Observed, *, namespace: str | None = None) -> tuple[Revision, ...]:
    """The revisions that are there, the oldest first; only those of one namespace where it is given."""
    found = [child for child in observed.children if child.kind == CONFIG_MAP]
    if namespace is not None:
        found = [child for child in found if child.namespace == namespace]
    known = (read(child.manifest) for child in found)
    return tuple(sorted((item for item in known if item is not None), key=lambda item: (item.created_at, item.name)))


def name_in(manifest: Manifest) -> str:
    """The name of the revision in that of its ConfigMap: the label that says it too may be changed by others."""
    return str(manifest["metadata"]["name"]).rpartition("-")[2]


def read(manifest: Manifest) -> Revision | None:
    """The revision that a ConfigMap holds; None where it holds none that this program can read."""
    data, name = manifest.get("data") or {}, name_in(manifest)
    if not name or TEMPLATE_KEY not in data:
        return None
    try:
        facts = _facts(str(data.get(FACTS_KEY, "")))
    except msgspec.DecodeError:
        return None
    return Revision(name=name, facts=facts, template=str(data[TEMPLATE_KEY]), manifest=manifest)


def rendered_by(observed: Observed, revision: Revision) -> str:
    """Version of the operator that rendered it, as the status noted it when it was made: others may have changed what
    its ConfigMap says."""
    noted = (item.rendered_by for item in observed.live.status.revisions if item.name == revision.name)
    return next((version for version in noted if version), revision.rendered_by)


def failed(observed: Observed) -> dict[str, str]:
    """The revisions that have failed, and why; without those that a person wants to see tried again."""
    tried_again = retried(observed)
    found = (item for item in observed.live.status.revisions if item.state == State.FAILED)
    return {item.name: item.message for item in found if item.name not in tried_again}


def retried(observed: Observed) -> frozenset[str]:
    """The revisions that have failed and that a person wants to see tried again."""
    found = [item for item in observed.live.status.revisions if item.state == State.FAILED]
    if not found:
        return frozenset()
    asked = retry_of(observed)
    return frozenset(item.name for item in found if item.retry != asked)


def retry_of(observed: Observed) -> str:
    """What a person has asked last for a new try by: the annotation, and by what a change is judged. Empty if neither
    says anything."""
    rollout = observed.live.spec.rollout
    bar = RolloutSpec(gate=rollout.gate, deadline_seconds=rollout.deadline_seconds)
    said = "" if bar == RolloutSpec() else msgspec.json.encode(bar).decode()
    return digest([str((observed.metadata.get("annotations") or {}).get(names.RETRY, "")), said])


def benchmarks(observed: Observed) -> dict[str, BenchmarkStatus]:
    """How revisions did when they were tried, by name. One that is tried again is tried as a whole."""
    tried_again = retried(observed)
    found = {item.name: item.benchmark for item in observed.live.status.revisions if item.name not in tried_again}
    return {name: item for name, item in found.items() if item is not None} | dict(observed.benchmarks)


def chosen(known: Sequence[Revision], *, wish: str, failed: Mapping[str, str]) -> Revision | None:
    """The revision that answers a wish: the newest that did not fail, else the newest; None where there is none."""
    found = [item for item in known if item.wish == wish and not item.going]
    return next(iter(sorted(found, key=lambda item: (item.name not in failed, item.created_at), reverse=True)), None)


def wish_of(observed: Observed, model: ModelEntry, *, secret: str) -> str:
    """Digest of what the tenant wrote, as far as pods depend on it: a change of it makes a new revision at once.

    What is not said has no part in it, so that a field that comes with another version changes nobody's.
    """
    spec = observed.live.spec
    registered = observed.policy.view.models.get(model.id)
    own = None if registered is None else [registered.base, registered.precision, registered.weights]
    asked = [model.id, ask_of(spec), spec.placement, own]
    text = (msgspec.json.encode(asked), secret)
    if text not in _wishes:
        if len(_wishes) >= MOST_KEPT:
            _wishes.clear()
        _wishes[text] = digest_of([_said(msgspec.to_builtins(asked)), digest_of(secret)])
    return _wishes[text]


def basis_of(model: ModelEntry) -> str:
    """Digest of all that plans are made by, beside the wish and the nodes."""
    known = _bases.get(id(model))
    if known is None or known[0] is not model:
        if len(_bases) >= MOST_KEPT:
            _bases.clear()
        known = _bases[id(model)] = (model, digest_of([repr(model), _tables()]))
    return known[1]


def shared(rendering: Rendering) -> tuple[Manifest, ...]:
    """What all copies have in common, as rendered before from the same things where that was lately. Not to be
    changed."""
    return _shared(_Inputs(rendering))


def name_of(rendering: Rendering, *, tokenizer: str) -> str:
    """The name that a rendering has as a revision, without making its manifests where they were made before."""
    return _named(_Inputs(rendering), tokenizer)


def make(rendering: Rendering, *, tokenizer: str, wish: str, source: str, version: str) -> Revision:
    """The revision of a rendering."""
    facts = Facts(
        model=rendering.model.id,
        tokenizer=tokenizer,
        weights=rendering.weights,
        plan=rendering.plan,
        source=source,
        basis=basis_of(rendering.model),
        compiled=rendering.compiled,
        image=rendering.image,
    )
    template, data = json.dumps(render_copy(rendering), sort_keys=True), _files(rendering)
    name = _name(template, data, rendering, tokenizer)
    metadata = rendering.metadata()
    key = rendering.key
    manifest = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {
            **metadata,
            "name": names.revision_name(namespace=key.namespace, name=key.name, revision=name),
            "labels": {**metadata["labels"], names.REVISION: name},
            "annotations": {WISH: wish, RENDERED_BY: version},
        },
        "immutable": True,
        "data": {**data, FACTS_KEY: msgspec.json.encode(facts).decode(), TEMPLATE_KEY: template},
    }
    return Revision(name=name, facts=facts, template=template, manifest=manifest)


def _said(value: Any) -> Any:
    """Without what says nothing."""
    if isinstance(value, dict):
        return {name: said for name, item in value.items() if (said := _said(item)) not in (None, {}, [], "", False)}
    return [_said(item) for item in value] if isinstance(value, list) else value


def _files(rendering: Rendering) -> dict[str, str]:
    return {repository.key_of(path): text for path, text in repository.files(rendering).items()}


def _name(template: str, data: dict[str, str], rendering: Rendering, tokenizer: str) -> str:
    plan = rendering.plan
    seen = [template, data, rendering.model.id, tokenizer, plan.context_length, plan.max_concurrency]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:NAME_LENGTH]


class _Inputs:
    """A rendering that equals another one made from the same things."""

    __slots__ = ("key", "rendering")

    def __init__(self, rendering: Rendering) -> None:
        own = f"{rendering.key} {rendering.uid} {rendering.tenant}"
        apis = sorted(kind.plural for kind in rendering.apis)
        made_from = (
            f"{own} {rendering.weights} {rendering.compiled} {basis_of(rendering.model)} {rendering.secret} {apis}",
            rendering.plan,
            rendering.spec.placement,
            _digest_of_config(rendering.config),
        )
        self.key = hashlib.sha256(msgspec.json.encode(made_from)).digest()
        self.rendering: Rendering | None = rendering

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Inputs) and other.key == self.key

    def taken(self) -> Rendering:
        """The rendering, which is not kept: what is made of it is."""
        rendering, self.rendering = cast("Rendering", self.rendering), None
        return rendering


@lru_cache(maxsize=MOST_KEPT)
def _named(inputs: _Inputs, tokenizer: str) -> str:
    rendering = inputs.taken()
    return _name(json.dumps(render_copy(rendering), sort_keys=True), _files(rendering), rendering, tokenizer)


@lru_cache(maxsize=MOST_KEPT)
def _shared(inputs: _Inputs) -> tuple[Manifest, ...]:
    return tuple(_sharing.shared(manifest) for manifest in render_serving(inputs.taken()))


@lru_cache(maxsize=MOST_KEPT)
def _copy(
    template: str, values: tuple[tuple[str, str], ...], avoids: tuple[str, ...], draining_since: str | None
) -> tuple[Manifest, ...]:
    made = [filled(manifest, dict(values)) for manifest in json.loads(template)]
    found = (marked(item, avoids, draining_since) if kind_of(item) in WORKLOADS else item for item in made)
    return tuple(map(_sharing.shared, found))


@lru_cache(maxsize=MOST_KEPT)
def _facts(text: str) -> Facts:
    return msgspec.json.decode(text, type=Facts)


@cache
def _tables() -> str:
    return digest_of([repr(table()), repr(sorted(gpu_table().items()))])


_sharing = Sharing()
_bases: dict[int, tuple[ModelEntry, str]] = {}
_wishes: dict[tuple[bytes, str], str] = {}
_last_config: list[tuple[Any, str]] = []


def _digest_of_config(config: Any) -> str:
    """Settings are made once a process: the digest of the last ones is kept."""
    if not _last_config or _last_config[0][0] is not config:
        _last_config[:] = [(config, digest_of(repr(config)))]
    return _last_config[0][1]


def _annotation(manifest: Manifest, name: str) -> str:
    return str((manifest["metadata"].get("annotations") or {}).get(name, ""))
