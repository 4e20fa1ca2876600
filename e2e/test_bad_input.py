"""Bad input gets a clear error at the first place that can know, and nothing is lost."""

import json
import socket

import httpx
import pytest
from paddock_local.demo.cast import SERVED
from paddock_local.demo.steps import judged

pytestmark = pytest.mark.stack

GOOD = {"model": {"id": "smollm2-135m-instruct"}, "license": {"accept": True, "id": "paddock-demo"}}
IMPOSSIBLE = {
    "tensor parallelism that does not divide the heads": (
        {"model": {"id": "llama-3.2-3b-instruct"}, "license": {"id": "llama3.2"}, "parallelism": {"tensor": 16}},
        "InvalidParallelism",
    ),
    "tensor parallelism that is no power of two": ({**GOOD, "parallelism": {"tensor": 3}}, "tensor"),
    "tensor parallelism on a CPU": ({**GOOD, "parallelism": {"tensor": 2}}, "InvalidParallelism"),
    "negative replicas": ({**GOOD, "replicas": -1}, "replicas"),
    "a quantity that is none": ({**GOOD, "engine": {"contextLength": "4Kay"}}, "contextLength"),
    "an unknown field": ({**GOOD, "colour": "red"}, "colour"),
    "another license": ({**GOOD, "license": {"id": "llama3.1"}}, "LicenseMismatch"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_kubectl_apply_refuses(world, serving, tmp_path, case):
    spec, word = IMPOSSIBLE[case]
    said = apply(world, tmp_path, name="bad", spec=spec)
    assert said.code != 0
    assert word in said.err


@pytest.mark.parametrize(("name", "word"), [("n" * 60, "40 characters"), ("llama-3.1-8b", "choose another one")])
def test_kubectl_apply_refuses_a_name_that_no_service_can_have(world, serving, tmp_path, name, word):
    said = apply(world, tmp_path, name=name, spec=GOOD)
    assert said.code != 0
    assert word in said.err


def test_a_model_that_may_still_be_registered_is_admitted_with_a_warning(world, serving, tmp_path):
    said = apply(world, tmp_path, name="later", spec={"model": {"id": "not-there-yet"}})
    assert said.code == 0
    assert "Warning" in said.err
    found = world.wait("the operator", lambda: judged(world, "ModelUnknown", name="later"), seconds=300)
    assert "paddock model list" in found["message"]
    world.kubectl("delete", "llamadeployment", "later", "-n", "acme")


def apply(world, folder, *, name, spec):
    document = {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaDeployment",
        "metadata": {"name": name, "namespace": "acme"},
        "spec": spec,
    }
    file = folder / "deployment.json"
    file.write_text(json.dumps(document))
    return world.kubectl("apply", "-f", str(file), expect=None)


CHAT = {"model": SERVED, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
REQUESTS = {
    "broken JSON": (b'{"model": ', 400, None),
    "not an object": (b"[]", 400, None),
    "an unknown model": (json.dumps({**CHAT, "model": "acme/none"}).encode(), 404, "model_not_found"),
    "too long a prompt": (
        json.dumps({**CHAT, "messages": [{"role": "user", "content": "llama " * 12000}]}).encode(),
        400,
        "context_length_exceeded",
    ),
    "negative max_tokens": (json.dumps({**CHAT, "max_tokens": -1}).encode(), 400, None),
    "a body of 20 MB": (b" " * 20_000_000, 413, None),
    "no messages": (json.dumps({"model": SERVED}).encode(), 400, None),
    "a parameter that would be ignored": (json.dumps({**CHAT, "logprobs": True}).encode(), 400, None),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_the_endpoint_refuses_as_openai_does(world, serving, case):
    body, status, code = REQUESTS[case]
    headers = {"authorization": f"Bearer {world.secret('acme-key')}", "content-type": "application/json"}
    try:
        answer = httpx.post(f"{world.gateway_url}/v1/chat/completions", content=body, headers=headers, timeout=120)
    except httpx.WriteError:
        assert status == 413
        return
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if code is not None:
        assert error["code"] == code


def test_a_body_that_stalls_is_given_up(world, serving):
    host, port = world.gateway_url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {world.secret('acme-key')}\r\n"
        "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    )
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(head.encode())
        first = connection.recv(4096).split(b"\r\n")[0]
    assert b"408" in first
