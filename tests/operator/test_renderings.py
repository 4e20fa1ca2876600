"""Golden renderings, and rules that every rendering keeps. PADDOCK_RENEW_GOLDEN=1 renews the files: read the diff."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.lineage import resolve
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Ask, Inventory, Plan
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import LlamaDeployment, ModelSpec, PlacementSpec, Spec, Toleration
from paddock_core.resources.llamamodel import LlamaModel
from paddock_operator.manifests import pods
from paddock_operator.manifests.render import Rendering, WeightsRendering, render_weights
from paddock_operator.ports import Key

from tests.operator.platforms import CONFIG

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "smollm2-on-cpu": ("smollm2-135m-instruct", None, Ask(context_length=4096, max_concurrency=4)),
    "llama-3.1-8b-on-h100": ("llama-3.1-8b-instruct", "H100-80", Ask()),
    "llama-3.1-405b-on-h200": ("llama-3.1-405b-instruct", "H200-141", Ask()),
}


def rendering(model_id: str, gpu: str | None, ask: Ask, **changes: Any) -> Rendering:
    model = packaged_catalog().models[model_id]
    answer = plan(model=model, ask=ask, inventory=hypothetical(gpu=gpu) if gpu else Inventory())
    assert isinstance(answer, Plan)
    spec = Spec(model=ModelSpec(id=model_id), **changes.pop("spec", {}))
    values: dict[str, Any] = {
        "key": Key("acme", "chat"),
        "uid": "00000000-0000-0000-0000-000000000001",
        "tenant": "acme",
        "spec": spec,
        "model": model,
        "plan": answer,
        "weights": "b1" * 32,
        "secret": "s" * 64,
        "config": CONFIG,
    }
    return Rendering(**{**values, **changes})


@pytest.mark.parametrize("case", sorted(CASES))
def test_golden_renderings(pairs: Any, case: str) -> None:
    # As they are sent: what is the same in several places is the same object here, of which YAML would make an anchor.
    sent = msgspec.json.decode(msgspec.json.encode(pairs.manifests_of(rendering(*CASES[case]))))
    text = yaml.safe_dump_all(sent, sort_keys=False, width=120)
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("PADDOCK_RENEW_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


def weights_job(model_id: str, precision: str, **changes: Any) -> WeightsRendering:
    model = packaged_catalog().models[model_id]
    values: dict[str, Any] = {
        "model": model,
        "precision": precision,
        "digest": "b179c9523d0e" + "0" * 52,
        "licenses": model.licenses,
        "catalogued": True,
        "owner": "",
        "token": "t",
        "config": CONFIG,
    }
    return WeightsRendering(**{**values, **changes})


def test_golden_weights_job() -> None:
    text = yaml.safe_dump_all(render_weights(weights_job("smollm2-135m-instruct", "q4_1")), sort_keys=False, width=120)
    file = GOLDEN / "weights.yaml"
    if os.environ.get("PADDOCK_RENEW_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize(
    ("model", "precision", "changes", "given"),
    [
        ("llama-3.1-8b-instruct", "bf16", {}, True),
        ("llama-3.1-8b-instruct", "bf16", {"catalogued": False}, False),
        ("llama-3.1-8b-instruct", "bf16", {"config": CONFIG}, False),
        ("smollm2-135m-instruct", "q4_1", {}, False),
        ("llama-7b", "bf16", {}, False),
    ],
)
def test_the_hubs_token_goes_only_to_jobs_that_fetch_the_catalogues_own_sources_from_it(
    model: str, precision: str, changes: dict[str, Any], given: bool
) -> None:
    job = weights_job(model, precision, **{"config": replace(CONFIG, hub_token_secret="hub"), **changes})
    environment = render_weights(job)[-1]["spec"]["template"]["spec"]["containers"][0]["env"]
    found = [variable for variable in environment if variable["name"] == "HF_TOKEN"]
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    assert found == ([token] if given else [])


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_pod_keeps_the_restricted_profile(pairs: Any, case: str) -> None:
    for manifest in pairs.manifests_of(rendering(*CASES[case])):
        if manifest["kind"] != "ReplicaSet":
            continue
        pod = manifest["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
        weights = next(item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "weights")
        assert weights["readOnly"] is True


SPACE = ("Namespace", "NetworkPolicy", "NetworkPolicy", "NetworkPolicy", "ServiceAccount")


def test_deployments_share_what_says_nothing_of_one_of_them(pairs: Any) -> None:
    one, other = (rendering(*CASES["smollm2-on-cpu"], key=Key("acme", name), uid=name) for name in ("a", "b"))
    shared = [[item for item in pairs.manifests_of(made) if item["kind"] in SPACE] for made in (one, other)]
    assert shared[0] == shared[1]
    assert [item["kind"] for item in shared[0]] == [*SPACE]
    own = [item for item in pairs.manifests_of(one) if item["kind"] not in SPACE]
    assert [item["kind"] for item in own] == ["Secret", "PodDisruptionBudget", "ConfigMap", "ReplicaSet"]
    assert {item["metadata"]["labels"][names.DEPLOYMENT_NAME] for item in own} == {"a"}


def test_callers_reach_pods_that_answer_and_no_worker_of_a_group(pairs: Any) -> None:
    made = pairs.of_kind(pairs.manifests_of(rendering(*CASES["smollm2-on-cpu"])), "NetworkPolicy")
    policies = {item["metadata"]["name"]: item["spec"] for item in made}
    single, leaders = policies["callers"], policies["callers-of-groups"]
    assert single["podSelector"]["matchExpressions"] == [{"key": names.WORKER_INDEX, "operator": "DoesNotExist"}]
    assert leaders["podSelector"]["matchLabels"][names.WORKER_INDEX] == names.LEADER_INDEX
    assert single["ingress"] == leaders["ingress"]
    for spec in (single, leaders):
        chosen = {names.MANAGED_BY: names.OPERATOR, names.COMPONENT: names.SERVING}
        assert chosen.items() <= spec["podSelector"]["matchLabels"].items()
        assert all(rule["from"] for rule in spec["ingress"])
    assert policies["default-deny"]["podSelector"] == {}


def test_secret_stands_in_the_secret_alone(pairs: Any) -> None:
    secret = "find-me-" + "x" * 56
    whole = {
        item["kind"]: yaml.safe_dump(item)
        for item in pairs.manifests_of(rendering(*CASES["smollm2-on-cpu"], secret=secret))
    }
    assert [kind for kind, text in whole.items() if secret in text] == []
    import base64

    assert base64.b64encode(secret.encode()).decode() in whole["Secret"].replace("\n", "").replace(" ", "")


@pytest.mark.parametrize(
    ("changes", "restarts"),
    [
        ({"secret": "other" * 12}, True),
        ({"weights": "c2" * 32}, True),
        ({"spec": {"replicas": 3}}, False),
        ({"spec": {"access": {"tenants": ["globex"]}}}, False),
    ],
)
def test_pods_restart_only_for_what_they_read(pairs: Any, changes: dict[str, Any], restarts: bool) -> None:
    from paddock_core.resources.llamadeployment import AccessSpec

    if "access" in changes.get("spec", {}):
        changes = {"spec": {"access": AccessSpec(tenants=("globex",))}}

    def template(made: Rendering) -> Any:
        return next(item for item in pairs.manifests_of(made) if item["kind"] == "ReplicaSet")["spec"]["template"]

    case = CASES["smollm2-on-cpu"]
    assert (template(rendering(*case)) != template(rendering(*case, **changes))) is restarts


def test_placement_and_gpu_product_reach_the_pod(pairs: Any) -> None:
    placement = PlacementSpec(
        node_selector={"zone": "a"}, tolerations=(Toleration(key="dedicated", operator="Exists", effect="NoExecute"),)
    )
    made = rendering(*CASES["llama-3.1-8b-on-h100"], spec={"placement": placement})
    deployment = next(item for item in pairs.manifests_of(made) if item["kind"] == "ReplicaSet")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"zone": "a"}
    assert {"key": "dedicated", "operator": "Exists", "effect": "NoExecute"} in pod["tolerations"]
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert "NVIDIA-H100-80GB-HBM3" in terms[0]["matchExpressions"][0]["values"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_start_up_is_given_time_for_the_size_of_the_weights(pairs: Any) -> None:
    def budget(case: str) -> int:
        deployment = next(item for item in pairs.manifests_of(rendering(*CASES[case])) if item["kind"] == "ReplicaSet")
        probe = deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
        return int(probe["periodSeconds"] * probe["failureThreshold"])

    assert budget("smollm2-on-cpu") >= 60
    assert budget("llama-3.1-405b-on-h200") >= 811767808360 // (256 * 1024**2)


def test_names_fit_kubernetes_limits(pairs: Any) -> None:
    made = rendering(*CASES["smollm2-on-cpu"], key=Key("n" * 63, "d" * 40), tenant="t" * 40)
    for manifest in pairs.manifests_of(made):
        assert len(manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"].get("labels", {}).values())


def test_node_folder_needs_another_security_level() -> None:
    assert pods.namespace_security({"hostPath": {}})["pod-security.kubernetes.io/enforce"] == "privileged"
    assert pods.namespace_security({"nfs": {}})["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(("millicores", "text"), [(250, "250m"), (1000, "1"), (4000, "4"), (1500, "1500m")])
def test_cpu_quantities_are_canonical(millicores: int, text: str) -> None:
    assert pods.cpu(millicores) == text


@pytest.mark.parametrize(("size", "text"), [(1024**3, "1Gi"), (1024**2, "1Mi"), (1, "1Mi"), (1536 * 1024**2, "1536Mi")])
def test_memory_quantities_are_canonical(size: int, text: str) -> None:
    assert pods.memory(size) == text


def test_examples_are_deployments_of_models_that_they_or_the_catalogue_have() -> None:
    folder = Path(__file__).resolve().parents[2] / "examples"
    documents = [item for file in sorted(folder.glob("*.yaml")) for item in yaml.safe_load_all(file.read_text())]
    models = [msgspec.convert(item, LlamaModel).registered() for item in documents if item.get("kind") == "LlamaModel"]
    made = [msgspec.convert(item, LlamaDeployment) for item in documents if item.get("kind") == "LlamaDeployment"]
    assert models
    for deployment in made:
        known = {model.id: model for model in models}
        model = resolve(model=deployment.spec.model.id, registered=known, catalog=packaged_catalog())
        assert model is not None
        assert deployment.spec.license.id in model.licenses
