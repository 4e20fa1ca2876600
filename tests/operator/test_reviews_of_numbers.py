"""What the webhook says of the number of copies: of an object, and of what is written to its scale subresource."""

from collections.abc import Iterable
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.gpus import inventory_of
from paddock_core.planning.types import Inventory
from paddock_core.policy.documents import Namespace, Tenant
from paddock_operator.admission import Review
from paddock_operator.index import key_of
from paddock_operator.ports import Manifest, Policy
from paddock_operator.reviewing import Reviewer
from paddock_operator.settings import OperatorSettings

from tests.operator.platforms import policy_of

LLAMA = "llama-3.1-8b-instruct"
SMALL = "smollm2-135m-instruct"
H100 = {
    "metadata": {
        "name": "h100-1",
        "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"},
    },
    "status": {"allocatable": {"nvidia.com/gpu": "8"}, "conditions": [{"type": "Ready", "status": "True"}]},
}


def platform(*, gpus: int | None) -> Policy:
    return policy_of(
        [
            Tenant(id="acme", entity="acme-inc", gpus=gpus),
            Tenant(id="globex", entity="globex-inc", gpus=gpus),
            Namespace(id="acme", tenant="acme"),
            Namespace(id="acme-2", tenant="acme"),
            Namespace(id="globex", tenant="globex"),
        ]
    )


class OnePolicy:
    """A policy that does not change."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def current(self) -> Policy:
        return self._policy


def deployment(name: str = "chat", *, namespace: str = "acme", granted: int = 0, model: str = LLAMA, **spec: Any
               ) -> Manifest:  # fmt: skip
    return {
        "kind": "LlamaDeployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"model": {"id": model}, "replicas": 1, **spec},
        "status": {"quota": {"gpus": granted, "limit": 8}} if granted else {},
    }


def scale(replicas: int | None, *, name: str = "chat") -> Manifest:
    """What the API server sends for the subresource: without the number where that is 0."""
    spec = {} if replicas is None else {"replicas": replicas}
    return {"kind": "Scale", "metadata": {"namespace": "acme", "name": name}, "spec": spec}


def reviewer(
    *stored: Manifest,
    gpus: int | None = 8,
    given: int = 0,
    refused: Any = None,
    nodes: Iterable[Any] = (H100,),
    most: int = 200,
) -> Reviewer:
    known = {key_of(item): item for item in stored}
    inventory = inventory_of(list(nodes))
    assert not nodes or inventory != Inventory()
    settings = OperatorSettings.model_construct(
        priority_classes=(),
        scheduler_names=(),
        volcano_queues=(),
        toleration_keys=(),
        tenant_gpus=given,
        tenant_deployments=most,
    )
    return Reviewer(
        settings=settings,
        policy=OnePolicy(platform(gpus=gpus)),
        catalog=packaged_catalog(),
        stored=known.get,
        deployments=known.values,
        inventory=lambda _placement: inventory,
        refused=refused or (lambda *_: None),
    )


def about(answer: Review, word: str) -> str:
    """The warnings from the one that begins with a word, in one text; empty if none does."""
    assert answer.refusal is None
    starts = [number for number, text in enumerate(answer.warnings) if text.startswith(f"{word}: ")]
    return " ".join(answer.warnings[starts[0] :]) if starts else ""


def test_a_quota_without_room_is_a_warning_that_names_the_command_and_never_a_refusal() -> None:
    new = deployment(replicas=9)
    text = about(reviewer().judge(new, None), "GpuQuotaExceeded")
    assert "9 copies of 1 take 9 GPUs; tenant acme may take 8" in text
    assert "Until there is room nothing is created for it" in text
    assert "`paddock quota set --tenant acme --gpus 9`" in text
    assert not about(reviewer().judge(deployment(replicas=8), None), "GpuQuotaExceeded")


def test_the_most_copies_count_and_a_tenant_without_a_quota_has_what_is_given_to_all() -> None:
    new = deployment(scaling={"maxReplicas": 9})
    assert "take 9 GPUs" in about(reviewer().judge(new, None), "GpuQuotaExceeded")
    assert "tenant acme may take 0" in about(reviewer(gpus=None).judge(deployment(), None), "GpuQuotaExceeded")
    assert not about(reviewer(gpus=None, given=1).judge(deployment(), None), "GpuQuotaExceeded")


def test_what_the_tenants_other_deployments_have_is_not_there_and_nobody_elses_counts() -> None:
    others = [deployment("a", granted=3), deployment("b", namespace="acme-2", granted=4)]
    foreign = deployment("c", namespace="globex", granted=8)
    judge = reviewer(*others, foreign).judge
    assert not about(judge(deployment(), None), "GpuQuotaExceeded")
    assert "7 are its other deployments'" in about(judge(deployment(replicas=2), None), "GpuQuotaExceeded")


def test_what_it_has_already_is_its_own() -> None:
    old = deployment(granted=8, replicas=8)
    judge = reviewer(old).judge
    assert "It keeps the 8 that it has" in about(judge(deployment(replicas=9), old), "GpuQuotaExceeded")
    # A quota that was lowered ends nothing: fewer is never warned of.
    assert not about(reviewer(old, gpus=1).judge(deployment(replicas=7), old), "GpuQuotaExceeded")


@pytest.mark.parametrize(
    ("new", "nodes"),
    [
        (deployment(model=SMALL, replicas=64), (H100,)),
        (deployment(model="nobody-knows-it", replicas=64), (H100,)),
        (deployment(replicas=64), ()),
        (deployment(namespace="nobodys", replicas=64), (H100,)),
    ],
    ids=["needs-none", "unknown-model", "no-gpu-here", "nobodys-namespace"],
)
def test_where_nothing_is_known_of_gpus_nothing_is_said_of_them(new: Manifest, nodes: Any) -> None:
    assert not about(reviewer(nodes=nodes, gpus=0).judge(new, None), "GpuQuotaExceeded")


def test_the_scale_subresource_hears_what_the_object_would() -> None:
    stored = deployment(minAvailable=3, replicas=4)
    judge = reviewer(stored).judge
    assert "9 copies of 1 take 9 GPUs" in about(judge(scale(9), scale(4)), "GpuQuotaExceeded")
    assert "asks for 3 copies, and there are 2 at most" in about(judge(scale(2), scale(4)), "MinAvailable")
    assert not about(judge(scale(3), scale(4)), "MinAvailable")
    assert not about(judge(scale(None), scale(4)), "MinAvailable"), "0 stops it, and that is all"
    assert judge(scale(4), scale(4)) == Review(), "nothing is changed"
    assert judge(scale(9, name="unheard-of"), None) == Review()


def test_who_scales_what_is_scaled_by_load_is_told() -> None:
    stored = deployment(scaling={"maxReplicas": 2})
    assert "spec.scaling decides" in about(reviewer(stored).judge(scale(2), scale(1)), "ScaledByLoad")
    assert not about(reviewer(stored).judge(deployment(scaling={"maxReplicas": 3}), stored), "ScaledByLoad")
    assert not about(reviewer(stored).judge(stored, None), "ScaledByLoad")


def test_what_is_stored_and_was_never_right_can_be_scaled_still() -> None:
    stored = deployment(parallelism={"tensor": 7})
    answer = reviewer(stored).judge(scale(0), scale(1))
    assert answer.refusal is None
    assert answer.warnings[0].startswith("InvalidParallelism: ")


def test_a_refusal_is_told_to_the_book_of_denials() -> None:
    heard: list[tuple[Manifest, str]] = []
    judge = reviewer(refused=lambda document, text, _policy: heard.append((document, text))).judge
    new = deployment(parallelism={"tensor": 7})
    assert judge(new, None).refusal is not None
    assert [document for document, _ in heard] == [new]
    assert heard[0][1].startswith("InvalidParallelism: ")


def test_a_tenant_has_so_many_deployments_and_no_more_in_all_its_namespaces() -> None:
    one, two, foreign = deployment("a"), deployment("b", namespace="acme-2"), deployment("c", namespace="globex")
    answer = reviewer(one, two, foreign, most=2).judge(deployment(), None)
    assert (answer.refusal or "").startswith("TooManyDeployments: tenant acme has 2 LlamaDeployments, and may have 2: ")
    assert reviewer(one, foreign, most=2).judge(deployment(), None).refusal is None
    changed = reviewer(one, two, most=1).judge(deployment("a", replicas=2), one)
    assert changed.refusal is None, "what is stored can always be changed"


def test_a_namespace_that_is_no_tenants_has_as_many() -> None:
    some = [deployment(name, namespace="nobodys") for name in ("a", "b")]
    judge = reviewer(*some, deployment("c", namespace="others"), most=2).judge
    refusal = judge(deployment(namespace="nobodys"), None).refusal or ""
    assert refusal.startswith("TooManyDeployments: namespace nobodys has 2 LlamaDeployments")
    assert judge(deployment(namespace="others"), None).refusal is None
