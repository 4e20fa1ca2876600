"""The decision of a round: rules one by one, and properties over arbitrary looks."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType
from paddock_core.resources.llamadeployment import Condition
from paddock_operator.decide import copies, revisions
from paddock_operator.decide.actions import (
    AddFinalizer,
    Apply,
    Delete,
    RecordResult,
    RemoveFinalizer,
    StartWeights,
)
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Outcome
from paddock_operator.kinds import CONFIG_MAP, NETWORK_POLICY, POD, REPLICA_SET, SECRET, SERVICE_ACCOUNT
from paddock_operator.observed import Child, Observed, WeightsJob, parse
from paddock_operator.ports import Key, Policy

from tests.operator.platforms import CONFIG, licensed, policy_of

NOW = 1_800_000_000.0
MODEL = "smollm2-135m-instruct"
KEY = Key("acme", "chat")
NAME = names.serving_name(namespace="acme", name="chat")
COPY = names.copy_name(namespace="acme", name="chat", revision="0123abcd", index=0)
RESULT = json.dumps({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 98362432})


@pytest.fixture(scope="module")
def policies(helpers: Any) -> dict[str, Policy]:
    allowed = policy_of([*helpers.registered(), *helpers.accepted("acme-inc")])
    return {
        "licensed": allowed,
        "registered": policy_of(helpers.registered()),
        "licensed for both": licensed("llama3.2"),
        "expired": replace(allowed, expired=True),
        "empty": Policy(view=PolicyView.empty(), expired=False, at=NOW),
    }


def look(policy: Policy, **changes: Any) -> Observed:
    """A look at a fresh deployment of the demo model; `spec`, `status` and `metadata` change the object."""
    spec = {"model": {"id": "smollm2-135m-instruct"}, **changes.pop("spec", {})}
    metadata = {
        "namespace": "acme",
        "name": "chat",
        "uid": "u1",
        "generation": 1,
        "resourceVersion": "5",
        **changes.pop("metadata", {}),
    }
    document = {"metadata": metadata, "spec": spec, "status": changes.pop("status", {})}
    deployment, problem = parse(document)
    return Observed(
        key=KEY,
        now=NOW,
        catalog=packaged_catalog(),
        policy=policy,
        deployment=deployment,
        problem=problem,
        **changes,
    )


def child(kind: Any, *, uid: str = "c1", owner: str = "u1", name: str = NAME, **more: Any) -> Child:
    labels = {names.DEPLOYMENT_NAMESPACE: "acme", names.DEPLOYMENT_NAME: "chat", names.DEPLOYMENT_UID: owner}
    metadata = {"name": name, "namespace": "paddock-serving-acme", "uid": uid, "labels": labels}
    return Child(kind=kind, manifest={"metadata": {**metadata, **more.pop("metadata", {})}, **more})


def pod(*, uid: str = "p1", copy: str = COPY, ready: bool = True, **more: Any) -> Child:
    """A pod of a copy."""
    status = {"conditions": [{"type": "Ready", "status": str(ready)}], "podIP": "10.0.0.9"}
    made = child(POD, uid=uid, name=f"{copy}-{uid}", spec={"nodeName": "n"}, status=more.pop("status", status), **more)
    made.manifest["metadata"]["labels"] |= {names.COPY: copy, names.REVISION: copy.split("-")[-2]}
    return made


def workload(name: str = COPY) -> Child:
    """What makes the pods of a copy."""
    made = child(REPLICA_SET, name=name)
    made.manifest["metadata"]["labels"] |= {names.COPY: name, names.REVISION: name.split("-")[-2]}
    return made


def job(**changes: Any) -> WeightsJob:
    metadata = {"name": "weights-b179c9523d0e", "namespace": "paddock-weights", "uid": "j1", **changes}
    return WeightsJob(job={"metadata": metadata, "status": {}})


DONE = job(annotations={names.RESULT: RESULT})


def endpoints(outcome: Outcome) -> list[str]:
    targets = () if outcome.routing is None else outcome.routing.targets
    return [endpoint.url for target in targets for endpoint in target.endpoints]


def reasons(outcome: Outcome) -> dict[str, str]:
    return {finding.type.value: f"{finding.status}/{finding.reason}" for finding in outcome.findings}


def kinds_applied(outcome: Outcome) -> list[str]:
    return [str(action.manifest["kind"]) for action in outcome.actions if isinstance(action, Apply)]


def test_unlicensed_creates_nothing(policies: dict[str, Policy]) -> None:
    outcome = decide(look(policies["registered"]), CONFIG)
    assert outcome.actions == ()
    assert reasons(outcome)["LicenseAccepted"] == "False/AcceptanceMissing"
    assert reasons(outcome)["Serving"] == "False/NotServed"


def test_namespace_without_tenant(policies: dict[str, Policy]) -> None:
    outcome = decide(look(policies["empty"]), CONFIG)
    assert reasons(outcome)["LicenseAccepted"] == "False/NamespaceUnknown"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"accept": False}, "AcceptDeclined"),
        ({"id": "mit"}, "LicenseMismatch"),
        ({"acceptanceRef": "another"}, "RecordMismatch"),
        ({"revision": "0" * 12}, "RecordMismatch"),
    ],
)
def test_what_the_tenant_says_must_agree_with_the_record(
    policies: dict[str, Policy], said: dict[str, Any], reason: str
) -> None:
    outcome = decide(look(policies["licensed"], spec={"license": said}), CONFIG)
    assert reasons(outcome)["LicenseAccepted"] == f"False/{reason}"
    assert outcome.actions == ()


def test_what_agrees_with_the_record_is_allowed(policies: dict[str, Policy]) -> None:
    canonical = packaged_catalog().licenses["paddock-demo"].texts[0].canonical
    for revision in (canonical[:12], f"sha256:{canonical}"):
        said = {
            "accept": True,
            "id": "paddock-demo",
            "revision": revision,
            "acceptanceRef": "acc-acme-inc-paddock-demo",
        }
        outcome = decide(look(policies["licensed"], spec={"license": said}), CONFIG)
        assert reasons(outcome)["LicenseAccepted"] == "True/Allowed"


def test_weights_are_asked_for_before_anything_is_rendered(policies: dict[str, Policy]) -> None:
    outcome = decide(look(policies["licensed"]), CONFIG)
    assert [type(action) for action in outcome.actions] == [AddFinalizer, StartWeights]
    assert reasons(outcome)["WeightsReady"] == "False/Preparing"


def test_a_registered_models_job_is_its_own_and_has_its_teachers_notices_and_nobodys_trust(
    policies: dict[str, Policy], helpers: Any
) -> None:
    license_id = "bigscience-bloom-rail-1.0"
    student = helpers.made_model("demo-student", teachers=("bloom-176b",))
    objects = [
        student,
        *helpers.texts(license_id),
        *helpers.accepted("platform", role="operator", license_id=license_id),
        *helpers.accepted("acme-inc", license_id=license_id),
    ]
    changes = [
        Change(revision=n, kind=helpers.KINDS[type(item)], id=item.id, body=msgspec.to_builtins(item))
        for n, item in enumerate(objects, start=99)
    ]
    both = replace(policies["licensed"], view=policies["licensed"].view.apply(changes))
    found = {}
    for model in (student.base, student.id):
        outcome = decide(look(both, spec={"model": {"id": model}}), CONFIG)
        found[model] = next(action for action in outcome.actions if isinstance(action, StartWeights))
    base, made = found[student.base], found[student.id]
    assert base.digest != made.digest
    assert (base.catalogued, made.catalogued) == (True, False)
    assert (base.licenses, made.licenses) == (("paddock-demo",), ("paddock-demo", "bigscience-bloom-rail-1.0"))


def test_result_of_the_job_is_recorded_and_used_at_once(policies: dict[str, Policy]) -> None:
    ended = {"metadata": {"name": "p"}, "status": {"containerStatuses": [_terminated(RESULT)]}}
    finished = WeightsJob(
        job={
            "metadata": {"name": "w", "namespace": "paddock-weights", "uid": "j1"},
            "status": {"conditions": [{"type": "Complete", "status": "True"}]},
        },
        pods=(ended,),
    )
    outcome = decide(look(policies["licensed"], weights=finished), CONFIG)
    assert RecordResult(namespace="paddock-weights", name="w", result=RESULT) in outcome.actions
    assert kinds_applied(outcome)[0] == "Namespace"
    assert kinds_applied(outcome)[-1] == "ReplicaSet", "pods come when everything that protects them is there"


def _terminated(message: str) -> dict[str, Any]:
    return {"name": "prepare", "state": {"terminated": {"exitCode": 0, "message": message}}}


def test_lost_result_prepares_again(policies: dict[str, Policy]) -> None:
    finished = WeightsJob(
        job={
            "metadata": {"name": "w", "namespace": "paddock-weights", "uid": "j1"},
            "status": {"conditions": [{"type": "Complete", "status": "True"}]},
        }
    )
    outcome = decide(look(policies["licensed"], weights=finished), CONFIG)
    assert any(isinstance(action, Delete) and action.uid == "j1" for action in outcome.actions)
    assert kinds_applied(outcome) == []


@pytest.mark.parametrize(("ago", "retried"), [(10, False), (500, True)])
def test_failed_job_is_shown_then_tried_again(policies: dict[str, Policy], ago: int, retried: bool) -> None:
    failed_at = "2027-01-15T08:00:00Z"  # NOW
    condition = {"type": "Failed", "status": "True", "lastTransitionTime": failed_at}
    words = {"metadata": {"name": "p"}, "status": {"containerStatuses": [_terminated("checksum differs")]}}
    failed = WeightsJob(
        job={
            "metadata": {"name": "w", "namespace": "paddock-weights", "uid": "j1"},
            "status": {"conditions": [condition]},
        },
        pods=(words,),
    )
    seen = structs.replace(look(policies["licensed"], weights=failed), now=NOW + ago)
    outcome = decide(seen, CONFIG)
    finding = next(item for item in outcome.findings if item.type is ConditionType.WEIGHTS_READY)
    assert finding.reason == ConditionReason.WEIGHTS_FAILED
    assert "checksum differs" in finding.message
    assert any(isinstance(action, Delete) for action in outcome.actions) is retried


def test_files_of_another_model_have_a_reason_of_their_own(policies: dict[str, Policy]) -> None:
    text = "WeightsMismatch: config.json says layers 30"
    words = {"metadata": {"name": "p"}, "status": {"containerStatuses": [_terminated(text)]}}
    condition = {"type": "Failed", "status": "True", "lastTransitionTime": "2027-01-15T08:00:00Z"}
    failed = WeightsJob(
        job={
            "metadata": {"name": "w", "namespace": "paddock-weights", "uid": "j1"},
            "status": {"conditions": [condition]},
        },
        pods=(words,),
    )
    outcome = decide(look(policies["licensed"], weights=failed), CONFIG)
    finding = next(item for item in outcome.findings if item.type is ConditionType.WEIGHTS_READY)
    assert (finding.status, finding.reason) == ("False", "WeightsMismatch")
    assert text in finding.message


@pytest.fixture
def serving(worlds: Any, policies: dict[str, Policy]) -> Any:
    """A look at a deployment that serves with one copy; `policy` and what else is given differ from that."""

    def looked(policy: str = "licensed", **changes: Any) -> Observed:
        world = worlds.World(config=CONFIG, policy=policies["licensed"], spec={"model": {"id": MODEL}})
        world.rounds()
        world.policy = policies[policy]
        world.spec = {**world.spec, **changes.pop("spec", {})}
        seen: Observed = structs.replace(world.observed(), now=NOW, **changes)
        return seen

    return looked


def with_status(seen: Observed, **changes: Any) -> Observed:
    """The same look, with another status."""
    live = seen.live
    return structs.replace(
        seen, deployment=msgspec.structs.replace(live, status=msgspec.structs.replace(live.status, **changes))
    )


def test_serving_needs_a_generated_token(serving: Any) -> None:
    seen = serving()
    good = decide(seen, CONFIG)
    assert reasons(good)["Serving"] == "True/Serving"
    assert endpoints(good) == [copies.of(seen)[0].url]
    (uid,) = seen.probes
    for probes in ({}, {uid: "HTTP 200: error"}):
        bad = decide(serving(probes=probes), CONFIG)
        assert reasons(bad)["Serving"].startswith("False/")
        assert endpoints(bad) == []


def marked(seen: Observed, told: Outcome) -> Observed:
    """The next look: gateways were told, and the moment is noted on the copy."""
    (mark,) = told.actions
    assert isinstance(mark, RecordResult)
    (workload,) = (item for item in seen.children if (item.kind, item.name) == (mark.kind, mark.name))
    metadata = workload.manifest["metadata"]
    noted = {**metadata, "annotations": {**metadata["annotations"], mark.annotation: mark.result}}
    own = replace(workload, manifest={**workload.manifest, "metadata": noted})
    children = tuple(own if item is workload else item for item in seen.children)
    return structs.replace(with_status(seen, routing=told.routing), children=children)


@pytest.mark.parametrize("before", ["True", "False"])
def test_revocation_drains_first_and_keeps_the_policy_until_the_pods_are_gone(serving: Any, before: str) -> None:
    """Also of one that did not hold Serving, for copies that were too few, though some answered."""
    since = Condition(
        type="Serving",
        status=before,
        reason="Serving" if before == "True" else "TooFewAvailable",
        message="",
        observed_generation=1,
        last_transition_time="2027-01-15T07:00:00Z",
    )
    seen = with_status(serving("registered"), conditions=(since,))
    told = decide(seen, CONFIG)
    assert endpoints(told) == []
    assert reasons(told)["Serving"] == "False/Draining"
    assert told.look_after_seconds == CONFIG.drain_seconds
    early = structs.replace(marked(seen, told), now=NOW + 1)
    assert decide(early, CONFIG).actions == ()
    late = structs.replace(early, now=NOW + 4)
    assert [action.kind for action in decide(late, CONFIG).actions if isinstance(action, Delete)] == [REPLICA_SET]
    pods_left = structs.replace(late, children=tuple(item for item in late.children if item.kind != REPLICA_SET))
    assert decide(pods_left, CONFIG).actions == ()
    no_pods = structs.replace(pods_left, children=tuple(item for item in pods_left.children if item.kind != POD))
    deleted = [action.kind for action in decide(no_pods, CONFIG).actions if isinstance(action, Delete)]
    assert deleted[0] == SECRET
    assert CONFIG_MAP in deleted
    nothing = decide(structs.replace(no_pods, children=()), CONFIG)
    assert nothing.actions == (RemoveFinalizer(resource_version="5"),)


def test_expired_policy_keeps_what_runs_and_creates_nothing(serving: Any, policies: dict[str, Policy]) -> None:
    running = decide(serving("expired"), CONFIG)
    assert running.actions == ()
    assert reasons(running)["LicenseAccepted"] == "Unknown/PolicyExpired"
    assert reasons(running)["Serving"] == "True/Serving"
    fresh = decide(look(policies["expired"]), CONFIG)
    assert fresh.actions == ()


def test_lost_nodes_do_not_stop_what_runs(serving: Any) -> None:
    outcome = decide(serving(spec={"parallelism": {"tensor": 2}}), CONFIG)
    assert reasons(outcome)["Planned"] == "False/InvalidParallelism"
    assert not any(isinstance(action, Delete) for action in outcome.actions)
    assert reasons(outcome)["Serving"] == "True/Serving"


def test_a_plan_stays_while_the_wish_does(serving: Any) -> None:
    def pinned(seen: Observed) -> Observed:
        """The same look, as if the planner had answered otherwise then."""
        found = []
        for item in seen.children:
            if item.kind == CONFIG_MAP:
                data = item.manifest["data"]
                facts = json.loads(data[revisions.FACTS_KEY])
                facts["plan"]["max_concurrency"] = 77
                changed = {**data, revisions.FACTS_KEY: json.dumps(facts)}
                found.append(Child(kind=CONFIG_MAP, manifest={**item.manifest, "data": changed}))
            else:
                found.append(item)
        return structs.replace(seen, children=tuple(found))

    again = decide(pinned(serving()), CONFIG)
    assert again.plan is not None
    assert again.plan.max_concurrency == 77
    changed = decide(pinned(serving(spec={"engine": {"contextLength": 1024}})), CONFIG)
    assert changed.plan is not None
    assert changed.plan.max_concurrency != 77


def test_leftovers_of_a_former_object_go_first(policies: dict[str, Policy]) -> None:
    old = child(REPLICA_SET, owner="u0")
    outcome = decide(look(policies["licensed"], weights=DONE, children=(old,)), CONFIG)
    assert outcome.actions == (Delete(kind=REPLICA_SET, namespace="paddock-serving-acme", name=NAME, uid="c1"),)


def test_a_namespace_that_passed_to_another_tenant_takes_its_pods_along(policies: dict[str, Policy]) -> None:
    former = child(REPLICA_SET, metadata={"namespace": "paddock-serving-former"})
    outcome = decide(look(policies["licensed"], weights=DONE, children=(former,)), CONFIG)
    deleted = [(action.kind, action.namespace) for action in outcome.actions if isinstance(action, Delete)]
    assert deleted == [(REPLICA_SET, "paddock-serving-former")]
    assert "ReplicaSet" in kinds_applied(outcome)
    serving = next(item for item in outcome.findings if item.type is ConditionType.SERVING)
    assert "paddock-serving-former goes, and is not waited for" in serving.message
    assert "cut" in serving.message


def test_orphans_of_an_object_that_is_gone_are_removed(serving: Any) -> None:
    seen = structs.replace(serving(), deployment=None)
    assert [action.kind for action in decide(seen, CONFIG).actions if isinstance(action, Delete)] == [REPLICA_SET]


@pytest.mark.parametrize("spec", [{"access": {"tenants": ["globex"]}}, {"license": {"accept": True}}])
def test_what_changes_nothing_in_a_pod_writes_nothing(serving: Any, spec: dict[str, Any]) -> None:
    before, after = decide(serving(), CONFIG), decide(serving(spec=spec), CONFIG)
    assert (after.routing, after.actions) == (before.routing, before.actions)


@settings(max_examples=100, deadline=None)
@given(
    policy=st.sampled_from(["licensed", "expired"]),
    steps=st.lists(
        st.sampled_from(
            [
                {},
                {"replicas": 3},
                {"engine": {"contextLength": 512}},
                {"engine": {"contextLength": 1024}},
                {"replicas": 0},
            ]
        ),
        max_size=4,
    ),
    silent=st.sets(st.integers(0, 3)),
)
def test_every_endpoint_answers_and_runs_what_its_target_says(
    worlds: Any, policies: dict[str, Policy], policy: str, steps: list[dict[str, Any]], silent: set[int]
) -> None:
    world = worlds.World(config=CONFIG, policy=policies["licensed"], spec={"model": {"id": MODEL}, "replicas": 2})
    world.rounds()
    for step in steps:
        world.spec = {"model": {"id": MODEL}, "replicas": 2, **step}
        world.round()
        world.pods_come()
        world.now += 2
    for number, name in enumerate(world.names(REPLICA_SET)):
        if number in silent:
            world.answer(name, "hangs")
    world.policy = policies[policy]
    seen = world.observed()
    outcome = decide(seen, CONFIG)
    there = {copy.url: copy for copy in copies.of(seen)}
    known = {item.name: item for item in revisions.of(seen)}
    for target in () if outcome.routing is None else outcome.routing.targets:
        for endpoint in target.endpoints:
            copy = there[endpoint.url]
            assert copy.answering
            assert copy.revision == target.revision
            assert known[target.revision].facts.plan.context_length == target.context_length
            assert not copy.draining


def test_zero_replicas_is_stopped_not_broken(policies: dict[str, Policy]) -> None:
    outcome = decide(look(policies["licensed"], weights=DONE, spec={"replicas": 0}), CONFIG)
    assert reasons(outcome)["Serving"] == "False/Stopped"
    assert "Scheduled" not in reasons(outcome)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {"containerStatuses": [{"name": "triton", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            "ImagePullFailed",
        ),
        (
            {"containerStatuses": [{"name": "triton", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            "CrashLooping",
        ),
        (
            {"containerStatuses": [{"name": "triton", "lastState": {"terminated": {"reason": "OOMKilled"}}}]},
            "EngineOOM",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            "Unschedulable",
        ),
        ({}, "Loading"),
    ],
)
def test_root_causes_of_pods(policies: dict[str, Policy], status: dict[str, Any], reason: str) -> None:
    outcome = decide(look(policies["licensed"], weights=DONE, children=(workload(), pod(status=status))), CONFIG)
    assert reasons(outcome)["Serving"] == f"False/{reason}"


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_is_seen_nothing_unlicensed_is_created_and_nothing_foreign_deleted(
    policies: dict[str, Policy], data: st.DataObject
) -> None:
    which = data.draw(st.sampled_from(sorted(policies)))
    children = data.draw(
        st.lists(
            st.builds(
                lambda kind, uid, owner: child(kind, uid=uid, owner=owner),
                st.sampled_from([REPLICA_SET, CONFIG_MAP, NETWORK_POLICY, SERVICE_ACCOUNT]),
                st.sampled_from(["a", "b", "c"]),
                st.sampled_from(["u1", "u0"]),
            ),
            max_size=4,
        )
    )
    pods = data.draw(st.lists(st.builds(lambda uid: pod(uid=uid), st.sampled_from(["p1", "p2"])), max_size=2))
    seen = look(
        policies[which],
        children=(*children, *pods),
        weights=data.draw(st.sampled_from([DONE, job(), WeightsJob(job=None)])),
        probes=data.draw(st.dictionaries(st.sampled_from(["p1", "p2"]), st.sampled_from([None, "silent"]))),
        spec=data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "replicas": st.integers(0, 3),
                    "engine": st.fixed_dictionaries({}, optional={"contextLength": st.integers(16, 10**6)}),
                    "parallelism": st.fixed_dictionaries({}, optional={"tensor": st.sampled_from([1, 2, 64])}),
                },
            )
        ),
        metadata=data.draw(st.sampled_from([{}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}])),
    )
    outcome = decide(seen, CONFIG)
    assert outcome == decide(seen, CONFIG)
    if not which.startswith("licensed") or seen.deleting:
        assert not [action for action in outcome.actions if isinstance(action, Apply | StartWeights | AddFinalizer)]
    own = {item.uid for item in seen.children}
    for action in outcome.actions:
        if isinstance(action, Delete):
            assert action.uid in own or action.kind == SECRET or action.uid == "j1"
    assert len({finding.type for finding in outcome.findings}) == len(outcome.findings)


def test_what_a_former_object_left_and_does_not_go_is_told_by_name(policies: dict[str, Policy]) -> None:
    held = {"deletionTimestamp": "2027-01-15T07:59:00Z", "finalizers": ["example.com/mine"]}
    left = child(CONFIG_MAP, uid="c9", owner="former", name="frozen", metadata=held)
    outcome = decide(look(policies["licensed"], children=(left,), weights=DONE), CONFIG)
    assert outcome.findings[-1].type == ConditionType.SERVING
    assert "ConfigMap paddock-serving-acme/frozen (finalizers: example.com/mine)" in outcome.findings[-1].message
    assert not kinds_applied(outcome), "its names must be free before ours are created"


def test_a_revocation_does_not_wait_for_what_a_former_object_left(policies: dict[str, Policy]) -> None:
    left = child(CONFIG_MAP, uid="c9", owner="former", name="frozen", metadata={"finalizers": ["example.com/mine"]})
    outcome = decide(look(policies["registered"], children=(workload(), left)), CONFIG)
    assert reasons(outcome)["LicenseAccepted"].startswith("False/")
    deleted = [action.name for action in outcome.actions if isinstance(action, Delete)]
    assert deleted == [COPY], "what makes pods goes, whatever else is there"
