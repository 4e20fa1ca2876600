"""The chart renders from the same settings as the processes read, and Helm itself finds nothing wrong."""

import hashlib
import importlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from paddock_local import golang
from paddock_local.progress import Progress
from paddock_operator.events import WEBHOOK_PATH, WEBHOOKS
from paddock_operator.settings import OperatorSettings
from pydantic_settings import BaseSettings

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "paddock"


def settings_of(part: str) -> type[BaseSettings]:
    """The settings class of a part, found as it names itself."""
    if part == "operator":
        return OperatorSettings
    found: type[BaseSettings] = importlib.import_module(f"paddock_{part}.settings").Settings
    return found


@pytest.mark.parametrize("part", ["operator", "controlplane", "gateway"])
def test_environment_of_the_templates_are_settings_and_required_settings_are_there(part: str) -> None:
    prefix = f"PADDOCK_{part.upper()}_"
    text = (CHART / "templates" / f"{part}.yaml").read_text()
    rendered = {name.removeprefix(prefix).lower() for name in re.findall(rf"name: ({prefix}[A-Z_]+)", text)}
    fields = settings_of(part).model_fields
    assert rendered <= set(fields), "a variable that no setting reads"
    required = {name for name, field in fields.items() if field.is_required()}
    assert required <= rendered, "a required setting that the chart does not give"


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm v4, built from our Go module and kept beside the Kubernetes binary (about two minutes, once)."""
    module = REPOSITORY / "local" / "helm"
    digest = hashlib.sha256((module / "go.mod").read_bytes() + (module / "go.sum").read_bytes()).hexdigest()[:24]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paddock" / "helm" / digest
    program = cache / "helm"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        go = golang.find(REPOSITORY, Progress())
        part = cache / f"helm.{os.getpid()}.part"
        subprocess.run(
            [str(go), "build", "-trimpath", "-ldflags", "-s -w", "-o", str(part), "helm.sh/helm/v4/cmd/helm"],
            cwd=module,
            env=golang.environment(go),
            check=True,
            timeout=900,
        )
        part.replace(program)
    return program


def run_helm(helm: Path, *arguments: str) -> str:
    done = subprocess.run([str(helm), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1000)
def test_helm_lints_and_the_api_server_takes_what_it_renders(api: Any, helm: Path) -> None:
    lint = run_helm(helm, "lint", str(CHART), "--strict", "--namespace", "paddock-system")
    assert "0 chart(s) failed" in lint
    text = run_helm(helm, "template", "paddock", str(CHART), "--namespace", "paddock-system")
    documents = [document for document in yaml.safe_load_all(text) if document]
    kinds = {document["kind"] for document in documents}
    assert {"Deployment", "StatefulSet", "Service", "ClusterRole", "ValidatingWebhookConfiguration"} <= kinds
    done = api.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(1000)
def test_each_part_is_given_the_secret_files_that_it_reads_and_no_others(helm: Path) -> None:
    text = run_helm(helm, "template", "paddock", str(CHART), "--namespace", "paddock-system")
    parts = [item for item in yaml.safe_load_all(text) if item and item["kind"] in ("Deployment", "StatefulSet")]
    assert len(parts) == 3
    for part in parts:
        pod = part["spec"]["template"]["spec"]
        containers = [*pod.get("initContainers", ()), *pod["containers"]]
        values = [item.get("value", "") for container in containers for item in container["env"]]
        read = {value.removeprefix("/secrets/platform/") for value in values if value.startswith("/secrets/platform/")}
        volume = next(item["secret"] for item in pod["volumes"] if item["name"] == "platform")
        assert {item["key"] for item in volume["items"]} == read
        assert all(item["key"] == item["path"] for item in volume["items"])


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", ["", "hub"])
def test_the_hubs_token_is_a_secret_that_the_values_name(name: str, helm: Path) -> None:
    text = run_helm(
        helm, "template", "paddock", str(CHART), "-n", "paddock-system", f"--set=serving.hubTokenSecret={name}"
    )
    parts = [item for item in yaml.safe_load_all(text) if item and item["kind"] == "Deployment"]
    containers = [container for part in parts for container in part["spec"]["template"]["spec"]["containers"]]
    variables = [item for container in containers for item in container["env"]]
    assert [item["value"] for item in variables if item["name"] == "PADDOCK_OPERATOR_HUB_TOKEN_SECRET"] == [name]


@pytest.mark.timeout(1000)
def test_where_weights_come_from_reaches_the_operator(helm: Path) -> None:
    given = {"hubUrl": "https://mirror.example", "sourceSecret": "sources"}
    flags = [f"--set=serving.{name}={value}" for name, value in given.items()]
    listed = "--set-json=serving.sourceEndpoints=" + json.dumps(["https://s3.example", "registry.example/acme"])
    text = run_helm(helm, "template", "paddock", str(CHART), "-n", "paddock-system", *flags, listed)
    parts = [item for item in yaml.safe_load_all(text) if item and item["kind"] == "Deployment"]
    values = {
        item["name"]: item.get("value")
        for part in parts
        for container in part["spec"]["template"]["spec"]["containers"]
        for item in container["env"]
    }
    assert values["PADDOCK_OPERATOR_HUB_URL"] == "https://mirror.example"
    assert values["PADDOCK_OPERATOR_SOURCE_SECRET"] == "sources"
    assert json.loads(values["PADDOCK_OPERATOR_SOURCE_ENDPOINTS"]) == ["https://s3.example", "registry.example/acme"]


@pytest.mark.timeout(1000)
def test_a_gateway_that_ends_lets_the_longest_request_end(helm: Path) -> None:
    text = run_helm(helm, "template", "paddock", str(CHART), "-n", "paddock-system")
    gateway = next(item for item in yaml.safe_load_all(text) if item and item["kind"] == "StatefulSet")
    pod = gateway["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {item["name"]: item.get("value") for item in container["env"]}
    assert "PADDOCK_GATEWAY_REQUEST_TIMEOUT_SECONDS" not in given
    longest = settings_of("gateway").model_fields["request_timeout_seconds"].default
    stopping = float(given["PADDOCK_GATEWAY_SHUTDOWN_SECONDS"])
    assert longest <= stopping < pod["terminationGracePeriodSeconds"]
    budgets = [item for item in yaml.safe_load_all(text) if item and item["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == 3


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("part", ["operator", "controlplane", "gateway"])
def test_one_part_can_be_upgraded_alone(part: str, helm: Path) -> None:
    text = run_helm(helm, "template", "paddock", str(CHART), "-n", "paddock-system", f"--set={part}.image.tag=9.9.9")
    workloads = [item for item in yaml.safe_load_all(text) if item and item["kind"] in ("Deployment", "StatefulSet")]
    pods = {item["metadata"]["name"]: item["spec"]["template"]["spec"] for item in workloads}
    of = {
        name: {each["image"].rpartition(":")[2] for each in [*pod.get("initContainers", ()), *pod["containers"]]}
        for name, pod in pods.items()
    }
    assert [name for name, tags in of.items() if "9.9.9" in tags] == [f"paddock-{part}"]
    assert all(len(tags) == 1 for tags in of.values())


@pytest.mark.timeout(1000)
def test_wrong_values_are_refused(helm: Path) -> None:
    with pytest.raises(AssertionError, match="gatewayUrl"):
        run_helm(helm, "template", "paddock", str(CHART), "-n", "paddock-system", "--set", "gatewayUrl=not-a-url")
    with pytest.raises(AssertionError, match="install Paddock into the namespace paddock-system"):
        run_helm(helm, "template", "paddock", str(CHART), "-n", "elsewhere")


def test_custom_resources_of_the_chart_are_those_of_the_repository() -> None:
    own = {file.name: file.read_text() for file in (REPOSITORY / "crds").iterdir()}
    assert {file.name: file.read_text() for file in (CHART / "crds").iterdir()} == own
    assert len(own) == 2


def test_webhooks_guard_what_is_new_and_never_bar_a_change_or_a_deletion() -> None:
    hooks = yaml.safe_load((CHART / "files" / "webhook.yaml").read_text())["webhooks"]
    policies = {}
    for hook in hooks:
        rule = hook["rules"][0]
        assert len(hook["rules"]) == len(rule["resources"]) == len(rule["operations"]) == 1
        end = rule["resources"][0].replace("/", "-")
        assert hook["clientConfig"]["service"]["path"] == f"{WEBHOOK_PATH}/{end}"
        policies[end, rule["operations"][0]] = hook["failurePolicy"]
    # There is nothing to create of a subresource.
    expected = {(path, "CREATE"): "Fail" for path, (_, subresource) in WEBHOOKS.items() if subresource is None}
    assert policies == expected | {(path, "UPDATE"): "Ignore" for path in WEBHOOKS}


@pytest.mark.timeout(1000)
def test_every_webhook_is_given_the_authority(helm: Path) -> None:
    chosen = ("--set", "operator.webhook.caBundle=PEM", "--set", "operator.webhook.certManagerInjectFrom=a/b")
    text = run_helm(helm, "template", "paddock", str(CHART), "--namespace", "paddock-system", *chosen)
    kind = "ValidatingWebhookConfiguration"
    found = next(item for item in yaml.safe_load_all(text) if item and item["kind"] == kind)
    assert {hook["clientConfig"]["caBundle"] for hook in found["webhooks"]} == {"UEVN"}
    assert found["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": "a/b"}


def test_operator_may_not_read_secrets_and_tenants_reach_no_pod() -> None:
    def rules(name: str) -> list[dict[str, list[str]]]:
        documents = yaml.safe_load_all((CHART / "files" / "rbac" / f"{name}.yaml").read_text())
        return [rule for document in documents if document["kind"] == "ClusterRole" for rule in document["rules"]]

    for rule in rules("operator"):
        if "secrets" in rule["resources"]:
            assert not {"get", "list", "watch", "*"} & set(rule["verbs"])
    for rule in rules("tenant"):
        assert not {"pods", "pods/exec", "pods/portforward", "secrets", "*"} & set(rule["resources"])
    assert all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in rules("gateway"))
