"""Every operation of the API with every kind of token, as its own OpenAPI document describes it and as it does not.

No request makes it fail, and what it answers is what the document says. The requests are the same in every run.
"""

import asyncio
import contextlib
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from paddock_controlplane.app import create_app
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.postgres

CHECKS = [schemathesis.checks.not_a_server_error, *(status_code_conformance, content_type_conformance)]
CHECKS.append(response_schema_conformance)
CALLERS = ("platform", "acme", "internal", "signatory", "decision", "stranger", "nobody")
EXAMPLES = 3
PUBLIC = ("/healthz", "/readyz", "/metrics", "/console")
START_SECONDS = 240


class Fuzzed:
    """The application on a real socket, tokens of every kind, and ids of what is there."""

    def __init__(self, url: str, tokens: dict[str, str], known: dict[str, str]) -> None:
        self.tokens, self.known = tokens, known
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tools, about a document that uses what is newer than they are
            self.schema = schemathesis.openapi.from_url(f"{url}/openapi.json")

    def ask(self, case: Any, caller: str, *, familiar: bool) -> None:
        """Send one request and hold the answer against the document."""
        if familiar:
            _replace(case.path_parameters, self.known)
            _replace(case.body, self.known)
            _replace(case.query, self.known)
        if "wait" in (case.query or {}):
            case.query["wait"] = 0
        headers = {"authorization": f"Bearer {self.tokens[caller]}"} if self.tokens[caller] else {}
        answer = case.call(headers=headers, timeout=300)
        case.validate_response(answer, checks=CHECKS)
        if caller in ("nobody", "stranger") and not case.operation.path.startswith(PUBLIC):
            assert answer.status_code in (400, 401, 404, 405, 413, 422), f"{case.operation.label}: {answer.status_code}"
        if answer.status_code >= 400 and not case.operation.path.startswith(PUBLIC):
            assert set(answer.json()) >= {"type", "title", "status", "detail", "code"}


def _replace(values: Any, known: dict[str, str]) -> None:
    """Put ids of what is there where the request has ids of that kind."""
    if isinstance(values, dict):
        for name in values.keys() & known.keys():
            values[name] = known[name]


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """The application behind a socket, in a thread with a loop of its own."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive(), "the application ended"
        assert time.monotonic() < deadline, "the application did not start"
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(300)


@pytest.fixture(scope="module")
def fuzzed(
    server: Any, licensed_template: dict[str, str], make_settings: Any, tmp_path_factory: Any
) -> Iterator[Fuzzed]:
    """Two tenants of which one accepted the license; an offer that waits, a key, a grant."""
    name = asyncio.run(server.create("fuzzed", template="template_licensed"))
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    with served(create_app(make_settings(server.dsn(name), folder))) as url:
        tokens = {**licensed_template, "nobody": "", "stranger": "pt_not-a-token-of-anybody"}
        with httpx.Client(base_url=url, timeout=300) as client:
            tokens["signatory"], known = _prepared(client, tokens)
            asked = {"verb": "download", "model": "smollm2-135m-instruct"}
            answer = client.post("/internal/v1/decision-tokens", json=asked, headers=_bearer(tokens["internal"]))
            tokens["decision"] = answer.raise_for_status().json()["token"]
        yield Fuzzed(url, tokens, known)


def _prepared(client: httpx.Client, tokens: dict[str, str]) -> tuple[str, dict[str, str]]:
    """A signatory's token, and ids."""
    body = {"entity": "acme", "model": "smollm2-135m-instruct", "role": "deployer"}
    body["signatory"] = {"name": "Jo", "email": "jo@a.example"}  # type: ignore[assignment]
    offer = client.post("/v1/license-offers", json=body, headers=_bearer(tokens["acme"])).raise_for_status().json()
    key = client.post("/v1/tenants/acme/keys", json={}, headers=_bearer(tokens["acme"])).raise_for_status().json()
    listed = client.get("/v1/license-acceptances", headers=_bearer(tokens["platform"])).raise_for_status().json()
    known = {
        "tenant": "acme",
        "entity": "acme",
        "license": "paddock-demo",
        "model": "smollm2-135m-instruct",
        "role": "deployer",
        "key": key["id"],
        "offer": next(iter(value for name, value in offer.items() if name in ("id", "offer_id", "offer")), "off"),
        "acceptance": listed["items"][0]["id"],
        "namespace": "acme-ns",
    }
    return offer["signatory_token"], known


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_no_request_makes_it_fail(fuzzed: Fuzzed, caller: str, mode: Any) -> None:
    counted, failed = 0, []
    for found in fuzzed.schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # an unusable operation raises, and is to be mended
        asked, failure = fuzz(fuzzed, operation, caller, mode)
        counted += asked
        failed += [f"{operation.label}: {failure}"] if failure else []
    assert not failed, "\n\n".join(failed)
    assert counted > 50


def fuzz(fuzzed: Fuzzed, operation: Any, caller: str, mode: Any) -> tuple[int, str]:
    """Ask one operation some questions: how many, and what failed."""
    asked = 0

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        fuzzed.ask(case, caller, familiar=asked % 2 == 0)

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        return asked, ""  # an operation that takes nothing has nothing that could be wrong
    except (AssertionError, Failure, FailureGroup) as error:
        return asked, "; ".join(str(each) for each in getattr(error, "exceptions", [error]))
    return asked, ""
