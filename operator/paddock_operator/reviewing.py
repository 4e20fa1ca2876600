"""The webhook's questions, with what this instance knows of the cluster. `admission.py` judges them.

A write of the scale subresource is judged as the object that it makes. Every instance is asked, also one that does not
lead: so what is granted is read from statuses, and not from the ledger of the leader.
"""

from collections.abc import Callable, Iterable
from functools import partial

from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.lineage import resolve
from paddock_core.planning.fit import plan
from paddock_core.planning.types import Inventory, Plan
from paddock_core.resources.llamadeployment import LlamaDeployment, PlacementSpec

from paddock_operator.admission import Review, review
from paddock_operator.decide import quota
from paddock_operator.decide.needs import place_problem
from paddock_operator.decide.planned import ask_of
from paddock_operator.index import key_of
from paddock_operator.ports import Key, Manifest, Policy, PolicySource
from paddock_operator.settings import OperatorSettings

SCALE = "Scale"
"""Kind of what is written to the scale subresource."""


class Reviewer:
    """Answers for one operator. `stored` gives an object as it is known, `deployments` all of them, `inventory` the
    GPUs for a placement; `refused` hears of what was refused."""

    def __init__(
        self,
        *,
        settings: OperatorSettings,
        policy: PolicySource,
        catalog: Catalog,
        stored: Callable[[Key], Manifest | None],
        deployments: Callable[[], Iterable[Manifest]],
        inventory: Callable[[PlacementSpec], Inventory],
        refused: Callable[[Manifest, str, Policy], None],
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._catalog = catalog
        self._stored = stored
        self._deployments = deployments
        self._inventory = inventory
        self._refused = refused

    def judge(self, new: Manifest, old: Manifest | None) -> Review:
        """The webhook's answer about an object that is to be created, or to replace `old`."""
        if new["kind"] == SCALE:
            stored = self._stored(key_of(new))
            if stored is None:
                # This instance has not heard of it yet: the schema bounds the number, and the loop judges the rest.
                return Review()
            new, old = _scaled(stored, new), _scaled(stored, old or stored)
        policy = self._policy.current()
        answer = review(
            new=new,
            old=old,
            policy=policy,
            catalog=self._catalog,
            priorities=self._settings.priority_classes,
            placed=partial(
                place_problem,
                schedulers=self._settings.scheduler_names,
                queues=self._settings.volcano_queues,
                taints=self._settings.toleration_keys,
            ),
            charged=partial(self._lacks_gpus, policy),
            crowded=partial(self._has_enough, policy),
        )
        if answer.refusal is not None:
            self._refused(new, answer.refusal, policy)
        return answer

    def _has_enough(self, policy: Policy, namespace: str) -> str | None:
        """Why there may be no more deployments of whose the namespace is; None while there may. As far as this instance
        has heard of them: a few more get in where many are written at once."""
        most, tenant = self._settings.tenant_deployments, policy.view.namespace_tenant(namespace)
        spaces = [str(item["metadata"]["namespace"]) for item in self._deployments()]
        if tenant is None:
            count = spaces.count(namespace)
        else:
            count = sum(policy.view.namespace_tenant(space) == tenant for space in spaces)
        if count < most:
            return None
        whose = f"namespace {namespace}" if tenant is None else f"tenant {tenant.id}"
        return (
            f"{whose} has {count} LlamaDeployments, and may have {most}: delete what is not needed any more, or ask the"
            " platform team to raise tenants.deployments of the chart (PADDOCK_OPERATOR_TENANT_DEPLOYMENTS)"
        )

    def _lacks_gpus(self, policy: Policy, wished: LlamaDeployment) -> str | None:
        """Why the tenant's quota has no room for it now; None where it has, or where that cannot be said."""
        key = Key(wished.metadata["namespace"], wished.metadata["name"])
        tenant = policy.view.namespace_tenant(key.namespace)
        model = resolve(model=wished.spec.model.id, registered=policy.view.models, catalog=self._catalog)
        if policy.expired or tenant is None or model is None or not model.weights:
            return None
        cut = plan(model=model, ask=ask_of(wished.spec), inventory=self._inventory(wished.spec.placement))
        if not isinstance(cut, Plan) or not cut.gpus:
            return None
        granted, others = 0, 0
        for item in self._deployments():
            gpus = int(((item.get("status") or {}).get("quota") or {}).get("gpus", 0))
            if key_of(item) == key:
                granted = gpus
            elif gpus and policy.view.namespace_tenant(item["metadata"]["namespace"]) == tenant:
                others += gpus
        return quota.foreseen(
            wished.spec, plan=cut, tenant=tenant, given=self._settings.tenant_gpus, granted=granted, others=others
        )


def _scaled(stored: Manifest, scale: Manifest) -> Manifest:
    """The stored object with the number of copies of a Scale, or with its own."""
    return {**stored, "spec": {**stored["spec"], "replicas": (scale.get("spec") or {}).get("replicas", 0)}}
