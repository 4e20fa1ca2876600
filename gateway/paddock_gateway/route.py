"""Which deployment a request means, whether its caller may use it, and under which license."""

from dataclasses import dataclass, field

from paddock_core.audit.denials import DenialBook
from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.decide import decide
from paddock_core.licensing.notices import response_notices
from paddock_core.licensing.registration import hidden, may_deploy
from paddock_core.licensing.types import Decision, Reason, Request, Role, Verb
from paddock_core.policy.documents import Tenant
from paddock_core.policy.view import PolicyView

from paddock_gateway.authenticate import Caller
from paddock_gateway.deployments import Deployment, Revision, Routes
from paddock_gateway.errors import NOT_FOUND, RequestError, bad_request, denied


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A deployment that the caller may use, as far as ownership and access go."""

    deployment: Deployment
    owner: Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Where a request may go: the target, the revision of it, and the acceptances under which."""

    target: Target
    revision: Revision
    acceptance: str


def find_target(*, model: str, caller: Caller, routes: Routes, view: PolicyView) -> Target:
    """The deployment with this served name; a bare name if only one that the caller may use has it.

    Raises RequestError: 404 for a name that nothing has, 403 for one that the caller may not use.
    """
    name = model if "/" in model else _unique_name(model, caller, routes, view)
    deployment = routes.by_name.get(name)
    owner = None if deployment is None else view.namespace_tenant(deployment.namespace)
    if deployment is None or owner is None:
        raise _not_found(model)
    if not _has_access(deployment, owner, caller):
        raise denied(
            "AccessDenied",
            f"tenant {caller.tenant.id} may not call {name}: its owner can add it to spec.access.tenants",
        )
    if not _key_allows(name, caller):
        raise denied("ModelNotAllowed", f"this API key may not call {name}: use another key or ask your tenant's admin")
    return Target(deployment=deployment, owner=owner)


def visible_targets(*, caller: Caller, routes: Routes, view: PolicyView) -> list[Target]:
    """Every deployment that the caller may use, as far as ownership, access and its key go."""
    found: list[Target] = []
    for deployment in routes.by_name.values():
        owner = view.namespace_tenant(deployment.namespace)
        if owner is None or not _has_access(deployment, owner, caller):
            continue
        if _key_allows(deployment.name, caller):
            found.append(Target(deployment=deployment, owner=owner))
    return found


_MOST_ACCEPTANCES = 25
"""So many fit into a row of the ledger; no model has as many licenses."""


@dataclass(slots=True)
class LicenseGate:
    """License verdicts, kept while the policy view is the same one and no verdict's time is over."""

    catalog: Catalog
    denied: DenialBook = field(default_factory=DenialBook)
    """What was denied since it was last told to the control plane."""
    _view: PolicyView = field(default_factory=PolicyView.empty)
    _verdicts: dict[tuple[str, Role, str, str], Decision] = field(default_factory=dict)
    _notices: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def notices(self, *, model: str, view: PolicyView) -> tuple[str, ...]:
        """What the model's licenses want to be told with every answer."""
        self._follow(view)
        found = self._notices.get(model)
        if found is None:
            found = response_notices(model=model, registered=view.models, catalog=self.catalog)
            self._notices[model] = found
        return found

    def check(
        self, *, target: Target, model: str, caller: Caller, view: PolicyView, now: float, asked: bool = True
    ) -> str:
        """The ids of the acceptances under which the model may be asked, separated by commas ("" where none is needed).

        The caller's own come first, then those of its model's owner and of the platform.

        With `asked` false nobody wants to call the model: a denial is not counted.

        `now`: Unix seconds by the control plane's clock. Raises RequestError (403) with the decision's reason as code.
        """
        deployment, owner = target.deployment, target.owner
        if deployment.declined:
            raise denied("AcceptDeclined", f"the owner of {deployment.name} set spec.license.accept to false")
        if not may_deploy(model=model, tenant=owner, facts=view.facts()):
            raise denied(str(Reason.MODEL_UNKNOWN), hidden(model=model))
        parties = [(owner.entity, Role.DEPLOYER)]
        if caller.tenant.entity != owner.entity:
            parties.append((caller.tenant.entity, Role.CONSUMER))
        rests_on: dict[str, None] = {}
        for entity, role in parties:
            own = self._verdict(entity, role, model, deployment.purpose, view, now)
            if not own.allowed:
                if asked:
                    self._count(own, entity=entity, role=role, model=model, at=now)
                raise denied(str(own.reason), own.message)
            rests_on = dict.fromkeys((*own.acceptances, *rests_on))
        # The parties' verdicts need the operator's rights already; here it is only named.
        platform = self._verdict(view.facts().operator, Role.OPERATOR, model, deployment.purpose, view, now)
        rests_on |= dict.fromkeys(platform.acceptances)
        return ",".join(list(rests_on)[:_MOST_ACCEPTANCES])

    def _count(self, decision: Decision, *, entity: str, role: Role, model: str, at: float) -> None:
        reason, verb = decision.reason.value, Verb.INVOKE.value
        self.denied.add(entity=entity, role=role.value, verb=verb, model=model, reason=reason, at=at)

    def _follow(self, view: PolicyView) -> None:
        """What was found under another view is void."""
        if view is not self._view:
            self._view, self._verdicts, self._notices = view, {}, {}

    def _verdict(self, entity: str, role: Role, model: str, purpose: str, view: PolicyView, now: float) -> Decision:
        self._follow(view)
        key = (entity, role, model, purpose)
        decision = self._verdicts.get(key)
        if decision is None or (decision.valid_until is not None and now >= decision.valid_until):
            request = Request(
                entity=entity,
                role=role,
                verb=Verb.INVOKE,
                model=model,
                at=now,
                purpose=purpose,
            )
            decision = self._verdicts[key] = decide(request=request, facts=view.facts(), catalog=self.catalog)
        return decision


def _unique_name(model: str, caller: Caller, routes: Routes, view: PolicyView) -> str:
    names = sorted(routes.by_short_name.get(model, ()))
    usable = [
        name
        for name in names
        if (owner := view.namespace_tenant(name.partition("/")[0])) is not None
        and _has_access(routes.by_name[name], owner, caller)
    ]
    # Where the key is bound to models, the others are no candidates; if it may call none, the refusal says that.
    usable = [name for name in usable if _key_allows(name, caller)] or usable[:1]
    if len(usable) > 1:
        raise bad_request(
            "model_ambiguous", f"several deployments are called {model}: send one of {usable}", param="model"
        )
    if usable:
        return usable[0]
    raise _not_found(model)


def _has_access(deployment: Deployment, owner: Tenant, caller: Caller) -> bool:
    return caller.tenant.id == owner.id or caller.tenant.id in deployment.access


def _key_allows(name: str, caller: Caller) -> bool:
    return not caller.key.models or name in caller.key.models


def _not_found(model: str) -> RequestError:
    message = (
        f"the model {model!r} does not exist or you do not have access to it: GET /v1/models lists what you may call"
    )
    return RequestError(status=404, code="model_not_found", message=message, type=NOT_FOUND, param="model")
