"""What is made of a weights Job: how far it is, when it is tried again, from where and with whose rights it fetches."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession, web
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.catalog.types import WeightSet
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionType, Finding
from paddock_core.resources.llamadeployment import WeightsStatus
from paddock_core.serving.contract import NOT_AT_ONCE, PROGRESS_PORT
from paddock_operator.adapters.progress import HttpProgressReader
from paddock_operator.decide.actions import Delete, StartWeights
from paddock_operator.decide.desired import decide
from paddock_operator.decide.failures import parse_last_words
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.weights import INTERVAL_SECONDS
from paddock_operator.lanes import Lanes
from paddock_operator.manifests.render import WeightsRendering, render_weights
from paddock_operator.observed import Observed, WeightsJob, parse
from paddock_operator.ports import Key
from paddock_operator.report import status_of
from paddock_operator.times import parse_time
from paddock_operator.weights_progress import ProgressBook, progress_url

from faults.cluster.simulated.virtual_time import VirtualClock
from tests.operator.lanes_that_run import beside
from tests.operator.platforms import CONFIG, policy_of

MODEL = "smollm2-135m-instruct"
NOW = parse_time("2027-01-15T08:00:00Z")
PLACE = {"name": "weights-b179c9523d0e", "namespace": "paddock-weights", "uid": "j1"}


def look(helpers: Any, *more: Any, model: str = MODEL, weights: WeightsJob = WeightsJob(job=None)) -> Observed:  # noqa: B008 - it is frozen
    """A look at a deployment of acme, which is licensed."""
    objects = [*helpers.registered(), *helpers.accepted("acme-inc"), *more]
    metadata = {"namespace": "acme", "name": "chat", "uid": "u1", "generation": 1, "resourceVersion": "5"}
    deployment, _ = parse({"metadata": metadata, "spec": {"model": {"id": model}}})
    return Observed(
        key=Key("acme", "chat"),
        now=NOW,
        catalog=packaged_catalog(),
        policy=policy_of(objects),
        deployment=deployment,
        weights=weights,
    )


def finding(outcome: Outcome) -> Finding:
    return next(item for item in outcome.findings if item.type == ConditionType.WEIGHTS_READY)


def failed(words: str) -> WeightsJob:
    terminated = {"name": "prepare", "state": {"terminated": {"exitCode": 1, "message": words}}}
    condition = {"type": "Failed", "status": "True", "lastTransitionTime": "2027-01-15T08:00:00Z"}
    return WeightsJob(
        job={"metadata": PLACE, "status": {"conditions": [condition]}},
        pods=({"metadata": {"name": "p"}, "status": {"containerStatuses": [terminated]}},),
    )


@pytest.mark.parametrize(
    ("words", "reason", "pause"),
    [
        ("WeightsError: the line broke", "WeightsFailed", 120),
        ("killed from outside", "WeightsFailed", 120),
        ('Weights: gone\n{"retryAfterSeconds": 5}', "WeightsFailed", 120),
        ('WeightsChecksumMismatch: a\n{"retryAfterSeconds": 960}', "WeightsChecksumMismatch", 960),
        ('WeightsVolumeFull: 7 more bytes\n{"retryAfterSeconds": 240}', "WeightsVolumeFull", 240),
        ('WeightsMismatch: layers\n{"retryAfterSeconds": 3600}', "WeightsMismatch", 3600),
        ('DownloadDenied: no\n{"retryAfterSeconds": 120}', "DownloadDenied", 120),
        ('WeightsSourceBusy: later\n{"retryAfterSeconds": 7200}', "WeightsFailed", 7200),
        ('WeightsSourceBusy: never\n{"retryAfterSeconds": 1e9}', "WeightsFailed", 86_400),
    ],
)
def test_a_failed_job_is_tried_again_when_it_says(helpers: Any, words: str, reason: str, pause: float) -> None:
    seen = look(helpers, weights=failed(words))
    early = decide(structs.replace(seen, now=NOW + pause - 1), CONFIG)
    told = finding(early)
    assert (told.status, told.reason) == ("False", reason)
    assert words.partition("\n")[0] in told.message
    assert "retryAfterSeconds" not in told.message
    assert "kubectl" not in told.message
    assert not [action for action in early.actions if isinstance(action, Delete)]
    assert early.look_after_seconds == 1
    assert finding(decide(seen, CONFIG)).message == told.message, "it says the same until then"
    late = decide(structs.replace(seen, now=NOW + pause), CONFIG)
    assert [action.uid for action in late.actions if isinstance(action, Delete)] == ["j1"]


@given(st.text(max_size=300))
def test_any_last_words_are_words(text: str) -> None:
    words = parse_last_words(text)
    assert words.retry_after_seconds is None or words.retry_after_seconds == words.retry_after_seconds
    assert words.text in text


def running(progress: WeightsStatus | None) -> WeightsJob:
    return WeightsJob(job={"metadata": PLACE, "status": {}}, progress=progress)


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (None, "the weights are being fetched and checked"),
        (WeightsStatus(bytes_done=0, bytes_total=0), "the weights are being fetched and checked"),
        (
            WeightsStatus(bytes_done=2**30, bytes_total=4 * 2**30, eta_seconds=600),
            "the weights are being fetched and checked: 1.00 of 4.00 GiB (25 %), about 10 min left",
        ),
        (
            WeightsStatus(bytes_done=2**30, bytes_total=4 * 2**30, eta_seconds=7),
            "the weights are being fetched and checked: 1.00 of 4.00 GiB (25 %), about 7 s left",
        ),
    ],
)
def test_progress_is_in_the_condition_and_the_status(helpers: Any, progress: WeightsStatus | None, words: str) -> None:
    seen = look(helpers, weights=running(progress))
    outcome = decide(seen, CONFIG)
    assert finding(outcome).message == words
    assert finding(outcome).reason == "Preparing"
    assert outcome.look_after_seconds == INTERVAL_SECONDS
    status = status_of(seen, outcome, gateway_url="http://gateway.test")
    assert status.weights == progress
    ready = WeightsJob(
        job={"metadata": {**PLACE, "annotations": {names.RESULT: json.dumps(
            {"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 5})}}, "status": {}},
        progress=progress,
    )  # fmt: skip
    assert decide(look(helpers, weights=ready), CONFIG).weights is None


def made(helpers: Any, source: dict[str, str], *, owner: str | None = "acme") -> Any:
    weights = helpers.made_model("made").weights
    other = WeightSet(format=weights.format, bytes=weights.bytes, source=source, files=weights.files)
    return helpers.made_model("made", weights=other, owner=owner)


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ({"kind": "huggingface", "repository": "acme/tuned"}, True),
        ({"kind": "huggingface", "repository": "acme/tuned", "endpoint": "https://mirror.example"}, False),
        ({"kind": "s3", "bucket": "acme"}, True),
        ({"kind": "s3", "bucket": "acme", "endpoint": "http://10.0.0.1"}, False),
        ({"kind": "s3", "bucket": "acme", "endpoint": "https://s3.platform.example/"}, True),
        ({"kind": "oci", "repository": "registry.platform.example/acme/tuned"}, True),
        ({"kind": "oci", "repository": "registry.platform.example.evil.example/tuned"}, False),
        ({"kind": "http", "url": "https://files.platform.example/models/acme"}, True),
        ({"kind": "http", "url": "https://files.platform.example/other"}, False),
        ({"kind": "http", "url": "http://files.platform.example/models/acme"}, False),
        ({"kind": "pvc", "claim": "models-of-acme"}, True),
        ({"kind": "pvc", "claim": "models-of-globex"}, False),
        ({"kind": "pvc", "claim": "weights"}, False),
    ],
)
def test_a_tenants_model_is_fetched_only_from_where_the_platform_allows(
    helpers: Any, source: dict[str, str], allowed: bool
) -> None:
    config = replace(
        CONFIG,
        source_endpoints=(
            "https://s3.platform.example",
            "registry.platform.example/acme",
            "https://files.platform.example/models",
        ),
    )
    outcome = decide(look(helpers, made(helpers, source), model="made"), config)
    starts = [action for action in outcome.actions if isinstance(action, StartWeights)]
    assert bool(starts) is allowed
    if allowed:
        assert starts[0].owner == "acme"
    else:
        assert finding(outcome).reason == "SourceNotAllowed"
        going = decide(look(helpers, made(helpers, source), model="made", weights=running(None)), config)
        assert [action.uid for action in going.actions if isinstance(action, Delete)] == ["j1"]
        by_platform = decide(look(helpers, made(helpers, source, owner=None), model="made"), config)
        assert [action for action in by_platform.actions if isinstance(action, StartWeights)]


def rendering(source: dict[str, str], **changes: Any) -> dict[str, Any]:
    """The Job's pod for a checkpoint from a source."""
    model = packaged_catalog().models[MODEL]
    weights = {"q4_1": replace(model.weights["q4_1"], source=source)}
    values: dict[str, Any] = {
        "model": replace(model, weights=weights),
        "precision": "q4_1",
        "digest": "d" * 64,
        "licenses": (),
        "catalogued": True,
        "owner": "",
        "token": "t",
        "config": replace(CONFIG, hub_token_secret="hub", source_secret="sources", hub_url="https://mirror.example"),
    }
    job = render_weights(WeightsRendering(**{**values, **changes}))[-1]
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [NOT_AT_ONCE]
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def secrets(pod: dict[str, Any]) -> dict[str, tuple[str, str, bool]]:
    found = {}
    for variable in pod["containers"][0]["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference and variable["name"] != "PADDOCK_SERVING_DECISION_TOKEN":
            found[variable["name"]] = (reference["name"], reference["key"], reference.get("optional", False))
    return found


S3 = {"kind": "s3", "bucket": "b"}
OCI = {"kind": "oci", "repository": "r.example/m"}
HUB = {"kind": "huggingface", "repository": "o/n"}


@pytest.mark.parametrize(
    ("source", "changes", "secret", "variables"),
    [
        (S3, {}, "sources", ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_SESSION_TOKEN"]),
        (OCI, {}, "sources", ["OCI_USERNAME", "OCI_PASSWORD"]),
        (OCI, {"owner": "acme", "catalogued": False}, "source-of-acme", ["OCI_USERNAME", "OCI_PASSWORD"]),
        (OCI, {"config": CONFIG}, "", []),
        ({"kind": "local"}, {}, "", []),
        ({"kind": "http", "url": "https://x.example"}, {}, "", []),
    ],
)
def test_each_source_is_read_with_the_rights_of_whoever_chose_it(
    source: dict[str, str], changes: dict[str, Any], secret: str, variables: list[str]
) -> None:
    found = secrets(rendering(source, **changes))
    assert sorted(found) == sorted(f"PADDOCK_SERVING_{name}" for name in variables)
    assert all((name, optional) == (secret, True) for name, _, optional in found.values())


def test_the_hubs_token_is_the_platforms_or_the_tenants_own() -> None:
    assert secrets(rendering(HUB)) == {"HF_TOKEN": ("hub", "token", False)}
    tenants = {"owner": "acme", "catalogued": False}
    assert secrets(rendering(HUB, **tenants)) == {"HF_TOKEN": ("source-of-acme", "token", True)}
    assert secrets(rendering(HUB, catalogued=False)) == {}
    hub = {"name": "PADDOCK_SERVING_HUB_URL", "value": "https://mirror.example"}
    assert hub in rendering(HUB)["containers"][0]["env"]


def test_another_claim_is_mounted_to_be_read() -> None:
    pod = rendering({"kind": "pvc", "claim": "models", "path": "llama"})
    claim = {"name": "source", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
    assert claim in pod["volumes"]
    assert {"name": "source", "mountPath": "/source", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert "source" not in [volume["name"] for volume in rendering(S3)["volumes"]]


class Reader:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: WeightsStatus | None = WeightsStatus(bytes_done=1, bytes_total=2)

    async def read(self, *, url: str) -> WeightsStatus | None:
        self.asked.append(url)
        await asyncio.sleep(0)
        return self.answer


def pod(uid: str, *, phase: str = "Running", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": uid, "uid": uid, **more}, "status": {"phase": phase, "podIP": "10.0.0.9"}}


def test_a_pod_is_asked_once_an_interval_however_many_wait_for_it() -> None:
    async def scenario(clock: VirtualClock, lanes: Lanes) -> None:
        reader = Reader()
        book = ProgressBook(reader=reader, clock=clock, lanes=lanes)
        job = WeightsJob(job={}, pods=(pod("old", phase="Failed"), pod("new")))
        await asyncio.gather(*(book.asked(job) for _ in range(20)))
        assert reader.asked == [f"http://10.0.0.9:{PROGRESS_PORT}/progress"]
        assert (await book.asked(job)).progress == WeightsStatus(bytes_done=1, bytes_total=2)
        await asyncio.sleep(INTERVAL_SECONDS)
        reader.answer = None
        assert (await book.asked(job)).progress == WeightsStatus(bytes_done=1, bytes_total=2), "silence changes nothing"
        assert len(reader.asked) == 2

    beside(scenario)


@pytest.mark.parametrize(
    "silent", [pod("p", phase="Pending"), pod("p", deletionTimestamp="2027-01-15T08:00:00Z"), {"metadata": {}}]
)
def test_a_pod_that_does_not_run_is_not_asked(silent: dict[str, Any]) -> None:
    async def scenario(clock: VirtualClock, lanes: Lanes) -> None:
        reader = Reader()
        job = WeightsJob(job={}, pods=(silent,))
        assert await ProgressBook(reader=reader, clock=clock, lanes=lanes).asked(job) == job
        assert reader.asked == []

    beside(scenario)


def test_an_address_of_six_is_in_brackets() -> None:
    assert progress_url({"metadata": {}, "status": {"podIP": "fd00::1"}}).startswith("http://[fd00::1]:8003/")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b'{"bytesDone": 5, "bytesTotal": 9, "etaSeconds": 3}', (5, 9, 3)),
        (200, b'{"bytesDone": 5, "bytesTotal": 9, "etaSeconds": null}', (5, 9, None)),
        (200, b'{"bytesDone": "many"}', None),
        (200, b"[" * 10_000, None),
        (302, b"", None),
        (404, b"", None),
    ],
)
async def test_whatever_is_no_answer_is_none(status: int, body: bytes, said: Any, unused_tcp_port: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "http://127.0.0.1:1/"})

    app = web.Application()
    app.router.add_get("/progress", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        async with ClientSession() as session:
            found = await HttpProgressReader(session).read(url=f"http://127.0.0.1:{unused_tcp_port}/progress")
    finally:
        await runner.cleanup()
    assert (found and (found.bytes_done, found.bytes_total, found.eta_seconds)) == said
    async with ClientSession() as session:
        assert await HttpProgressReader(session).read(url=f"http://127.0.0.1:{unused_tcp_port}/progress") is None


async def test_a_deployment_shows_how_far_its_running_job_is(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    name, address, state = "progress", "127.77.0.9", {"bytesDone": 2**28, "bytesTotal": 2**30, "etaSeconds": 90}
    entry = packaged_catalog().models[MODEL]
    job_name = names.weights_job_name(names.model_digest(entry, precision="q4_1"))
    api.kubectl("delete", "job", job_name, "-n", "paddock-weights", "--ignore-not-found")
    policy.put(*helpers.accepted("acme-inc"))

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(state)

    app = web.Application()
    app.router.add_get("/progress", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, PROGRESS_PORT).start()
    try:
        assert api.apply(cluster_helpers.deployment(name=name)).returncode == 0
        job = await eventually(lambda: cluster_helpers.get(api, "job", job_name, "-n", "paddock-weights"))
        await asyncio.to_thread(cluster_helpers.run_weights, api, job, address=address)
        found = await eventually(
            lambda: cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")["status"].get("weights"), 60.0
        )
        assert found == state
        told = cluster_helpers.condition(api, name, "WeightsReady")
        assert told["message"].endswith(": 0.25 of 1.00 GiB (25 %), about 2 min left")
    finally:
        await runner.cleanup()
        cluster_helpers.remove_pod(api, "paddock-weights", f"{job_name}-pod")
        api.kubectl("delete", "llamadeployment", name, "-n", "acme", "--timeout=60s")
        api.kubectl("delete", "job", job_name, "-n", "paddock-weights", "--ignore-not-found")
