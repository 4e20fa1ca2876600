"""What becomes of the copies of one deployment over many rounds: they come, change, are scaled and go."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.policy.wire import Change
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import MaintenanceSpec
from paddock_operator.decide import revisions
from paddock_operator.decide.actions import StartWeights
from paddock_operator.decide.routing import stamped
from paddock_operator.kinds import CONFIG_MAP, LEADER_WORKER_SET, POD, POD_DISRUPTION_BUDGET, REPLICA_SET
from paddock_operator.observed import Charged, WeightsJob
from paddock_operator.ports import Policy

from tests.operator.platforms import CONFIG, licensed, policy_of

DEMO = {"model": {"id": "smollm2-135m-instruct"}}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.2")


@pytest.fixture
def world(worlds: Any, policy: Policy) -> Any:
    return worlds.World(config=CONFIG, policy=policy, spec={**DEMO, "replicas": 2})


def revision_of(name: str) -> str:
    return name.split("-")[-2]


def test_copies_come_up_and_are_routed_to(world: Any) -> None:
    world.rounds()
    assert len(world.names(REPLICA_SET)) == 2
    status = world.parsed()
    assert (status.phase, status.replicas, status.ready_replicas) == ("Serving", 2, 2)
    assert [len(target.endpoints) for target in status.routing.targets] == [2]
    assert [(item.state, item.replicas) for item in status.revisions] == [("Current", 2)]


def templates(world: Any) -> list[Any]:
    return [
        item["spec"].get("template") or item["spec"]["leaderWorkerTemplate"]
        for (kind, _name), item in world.objects.items()
        if kind in (REPLICA_SET, LEADER_WORKER_SET)
    ]


OTHER_SETTINGS: dict[str, Any] = {
    "serving_image": "registry.test/serving:2",
    "weights_volume": {"nfs": {"server": "s", "path": "/"}},
    "image_pull_policy": "Always",
}


@pytest.mark.parametrize("setting", sorted(OTHER_SETTINGS))
def test_other_settings_restart_nothing_and_are_told_as_drift(world: Any, setting: str) -> None:
    world.rounds()
    before, copies = templates(world), world.names(REPLICA_SET)
    assert not world.parsed().drifted
    world.written.clear()
    world.config = replace(world.config, version="2.0.0", **{setting: OTHER_SETTINGS[setting]})
    world.rounds()
    assert (templates(world), world.names(REPLICA_SET), world.written) == (before, copies, [])
    status = world.parsed()
    assert (status.drifted, status.phase) == (True, "Serving")
    assert [item.rendered_by for item in status.revisions] == ["1.0.0"]


def test_an_operator_that_renders_the_same_is_no_drift(world: Any) -> None:
    world.rounds()
    world.written.clear()
    world.config = replace(world.config, version="2.0.0")
    world.rounds()
    assert (world.parsed().drifted, world.written) == (False, [])


def test_a_copy_that_is_lost_comes_back_as_it_was_made_not_as_it_would_be_made_now(world: Any) -> None:
    world.rounds()
    before = templates(world)
    lost = world.names(REPLICA_SET)[0]
    world.config = replace(world.config, serving_image="registry.test/serving:2")
    world.objects = {place: item for place, item in world.objects.items() if not place[1].startswith(lost)}
    world.rounds()
    assert lost in world.names(REPLICA_SET)
    assert templates(world) == [before[1], before[0]] or templates(world) == before


def test_drift_is_applied_where_nothing_is_served(world: Any) -> None:
    world.rounds()
    (former,) = {revision_of(name) for name in world.names(REPLICA_SET)}
    world.spec = {**DEMO, "replicas": 0}
    world.rounds()
    assert world.names(REPLICA_SET) == []
    world.config = replace(world.config, serving_image="registry.test/serving:2")
    world.rounds()
    world.spec = {**DEMO, "replicas": 2}
    world.rounds()
    assert {revision_of(name) for name in world.names(REPLICA_SET)} != {former}
    assert not world.parsed().drifted


def test_a_change_replaces_copies_one_by_one_and_the_former_revision_goes(world: Any) -> None:
    world.rounds()
    (former,) = {revision_of(name) for name in world.names(REPLICA_SET)}
    world.spec = {**DEMO, "replicas": 2, "engine": {"contextLength": 1024}}
    least = []
    for _ in range(60):
        world.round()
        least.append(world.parsed().ready_replicas)
        world.pods_come()
        world.now += 5
    assert min(least) == 2, "there is room for one more copy at a time, so none is missing"
    (present,) = {revision_of(name) for name in world.names(REPLICA_SET)}
    assert present != former
    assert [
        world.objects[CONFIG_MAP, name]["metadata"]["labels"][names.REVISION] for name in world.names(CONFIG_MAP)
    ] == [present]
    (target,) = world.parsed().routing.targets
    assert (target.revision, target.context_length, target.weight) == (present, 1024, 100)


def test_a_change_taken_back_half_way_goes_back_to_the_copies_that_are_there(world: Any) -> None:
    world.rounds()
    before = world.names(REPLICA_SET)
    world.spec = {**DEMO, "replicas": 2, "engine": {"contextLength": 1024}}
    world.round()
    world.now += 5
    assert len(world.names(REPLICA_SET)) == 3, "a copy of the new revision comes beside the former ones"
    world.spec = {**DEMO, "replicas": 2}
    world.written.clear()
    world.rounds()
    assert world.names(REPLICA_SET) == before
    assert not [text for text in world.written if text.startswith("create ReplicaSet")]
    assert world.parsed().rollout is None


def test_a_change_that_never_answers_leaves_what_serves_and_is_told(world: Any) -> None:
    world.rounds()
    before = world.names(REPLICA_SET)
    world.spec = {**DEMO, "replicas": 2, "engine": {"contextLength": 1024}, "rollout": {"deadlineSeconds": 600}}
    for _ in range(400):
        world.round()
        assert world.parsed().ready_replicas == 2
        new = [name for name in world.names(REPLICA_SET) if name not in before]
        world.pods_come(but=new)
        world.now += 5
    status = world.parsed()
    assert world.names(REPLICA_SET) == before
    assert {item.name: item.state for item in status.revisions}[revision_of(before[0])] == "Current"
    assert sorted(item.state for item in status.revisions) == ["Current", "Failed"]
    progressing = next(item for item in status.conditions if item.type == "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "RolledBack")


def test_copies_that_are_too_many_are_drained_before_they_go(world: Any) -> None:
    world.spec = {**DEMO, "replicas": 3}
    world.rounds()
    world.spec = {**DEMO, "replicas": 1}
    world.written.clear()
    world.round()
    assert not [text for text in world.written if text.startswith("delete ReplicaSet")]
    (target,) = world.parsed().routing.targets
    assert len(target.endpoints) == 1, "they get no requests from the moment that they are to go"
    marked = [
        name
        for (kind, name), item in world.objects.items()
        if kind == REPLICA_SET and names.DRAINING in item["metadata"]["annotations"]
    ]
    assert len(marked) == 2
    told = world.parsed().routing
    assert len(told.leaving) == 2
    assert not {*told.leaving} & {endpoint.url for target in told.targets for endpoint in target.endpoints}
    assert told.digest == stamped(msgspec.structs.replace(told, leaving=())).digest, "their end is no other routing"
    world.rounds()
    assert len(world.names(REPLICA_SET)) == 1
    assert world.parsed().routing.leaving == ()


def test_a_copy_that_drains_is_taken_back_where_it_is_wanted_again(world: Any) -> None:
    world.rounds()
    before = world.names(REPLICA_SET)
    world.spec = {**DEMO, "replicas": 1}
    world.round()
    world.spec = {**DEMO, "replicas": 2}
    world.written.clear()
    world.rounds()
    budget = f"create PodDisruptionBudget {names.serving_name(namespace='acme', name='chat')}"
    assert (world.names(REPLICA_SET), world.written) == (before, [budget])
    assert world.parsed().ready_replicas == 2


def test_a_budget_is_there_while_several_copies_are_wanted(world: Any) -> None:
    world.rounds()
    assert len(world.names(POD_DISRUPTION_BUDGET)) == 1
    world.spec = {**DEMO, "replicas": 1}
    world.rounds()
    assert world.names(POD_DISRUPTION_BUDGET) == []


def test_too_few_copies_are_not_serving(world: Any) -> None:
    world.spec = {**DEMO, "replicas": 3, "minAvailable": 2}
    world.rounds()

    def serving() -> tuple[str, str]:
        found = next(item for item in world.parsed().conditions if item.type == "Serving")
        return found.status, found.reason

    assert serving() == ("True", "Serving")
    for name in world.names(REPLICA_SET)[:2]:
        world.answer(name, "hangs")
    world.round()
    assert serving() == ("False", "TooFewAvailable")
    world.answer(world.names(REPLICA_SET)[0], None)
    world.round()
    assert serving() == ("True", "Serving")
    world.spec = {**DEMO, "replicas": 1, "minAvailable": 2}
    world.rounds()
    assert serving() == ("True", "Serving"), "no more can be asked for than are wanted"


LLAMA = "llama-3.2-1b-instruct"


@pytest.mark.parametrize("for_both", [True, False])
def test_copies_of_a_former_model_get_requests_only_as_long_as_it_may_be_used(
    worlds: Any, helpers: Any, pairs: Any, for_both: bool
) -> None:
    made = worlds.World(
        config=CONFIG,
        policy=licensed("llama3.2"),
        spec={"model": {"id": LLAMA}, "replicas": 2},
        inventory=pairs.one_each(),
    )
    made.rounds()
    former = made.names(REPLICA_SET)
    assert made.parsed().ready_replicas == 2
    if not for_both:
        made.policy = policy_of([*helpers.registered(), *helpers.accepted("acme-inc")])
    made.spec = {**DEMO, "replicas": 2}
    made.round()
    models = {target.model for target in made.parsed().routing.targets if target.endpoints}
    assert models == ({LLAMA} if for_both else set())
    made.now += 4
    made.round()
    assert bool(set(former) & set(made.names(REPLICA_SET))) is for_both, (
        "they are waited for no longer than gateways need"
    )
    made.rounds()
    assert not set(former) & set(made.names(REPLICA_SET))
    assert [target.model for target in made.parsed().routing.targets] == ["smollm2-135m-instruct"]


@pytest.mark.parametrize("steps", [["scale"], ["change"], ["scale", "change"], ["change", "back"]])
def test_a_process_that_dies_after_any_write_is_continued_to_the_same_end(world: Any, steps: list[str]) -> None:
    specs = {
        "scale": {**DEMO, "replicas": 3},
        "change": {**DEMO, "replicas": 2, "engine": {"contextLength": 1024}},
        "back": {**DEMO, "replicas": 2},
    }
    world.rounds()
    for step in steps[:-1]:
        world.spec = specs[step]
        world.round()
        world.pods_come()
        world.now += 5
    world.spec = specs[steps[-1]]
    expected = world.copy()
    expected.rounds()
    for writes in range(1, 40):
        other = world.copy()
        for _ in range(6):
            other.round(only=writes)
            other.pods_come()
            other.now += 5
        other.rounds()
        assert sorted(map(str, other.shape())) == sorted(map(str, expected.shape())), writes
        assert other.parsed().routing.targets[0].revision == expected.parsed().routing.targets[0].revision


def test_what_runs_is_looked_after_while_the_weights_of_another_model_are_fetched(
    worlds: Any, policy: Policy, pairs: Any
) -> None:
    made = worlds.World(
        config=CONFIG,
        policy=policy,
        spec={"model": {"id": LLAMA}, "replicas": 2},
        inventory=pairs.one_each(),
    )
    made.rounds()
    before = made.names(REPLICA_SET)
    made.spec = {**DEMO, "replicas": 3}
    made.seen["weights"] = type(made.seen["weights"])(job=None)
    del made.objects[REPLICA_SET, before[0]]
    for pod in made.pods(before[0]):
        del made.objects[POD, pod["metadata"]["name"]]
    outcome = made.rounds()
    assert any(isinstance(action, StartWeights) for action in outcome.actions)
    assert set(before) < set(made.names(REPLICA_SET)), "what was lost came back, and one more as is asked"
    status = made.parsed()
    assert (status.ready_replicas, {target.model for target in status.routing.targets}) == (3, {LLAMA})
    assert next(item.status for item in status.conditions if item.type == "WeightsReady") == "False"


def test_copies_whose_configmap_is_lost_serve_until_they_are_replaced(world: Any) -> None:
    world.rounds()
    before = world.names(REPLICA_SET)
    (pinned,) = world.names(CONFIG_MAP)
    del world.objects[CONFIG_MAP, pinned]
    world.config = replace(world.config, serving_image="registry.test/serving:2")
    for _ in range(60):
        world.round()
        assert world.parsed().ready_replicas >= 1
        world.pods_come()
        world.now += 5
    assert len(world.names(REPLICA_SET)) == 2
    assert not set(before) & set(world.names(REPLICA_SET))


def test_a_lost_configmap_is_no_reason_to_stop_what_runs(world: Any) -> None:
    world.rounds()
    before = world.names(REPLICA_SET)
    (pinned,) = world.names(CONFIG_MAP)
    del world.objects[CONFIG_MAP, pinned]
    world.rounds()
    assert world.names(CONFIG_MAP) == [pinned]
    assert world.names(REPLICA_SET) == before


def test_a_configmap_that_cannot_be_read_stays_as_long_as_copies_mount_it(world: Any) -> None:
    """As one that a later operator wrote, which was taken back since."""
    world.rounds()
    before = world.names(REPLICA_SET)
    (pinned,) = world.names(CONFIG_MAP)
    item = world.objects[CONFIG_MAP, pinned]
    world.objects[CONFIG_MAP, pinned] = {**item, "data": {**item["data"], revisions.FACTS_KEY: "{}"}}
    # What is rendered now has another name, so it does not take the place of that one.
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    while set(before) & set(world.names(REPLICA_SET)):
        assert pinned in world.names(CONFIG_MAP)
        world.round()
        world.pods_come()
        world.now += 5
    world.rounds()
    assert pinned not in world.names(CONFIG_MAP)


def test_the_same_revision_answers_another_wish_that_renders_the_same(world: Any) -> None:
    world.rounds()
    before = world.names(REPLICA_SET, CONFIG_MAP)
    plan = world.parsed().plan
    world.spec = {**DEMO, "replicas": 2, "engine": {"contextLength": plan.context_length, "type": plan.engine}}
    world.written.clear()
    world.rounds()
    assert (world.names(REPLICA_SET, CONFIG_MAP), world.written) == (before, [])
    (pinned,) = world.names(CONFIG_MAP)
    found = revisions.read(world.objects[CONFIG_MAP, pinned])
    assert found is not None
    assert found.wish == world.objects[CONFIG_MAP, pinned]["metadata"]["annotations"][revisions.WISH]


def test_nodes_that_are_not_to_be_used_are_kept_off_for_the_life_of_a_copy(world: Any) -> None:
    from paddock_operator.decide.node_faults import NodeFaults

    world.seen["faults"] = NodeFaults(broken={"bad": "its GPU fell off the bus"})
    world.rounds()
    world.seen.pop("faults")
    world.written.clear()
    world.rounds()
    assert world.written == []
    for (kind, _name), item in world.objects.items():
        if kind == REPLICA_SET:
            terms = item["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
            (term,) = terms["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            assert term["matchFields"] == [{"key": "metadata.name", "operator": "NotIn", "values": ["bad"]}]


@pytest.mark.parametrize("whose", ["deployment", "platform"])
def test_drift_becomes_a_rollout_in_a_maintenance_window_and_not_before(world: Any, whose: str) -> None:
    world.rounds()
    before = world.names(REPLICA_SET)
    window: dict[str, Any] = {"start": "09:00", "hours": 1}  # it is 08:00
    if whose == "deployment":
        world.spec = {**world.spec, "maintenance": window}
    changed = replace(world.config, serving_image="registry.test/serving:2")
    world.config = replace(changed, maintenance=MaintenanceSpec(**window)) if whose == "platform" else changed
    outcome = world.rounds()
    assert (world.names(REPLICA_SET), world.parsed().drifted) == (before, True)
    assert outcome.look_after_seconds <= 3600
    world.now += 3600
    for _ in range(60):
        world.round()
        assert world.parsed().ready_replicas == 2
        world.pods_come()
        world.now += 5
    assert not set(before) & set(world.names(REPLICA_SET))
    assert not world.parsed().drifted
    images = {item["containers"][0]["image"] for item in (template["spec"] for template in templates(world))}
    assert images == {"registry.test/serving:2"}


@pytest.mark.parametrize("gpus", [0, 1000])
def test_without_quota_nothing_is_made_and_with_it_a_stopped_deployment_is_made_ready(
    worlds: Any, policy: Policy, pairs: Any, gpus: int
) -> None:
    made = worlds.World(
        config=CONFIG,
        policy=with_quota(policy, gpus),
        spec={"model": {"id": LLAMA}, "replicas": 0 if gpus else 1},
        inventory=pairs.one_each(),
        weights=WeightsJob(job=None),
    )
    outcome = made.round()
    assert any(isinstance(action, StartWeights) for action in outcome.actions) is bool(gpus)
    quota = next(item for item in made.parsed().conditions if item.type == "QuotaAvailable")
    assert quota.status == str(bool(gpus))


def test_what_runs_is_looked_after_while_the_wish_cannot_come_true(world: Any) -> None:
    world.rounds()
    before = world.names(REPLICA_SET)
    world.spec = {**DEMO, "replicas": 3, "parallelism": {"tensor": 2}}
    del world.objects[REPLICA_SET, before[0]]
    for pod in world.pods(before[0]):
        del world.objects[POD, pod["metadata"]["name"]]
    world.rounds()
    status = world.parsed()
    assert next(item.reason for item in status.conditions if item.type == "Planned") == "InvalidParallelism"
    assert set(before) < set(world.names(REPLICA_SET))
    assert status.ready_replicas == 3


def test_the_digest_of_a_wish_is_that_of_former_versions(world: Any) -> None:
    """Where it changes, every deployment would be rolled out anew by an upgrade of the operator."""
    world.spec = {**DEMO, "engine": {"contextLength": 1024}, "placement": {"nodeSelector": {"zone": "a"}}}
    seen = world.observed()
    assert seen.model is not None
    assert revisions.wish_of(seen, seen.model, secret="s" * 64) == "3372f90beb8f2978"


def with_quota(policy: Policy, gpus: int) -> Policy:
    tenant = {**msgspec.to_builtins(policy.view.tenants["acme"]), "gpus": gpus}
    return replace(policy, view=policy.view.apply([Change(revision=1000, kind="tenant", id="acme", body=tenant)]))


@pytest.mark.parametrize("wish", [{"parallelism": {"tensor": 1, "pipeline": 2}}, {"replicas": 5}, {}])
def test_a_wish_beyond_the_quota_takes_nothing_away_that_runs(
    worlds: Any, policy: Policy, pairs: Any, wish: dict[str, Any]
) -> None:
    made = worlds.World(
        config=CONFIG,
        policy=policy,
        spec={"model": {"id": LLAMA}, "replicas": 2},
        inventory=pairs.one_each(),
        apis=frozenset({LEADER_WORKER_SET}),
    )
    made.rounds()
    before = made.names()
    made.policy = with_quota(policy, 2 if wish else 0)
    made.seen["charged"] = Charged(granted=2) if wish else Charged()
    made.spec = {**made.spec, **wish}
    made.rounds()
    assert made.names() == before
    status = made.parsed()
    assert status.ready_replicas == 2
    found = {item.type: (item.status, item.reason) for item in status.conditions}
    assert found["QuotaAvailable"] == ("False", "GpuQuotaExceeded")
    assert found["Serving"] == ("True", "Serving")


CHANGES = st.sampled_from(
    [
        {"engine": {"contextLength": 512}},
        {"engine": {"contextLength": 1024}},
        {"engine": {}},
        {"replicas": 1},
        {"replicas": 3},
        {"rollout": {"strategy": "BlueGreen"}},
        {"rollout": {"strategy": "DrainFirst"}},
        {"rollout": {"strategy": "RollingUpdate"}},
    ]
)


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.tuples(CHANGES, st.integers(0, 12), st.integers(1, 4)), max_size=5))
def test_whatever_is_asked_and_whenever_the_process_dies_it_ends_as_asked(
    worlds: Any, policy: Policy, steps: list[tuple[dict[str, Any], int, int]]
) -> None:
    world = worlds.World(config=CONFIG, policy=policy, spec={**DEMO, "replicas": 2})
    world.rounds()
    for change, writes, times in steps:
        world.spec = {**world.spec, **change}
        for _ in range(times):
            world.round(only=writes)
            world.round()
            world.pods_come()
            world.now += 3
    for _ in range(90):
        world.round()
        world.pods_come()
        world.now += 5
    status = world.parsed()
    (target,) = status.routing.targets
    wanted = world.spec["replicas"]
    assert (len(world.names(REPLICA_SET)), status.ready_replicas, len(target.endpoints)) == (wanted,) * 3
    assert {revision_of(name) for name in world.names(REPLICA_SET)} == {target.revision}
    assert target.context_length == world.spec.get("engine", {}).get("contextLength", 8192)
    assert (status.rollout, status.drifted) == (None, False)
    assert [item.state for item in status.revisions] == ["Current"]
