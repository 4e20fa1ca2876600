"""A tenant reaches no serving pod: not with kubectl, not over the network, not with a secret that leaked into a log."""

import httpx
import pytest
from paddock_core.serving.contract import deployment_secret

pytestmark = pytest.mark.stack

SERVING = "paddock-serving-acme"


@pytest.mark.parametrize(
    "what", ["get pods", "create pods", "create pods/exec", "create pods/portforward", "get secrets", "get configmaps"]
)
def test_a_tenant_has_no_rights_where_its_models_run(world, serving, what):
    verb, resource = what.split(" ")
    answer = world.kubectl("auth", "can-i", verb, resource, "-n", SERVING, expect=None)
    assert answer.out.strip() == "no"


def test_a_tenant_works_with_deployments_in_its_own_namespace_only(world, serving):
    own = world.kubectl("auth", "can-i", "create", "llamadeployments", "-n", "acme", expect=None)
    other = world.kubectl("auth", "can-i", "create", "llamadeployments", "-n", "globex", expect=None)
    assert (own.out.strip(), other.out.strip()) == ("yes", "no")


def test_triton_answers_nobody_without_the_secret(world, serving):
    endpoint = world.deployment()["status"]["routing"]["targets"][0]["endpoints"][0]["url"]
    body = {"text_input": "The capital of Peru is", "streaming": False, "sampling_param_max_tokens": 4}
    for path in ("generate", "generate_stream", "infer"):
        answer = httpx.post(f"{endpoint}/v2/models/tensorrt_llm/{path}", json=body, timeout=10)
        assert answer.status_code == 403, (path, answer.text)
        assert "Lima" not in answer.text


def test_no_secret_is_in_any_log(world, serving, stack_logs):
    secrets = [file.read_text().strip() for file in world.folder.iterdir() if file.name.endswith(("-admin", "-key"))]
    secrets += [file.read_text().strip() for file in world.admin_token_file.parent.iterdir() if file.is_file()]
    platform_key = (world.admin_token_file.parent / "platform-key").read_bytes().strip()
    uid = world.deployment()["metadata"]["uid"]
    secrets.append(deployment_secret(platform_key=platform_key, deployment_uid=uid, rotation=0))
    assert len(secrets) > 8
    for log in stack_logs():
        text = log.read_text(errors="replace")
        leaked = [secret[:14] for secret in secrets if secret in text]
        assert not leaked, f"{log.name} holds {leaked}"
