"""The webhook's certificate is replaced while it is asked all the time."""

import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from faults.cluster.outcome import Outcome
from faults.cluster.process import Scene, scene
from faults.cluster.stage import Stage, http_of, tests_helper
from faults.cluster.webhook import LOOPBACK, Webhook, issued

ROW = 13
WHAT = "the webhook's certificate is replaced {size} times while objects are created and new connections are made to it"
PASS = "0 failed calls; the new one is shown within 10 s"
SHORT, FULL = 2, 20
LIMIT_SECONDS = 10.0
BETWEEN_SECONDS = 0.5


def play(stage: Stage, size: int) -> Outcome:
    """Some ask through the API server, which keeps its connections, others make a new one for each question."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(scene(stage))
        # Each keeps a connection of its own to the API server.
        clients = [stack.enter_context(http_of(made.api)) for _ in range(2)]
        process = made.operator()
        webhook = Webhook(made, port=int(process.settings["webhook_port"]))
        # What is issued already is not part of what is timed.
        pairs = [issued(made.folder, f"rotated-{number}") for number in range(size)]
        webhook.install()
        try:
            made.until("the webhook to refuse", lambda: "LicenseMismatch" in webhook.says(document(made, mit=True)))
            questions = [created(made, client) for client in clients] + [asked(made, webhook, process)]
            callers = [Caller(question) for question in questions]
            slowest = 0.0
            try:
                for pair in pairs:
                    began = time.monotonic()
                    webhook.serve(pair)
                    slowest = max(slowest, time.monotonic() - began)
                    time.sleep(BETWEEN_SECONDS)
            finally:
                for caller in callers:
                    caller.stop()
        finally:
            webhook.remove()
    calls, failed = sum(caller.calls for caller in callers), [text for caller in callers for text in caller.failed]
    text = f"{size} certificates under {calls} calls: {len(failed)} failed; shown within {slowest:.1f} s"
    passed = not failed and slowest <= LIMIT_SECONDS and all(caller.calls for caller in callers)
    return Outcome(measured="; ".join([text, *failed[:3]]), passed=passed)


class Caller:
    """Asks again and again in a thread of its own; a question answers what went wrong, or nothing."""

    def __init__(self, question: Callable[[], str]) -> None:
        self.calls = 0
        self.failed: list[str] = []
        self._question = question
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            try:
                wrong = self._question()
            except httpx.HTTPError as error:
                wrong = repr(error)
            self.calls += 1
            self.failed += [wrong] if wrong else []

    def stop(self) -> None:
        """And wait for the last answer."""
        self._ended.set()
        self._thread.join()


def created(made: Scene, client: httpx.Client) -> Callable[[], str]:
    """Creates a LlamaDeployment, as a trial: the API server asks the webhook."""
    path = f"/apis/paddock.dev/v1alpha1/namespaces/{made.tenant}/llamadeployments?dryRun=All"

    def question() -> str:
        answer = client.post(path, json=document(made))
        return "" if answer.is_success else f"{answer.status_code}: {answer.text[:200]}"

    return question


def asked(made: Scene, webhook: Webhook, process: Any) -> Callable[[], str]:
    """Asks the webhook itself, by a new connection that trusts the authority alone."""
    context = ssl.create_default_context(cadata=webhook.bundle.decode())
    url = f"https://{LOOPBACK}:{process.settings['webhook_port']}/admit/llamadeployments"
    kind = {"group": "paddock.dev", "version": "v1alpha1", "kind": "LlamaDeployment"}
    resource = {"group": "paddock.dev", "version": "v1alpha1", "resource": "llamadeployments"}
    request = {
        "uid": "1", "kind": kind, "resource": resource, "operation": "CREATE", "namespace": made.tenant,
        "name": "asked", "userInfo": {"username": "faults"}, "dryRun": True, "object": document(made),
    }  # fmt: skip
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}

    def question() -> str:
        answer = httpx.post(url, json=review, verify=context, timeout=30)
        allowed = answer.is_success and answer.json()["response"]["allowed"]
        return "" if allowed else f"{answer.status_code}: {answer.text[:200]}"

    return question


def document(made: Scene, *, mit: bool = False) -> dict[str, Any]:
    """One that is in order, or one that the webhook refuses."""
    spec = {"license": {"id": "mit"}} if mit else {}
    found: dict[str, Any] = tests_helper("cluster_parts").deployment(name="asked", namespace=made.tenant, **spec)
    return found
