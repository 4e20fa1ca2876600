"""Whether an answer under way may go on: a stream may run for many minutes, and rights may end meanwhile.

It is asked by the same gate and the same copy of the policy as a new request. That costs a look-up an answer, since
verdicts are kept while the policy stays as it is.
"""

from dataclasses import replace

from paddock_gateway.authenticate import Caller, revoked
from paddock_gateway.errors import RequestError, denied, policy_expired
from paddock_gateway.route import Target
from paddock_gateway.wiring import Wiring

INTERVAL_SECONDS = 0.5
"""How often it is asked: a revocation that the gateway has heard of ends what runs within this time."""
AT_A_TIME = 100
"""Answers that are asked about before others get their turn."""


def objection(*, target: Target, model: str, caller: Caller, wiring: Wiring) -> RequestError | None:
    """Why an answer by this model may not go on, or None. Quotas and access were checked when it began, and stay as
    then; a key that ran out meanwhile was good for it, one that was revoked is not."""
    policy = wiring.policy
    if policy.expired():
        return policy_expired()
    view, deployment = policy.view, target.deployment
    owner, tenant = view.namespace_tenant(deployment.namespace), view.tenants.get(caller.tenant.id)
    if owner is None or tenant is None:
        return denied("AccessDenied", f"{deployment.name} or its caller belongs to no tenant any more")
    if caller.key.id not in view.api_keys:
        return revoked(caller.key.id)
    target, caller = replace(target, owner=owner), replace(caller, tenant=tenant)
    try:
        wiring.licenses.check(target=target, model=model, caller=caller, view=view, now=policy.now())
    except RequestError as refusal:
        return refusal
    return None
