"""Processes of the product beside the stack, and the acts of a license's life, for the tests of enforcement."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
from openai import OpenAI
from paddock_controlplane.decision_tokens import DecisionTokens
from paddock_core.serving.contract import SECRET_HEADER, deployment_secret
from paddock_local.demo import steps, story
from paddock_local.demo.cast import LICENSE, OPERATOR, QUESTION, SERVED, TENANTS
from paddock_local.demo.world import StoryError, World
from paddock_local.stack import Stack

from faults import books
from faults.beside import answers
from faults.books import call

SERVING = "paddock-serving-acme"
REFUSAL_SECONDS = 120


@dataclass
class Endpoint:
    """A gateway as acme's application uses it."""

    world: World
    url: str
    clients: dict[str, OpenAI] = field(default_factory=dict)

    def ask(self, *, tenant: str = "acme", model: str = SERVED) -> Any:
        """A few tokens. Raises the SDK's own errors."""
        if tenant not in self.clients:
            key = self.world.secret(f"{tenant}-key")
            self.clients[tenant] = OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120)
        messages: Any = [{"role": "user", "content": QUESTION}]
        return self.clients[tenant].chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0)

    def stream(self) -> Any:
        """As many tokens as the model will give, one by one."""
        self.ask()  # makes the client
        prompt = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,"
        return self.clients["acme"].completions.create(
            model=SERVED, prompt=prompt, max_tokens=3000, temperature=0, stream=True
        )

    def serves(self, **other: str) -> str | None:
        """The text of an answer of at least one token, or None while there is none."""
        try:
            answer = self.ask(**other)
        except openai.APIError:
            return None
        assert answer.usage.completion_tokens > 0
        return str(answer.choices[0].message.content)

    def refuses(self, **other: str) -> str | None:
        """The code of the refusal, or None while it serves."""
        try:
            self.ask(**other)
        except openai.APIStatusError as error:
            return str(error.code)
        except openai.APIConnectionError:
            return "connection"
        return None

    def close(self) -> None:
        for client in self.clients.values():
            client.close()


def eventually(probe: Any, *, what: str, seconds: float = REFUSAL_SECONDS) -> Any:
    """What `probe` answers once it is something."""
    deadline = time.monotonic() + seconds
    while (found := probe()) is None or found is False:
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for: {what}"
        time.sleep(0.1)
    return found


def acceptance(world: World, *, entity: str = TENANTS["acme"].entity, role: str = "deployer") -> str | None:
    """The id of the acceptance in force."""
    headers = {"authorization": f"Bearer {world.admin_token_file.read_text().strip()}"}
    answer = httpx.get(
        f"{world.controlplane_url}/v1/license-acceptances", params={"entity": entity}, headers=headers, timeout=120
    )
    listed = answer.raise_for_status().json()["items"]
    return next((item["id"] for item in listed if (item["role"], item["state"]) == (role, "active")), None)


def revoke(world: World, *, entity: str = TENANTS["acme"].entity, role: str = "deployer") -> str:
    """Revoke the acceptance in force; its id. Over HTTP, since a command takes longer to start than it has to do."""
    headers = {"authorization": f"Bearer {world.admin_token_file.read_text().strip()}"}
    found = acceptance(world, entity=entity, role=role)
    assert found is not None, f"{entity} has accepted nothing as {role}"
    url = f"{world.controlplane_url}/v1/license-acceptances/{found}/revoke"
    httpx.post(url, json={"reason": "a test"}, headers=headers, timeout=120).raise_for_status()
    return found


def ended_acceptance(world: World) -> str:
    """The id of an acceptance of acme's that was revoked."""
    listed = world.paddock("license", "list", "--entity", TENANTS["acme"].entity).json
    return str(next(item["id"] for item in listed if item["state"] == "revoked"))


def judged(world: World, reason: str, **where: str) -> bool:
    """Whether the license condition has this reason, read with an administrator's rights."""
    return looked(world, **where).get("LicenseAccepted", {}).get("reason") == reason


def looked(world: World, *, name: str = "smollm2", namespace: str = "acme") -> dict[str, Any]:
    """The conditions of a deployment by type."""
    arguments = ("get", "llamadeployment", name, "-n", namespace, "-o", "json")
    document = json.loads(world.kubectl(*arguments, who="kubernetes-admin").out)
    return {item["type"]: item for item in document.get("status", {}).get("conditions", [])}


def looked_at(world: World) -> None:
    """Wait until the operator has looked at acme's deployment as it is specified now.

    Its specification is changed a little, so that there is a generation to wait for.
    """
    count = world.memory["looks"] = world.memory.get("looks", 0) + 1
    patch = {"spec": {"engine": {"maxConcurrency": 2 + count % 2}}}
    world.kubectl("patch", "llamadeployment", "smollm2", "-n", "acme", "--type", "merge", "-p", json.dumps(patch))

    def done() -> bool:
        document = world.deployment()
        return bool(document["status"].get("observedGeneration") == document["metadata"]["generation"])

    eventually(done, what="the operator to look", seconds=300)


def set_up(world: World) -> None:
    """The people of the story, and acme's deployment."""
    if "set up" in world.memory:
        return
    try:
        world.deployment()
    except StoryError:
        story.prepare(world)
        for step in (steps.register, steps.apply_without_license):
            step(world)
    world.memory["set up"] = True


def accept(world: World) -> None:
    """acme's signatory accepts again."""
    if acceptance(world) is None:
        steps.accept(world, party=TENANTS["acme"], role="deployer", who="acme")


def accept_as_operator(world: World) -> None:
    """The platform's own entity accepts again."""
    if acceptance(world, entity=OPERATOR.entity, role="operator") is None:
        steps.accept(world, party=OPERATOR, role="operator", who="platform")


@dataclass(frozen=True)
class Engine:
    """acme's Triton, asked without a gateway."""

    url: str
    secret: str

    def ask(self, *, secret: str | None = None) -> int:
        """The status of a request for four tokens, 0 where nobody listens."""
        body = {"text_input": "The capital of Peru is", "streaming": False, "sampling_param_max_tokens": 4}
        headers = {} if secret is None else {SECRET_HEADER: secret}
        try:
            answer = httpx.post(f"{self.url}/v2/models/tensorrt_llm/generate", json=body, headers=headers, timeout=120)
        except httpx.TransportError:
            return 0
        return answer.status_code


def engine(world: World) -> Engine:
    """The engine that acme's deployment is served by now."""
    document = world.deployment()
    platform_key = (world.admin_token_file.parent / "platform-key").read_bytes().strip()
    secret = deployment_secret(platform_key=platform_key, deployment_uid=document["metadata"]["uid"], rotation=0)
    return Engine(url=document["status"]["routing"]["targets"][0]["endpoints"][0]["url"], secret=secret)


def apply(world: World, document: dict[str, Any], *, who: str = "acme") -> Any:
    """`kubectl apply`, whatever comes of it."""
    file = world.folder / "applied.json"
    file.write_text(json.dumps(document))
    return world.kubectl("apply", "-f", str(file), who=who, expect=None)


def deployment(
    name: str, *, namespace: str = "acme", model: str = "smollm2-135m-instruct", **spec: Any
) -> dict[str, Any]:
    """A LlamaDeployment."""
    return {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"id": model}, "engine": {"contextLength": 2048, "maxConcurrency": 2}, **spec},
    }


def pods(world: World, namespace: str = SERVING) -> list[str]:
    """Serving pods of a tenant that are there, going ones too."""
    found = world.kubectl("get", "pods", "-n", namespace, "-o", "name", who="kubernetes-admin", expect=None)
    return [line for line in found.out.split() if line]


def prepare_weights(stack: Stack, folder: Path, *, token: str) -> subprocess.CompletedProcess[str]:
    """The program of the weights Job, on a folder of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "PADDOCK_SERVING_MODEL": "smollm2-135m-instruct",
        "PADDOCK_SERVING_WEIGHTS_DIR": str(folder / "weights"),
        "PADDOCK_SERVING_CONTROLPLANE_URL": stack.url("controlplane"),
        "PADDOCK_SERVING_TERMINATION_LOG": str(folder / "said"),
        **({"PADDOCK_SERVING_DECISION_TOKEN": token} if token else {}),
    }
    return subprocess.run(
        [sys.executable, "-m", "paddock_serving.main", "prepare-weights"],
        env=environment, capture_output=True, text=True, check=False, timeout=120, cwd=folder,
    )  # fmt: skip


def ask_for_download_token(world: World, model: str) -> httpx.Response:
    """What the control plane answers the operator that wants to have a model fetched."""
    internal = (world.admin_token_file.parent / "internal-token").read_text().strip()
    return httpx.post(
        f"{world.controlplane_url}/internal/v1/decision-tokens",
        json={"verb": "download", "model": model},
        headers={"authorization": f"Bearer {internal}"},
        timeout=120,
    )


def download_token(world: World, model: str) -> str:
    """A decision token for a model's weights."""
    return str(ask_for_download_token(world, model).raise_for_status().json()["token"])


def token_for_another_model(world: World) -> str:
    """A token that the control plane itself would sign, but for a model that nobody is about to fetch."""
    key = (world.admin_token_file.parent / "platform-key").read_bytes().strip()
    return DecisionTokens(platform_key=key, seconds=600).issue(subject="llama-7b")[0]


@contextlib.contextmanager
def operators_license_ended(stack: Stack, world: World) -> Iterator[None]:
    """The platform's own entity has no license until the block ends. The operator is away, so that pods stay."""
    stack.supervisor.stop_part("operator")
    try:
        revoke(world, entity=OPERATOR.entity, role="operator")
        yield
    finally:
        accept_as_operator(world)
        stack.supervisor.start_part("operator")
        eventually(lambda: answers(f"{stack.url('operator_health')}/healthz"), what="the operator", seconds=300)


def ledger_row(world: World, answer: str) -> dict[str, Any] | None:
    """The row of an answer, by the answer's id."""
    return next((row for row in books.rows(world) if answer.endswith(row["usage_id"])), None)


def license_by_grant(world: World, *, seconds: float) -> None:
    """acme had more than 700 million users after all; the vendor's grant, reviewed by two people, ends soon."""
    grant(world, seconds=seconds)
    users = {"band": "gt_700m", "method": "counted again", "reason": "a test"}
    call(world, "POST", "/v1/license-statements", {"entity": TENANTS["acme"].entity, "license": LICENSE, **users})


def grant(world: World, *, seconds: float) -> None:
    """The vendor's grant to acme, reviewed by two people, from now on for so long."""
    document = {
        "entity": TENANTS["acme"].entity,
        "licenses": [LICENSE],
        "assurance": "document",
        "grantor": "the licensor",
        "reference": "e2e",
        "document_sha256": "0" * 64,
        "valid_from": time.time() - 60,
        "valid_to": time.time() + seconds,
    }
    made = call(world, "POST", "/v1/license-grants", document)
    for name in ("first", "second"):
        person = {"name": name, "email": f"{name}-{made['id']}@platform.example"}
        token = call(world, "POST", "/v1/license-reviewers", person)["reviewer_token"]
        call(world, "POST", f"/v1/license-grants/{made['id']}/reviews", token=token)
