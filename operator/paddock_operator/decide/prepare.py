"""The revision that a deployment's copies are to run: the pinned one, or a new one once all that it needs is there.

Weights and an engine are made ready while what runs goes on. What differs from the pinned revision without the tenant
having asked for it, as after an upgrade, is drift: it waits for a maintenance window.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.types import Plan
from paddock_core.resources import names
from paddock_core.resources.conditions import TRUE, ConditionReason, ConditionType, Finding, holds
from paddock_core.resources.llamadeployment import WeightsStatus
from paddock_core.serving.contract import deployment_secret

from paddock_operator.decide import copies as copies_of
from paddock_operator.decide import engine, images, license, planned, revisions, weights  # noqa: A004
from paddock_operator.decide.actions import Action
from paddock_operator.decide.maintenance import next_window
from paddock_operator.decide.outcome import Config
from paddock_operator.decide.revisions import Revision
from paddock_operator.decide.rollout.types import State
from paddock_operator.manifests.group_keys import seed
from paddock_operator.manifests.render import Rendering
from paddock_operator.observed import Observed

SECRET_ROTATION = 0
_BAD_FILES = (ConditionReason.WEIGHTS_MISMATCH, ConditionReason.WEIGHTS_CHECKSUM_MISMATCH)
MOST_SECONDS = 3600.0
"""Longer it is never waited for a window without a look: clocks are set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What is known of a deployment's revisions before anything is prepared."""

    model: ModelEntry
    tenant: str
    wish: str
    known: Mapping[str, Revision]
    chosen: Revision | None
    """The revision that answers the present wish."""
    failed: Mapping[str, str]
    denied: Mapping[str, str] = field(default_factory=dict)
    """Models that the specification names and that may not be used, and why."""

    @property
    def plan(self) -> Plan | None:
        return None if self.chosen is None else self.chosen.facts.plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """How far the revision is."""

    findings: tuple[Finding, ...]
    target: Revision | None = None
    """What copies are to run; None while it cannot be made."""
    rendering: Rendering | None = field(default=None, repr=False)
    actions: tuple[Action, ...] = ()
    wish: str = ""
    """The wish that the target answers, where that is not the present one."""
    drifted: bool = False
    taken_back: str = ""
    """Why what would be rendered otherwise now is not tried again."""
    refused: bool = False
    """True where servers have said that they cannot load the engine."""
    progress: WeightsStatus | None = None
    result: weights.Result | None = None
    look_after_seconds: float | None = None


def pinned(observed: Observed, config: Config, model: ModelEntry, *, tenant: str) -> Pinned:
    """What there is to go by."""
    found = revisions.of(observed, namespace=names.serving_namespace(tenant))
    failed = revisions.failed(observed)
    wish = revisions.wish_of(observed, model, secret=_secret(observed, config))
    return Pinned(
        model=model,
        tenant=tenant,
        wish=wish,
        known={item.name: item for item in found},
        chosen=revisions.chosen(found, wish=wish, failed=failed),
        failed=failed,
    )


def prepare(observed: Observed, config: Config, held: Pinned, plan: Plan) -> Prepared:
    """The conditions WeightsReady, ImageAccepted and EngineReady, and the revision once they hold."""
    fresh = _fresh(observed, config, held, plan)
    chosen = held.chosen
    if chosen is None:
        return fresh
    if fresh.target is not None and fresh.target.name == chosen.name:
        return replace(fresh, target=chosen)
    if fresh.refused:
        return fresh
    if _same_files(observed, held, fresh):
        return fresh if files_go(observed, held, fresh) else _pinned(observed, config, held, chosen, fresh=fresh)
    return _drifted(observed, config, held, fresh, chosen)


def served_last(observed: Observed) -> str:
    """Name of the last revision that served wholly; empty if none ever did."""
    return next((item.name for item in observed.live.status.revisions if item.state == State.CURRENT), "")


def kept(observed: Observed, config: Config, held: Pinned) -> Prepared | None:
    """The revision that served last, to be looked after until another one is ready; None where there is none."""
    current = held.known.get(served_last(observed))
    if current is None or current.going or license.denied_former(observed, current.facts.model) is not None:
        return None
    return replace(_pinned(observed, config, held, current), wish=current.wish)


def _pinned(
    observed: Observed, config: Config, held: Pinned, revision: Revision, *, fresh: Prepared | None = None
) -> Prepared:
    """A revision as it was made, whatever has to be done for a `fresh` one meanwhile."""
    facts = revision.facts
    return replace(
        fresh or Prepared(findings=()),
        target=revision,
        rendering=_rendering(observed, config, held, facts.plan, facts.weights, facts.compiled),
        drifted=observed.live.status.drifted,
    )


def _drifted(observed: Observed, config: Config, held: Pinned, fresh: Prepared, chosen: Revision) -> Prepared:
    """Another rendering than the pinned one, or one that is not ready: the pinned one stays, unless it may change."""
    tried = fresh.target is not None and fresh.target.name in held.failed
    opens = _window_opens(observed, config)
    due = opens == 0 or _serves_nothing(observed)
    if due and fresh.target is not None and not tried:
        return fresh
    rendering = _rendering(observed, config, held, chosen.facts.plan, chosen.facts.weights, chosen.facts.compiled)
    return Prepared(
        findings=_kept(fresh, chosen),
        target=chosen,
        rendering=rendering,
        # What is prepared costs something: an engine Job takes GPUs. It begins with the window.
        actions=fresh.actions if due and not tried else (),
        drifted=True,
        taken_back=_taken_back(held, fresh.target.name, chosen) if fresh.target is not None and tried else "",
        result=weights.Result(tokenizer=chosen.facts.tokenizer, weights=chosen.facts.weights, bytes=0),
        look_after_seconds=min(opens, fresh.look_after_seconds or MOST_SECONDS, MOST_SECONDS) or None,
    )


def _taken_back(held: Pinned, failed: str, chosen: Revision) -> str:
    return (
        f"what this operator renders, revision {failed}, was tried and taken back: {held.failed[failed]}; copies run"
        f" revision {chosen.name} until something else is rendered, the specification changes, or the annotation"
        f" {names.RETRY} gets another value"
    )


def _fresh(observed: Observed, config: Config, held: Pinned, plan: Plan) -> Prepared:
    """What today's code, settings and catalogue make of the wish."""
    model = held.model
    if held.chosen is not None and held.chosen.facts.basis != revisions.basis_of(model):
        _finding, newer = planned.judge(observed, config, pinned=None)
        plan = newer or plan
    prepared = weights.judge(observed, model, plan, endpoints=config.source_endpoints)
    findings: tuple[Finding, ...] = (prepared.finding,)
    made = Prepared(
        findings=findings,
        actions=prepared.actions,
        progress=prepared.progress,
        result=prepared.result,
        look_after_seconds=prepared.look_after_seconds,
    )
    if prepared.result is None:
        return replace(made, look_after_seconds=prepared.look_after_seconds or 30.0)
    pictured = images.judge(config, plan.engine)
    if pictured is not None:
        findings = (*findings, pictured)
        made = replace(made, findings=findings)
        if pictured.status != TRUE:
            return made
    compiled = engine.judge(observed, config, model, plan, weights=prepared.result.weights)
    if compiled.finding is not None:
        made = replace(made, findings=(*findings, compiled.finding))
    made = replace(made, actions=(*made.actions, *compiled.actions))
    if not compiled.ready:
        wait = compiled.look_after_seconds or 30.0
        return replace(made, refused=compiled.refused, look_after_seconds=wait)
    rendering = _rendering(observed, config, held, plan, prepared.result.weights, compiled.key)
    return replace(made, rendering=rendering, target=_revision(config, held, rendering, prepared.result))


def _revision(config: Config, held: Pinned, rendering: Rendering, result: weights.Result) -> Revision:
    """The revision of a rendering: the one that is there already, where it would be the same."""
    there = held.known.get(revisions.name_of(rendering, tokenizer=result.tokenizer))
    if there is not None and not there.going:
        return there
    source = names.model_digest(rendering.model, precision=rendering.plan.weights)
    return revisions.make(rendering, tokenizer=result.tokenizer, wish=held.wish, source=source, version=config.version)


def _kept(fresh: Prepared, chosen: Revision) -> tuple[Finding, ...]:
    """Conditions of the pinned revision: what it needs is there, whatever a newer one waits for."""
    texts = {
        ConditionType.WEIGHTS_READY: (
            ConditionReason.WEIGHTS_PREPARED,
            f"the weights of revision {chosen.name} were fetched and checked",
        ),
        ConditionType.IMAGE_ACCEPTED: (
            ConditionReason.IMAGE_PINNED,
            f"revision {chosen.name} runs in the image that it was made with: {chosen.facts.image}",
        ),
        ConditionType.ENGINE_READY: (
            ConditionReason.ENGINE_READY,
            f"the engine {(chosen.facts.compiled or '')[:12]} of revision {chosen.name} was compiled and verified",
        ),
    }
    made = []
    for finding in fresh.findings:
        if finding.status == TRUE or not isinstance(finding.type, ConditionType):
            made.append(finding)
        else:
            reason, text = texts[finding.type]
            made.append(holds(finding.type, reason, f"{text}; for a newer one: {finding.message}"))
    return tuple(made)


def files_go(observed: Observed, held: Pinned, fresh: Prepared) -> bool:
    """True if the pinned revision's own weights may not be there: no copy can be made of them. Files are removed only
    after all pods that run their model, so where one answers they stayed, unless their Job says otherwise."""
    if held.chosen is None or not _same_files(observed, held, fresh):
        return False
    facts, progress = held.chosen.facts, fresh.progress
    fetched = progress is not None and progress.bytes_done < (progress.bytes_total or 0)
    bad = any(finding.reason in _BAD_FILES for finding in fresh.findings)
    if fetched or bad or weights.ordered(observed, facts.model) is not None:
        return True
    same = {name for name, item in held.known.items() if (item.facts.model, item.facts.weights) == _files_of(facts)}
    return not any(copy.answering and copy.revision in same for copy in copies_of.of(observed))


def _files_of(facts: revisions.Facts) -> tuple[str, str]:
    return facts.model, facts.weights


def _same_files(observed: Observed, held: Pinned, fresh: Prepared) -> bool:
    """True if a Job without result is for the pinned revision's own weights: another digest's says nothing of them."""
    if fresh.result is not None or held.chosen is None:
        return False
    facts = held.chosen.facts
    now = held.model.weights.get(facts.plan.weights)
    same = now is not None and names.model_digest(held.model, precision=facts.plan.weights) == facts.source
    return same or weights.ordered(observed, held.model.id) is not None


def _serves_nothing(observed: Observed) -> bool:
    """True if a restart can take nothing from anybody: nothing has served yet, no copy is wanted, or all were given up.

    Copies that do not answer at the moment will: pods are evicted, containers restart, nodes are drained.
    """
    status = observed.live.status
    if any(copy.answering is not False for copy in copies_of.of(observed) if not copy.going):
        return False
    if not served_last(observed):
        return True
    wanted = observed.live.spec.replicas if status.scaling is None else status.scaling.desired_replicas
    given_up = {item.name for item in status.copies if item.failures and not item.retry_at}
    here = {copy.name for copy in copies_of.of(observed) if not copy.going}
    return here <= given_up and (wanted == 0 or len(given_up) >= wanted)


def _window_opens(observed: Observed, config: Config) -> float:
    """In how many seconds the platform may restart copies for its own sake: 0 while it may, infinity for never."""
    window = next_window(observed.live.spec.maintenance or config.maintenance, now=observed.now)
    return math.inf if window is None else max(0.0, window.begins - observed.now)


def _rendering(
    observed: Observed, config: Config, held: Pinned, plan: Plan, weights_digest: str, compiled: str | None
) -> Rendering:
    return Rendering(
        key=observed.key,
        uid=observed.uid,
        tenant=held.tenant,
        spec=observed.live.spec,
        model=held.model,
        plan=plan,
        weights=weights_digest,
        secret=_secret(observed, config),
        config=config,
        compiled=compiled,
        group_seed=seed(platform_key=config.platform_key, deployment_uid=observed.uid, rotation=SECRET_ROTATION),
        apis=observed.apis,
    )


def _secret(observed: Observed, config: Config) -> str:
    return deployment_secret(platform_key=config.platform_key, deployment_uid=observed.uid, rotation=SECRET_ROTATION)
