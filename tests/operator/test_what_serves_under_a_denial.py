"""A change whose license does not hold: what serves is judged by its own license, and goes on by it."""

from dataclasses import replace
from typing import Any

import pytest
from paddock_core.policy.documents import Grant
from paddock_operator.decide import license  # noqa: A004
from paddock_operator.decide.actions import Refer
from paddock_operator.kinds import CONFIG_MAP, REPLICA_SET
from paddock_operator.ports import Policy

from tests.operator.platforms import CONFIG, NOW, licensed, policy_of
from tests.operator.test_lives_of_copies import DEMO, revision_of
from tests.operator.test_what_is_told_of_a_former_revision import LLAMA, told

DEMO_MODEL = DEMO["model"]["id"]
CANARY = {"strategy": "Canary", "steps": [{"weightPercent": 10, "seconds": 3600}]}
OWN = {**DEMO, "replicas": 4, "rollout": CANARY}
OTHER = {**OWN, "model": {"id": LLAMA}}


@pytest.fixture
def both() -> Policy:
    return licensed("llama3.2")


@pytest.fixture
def demo_alone(helpers: Any) -> Policy:
    return policy_of([*helpers.registered(), *helpers.accepted("acme-inc")])


@pytest.fixture
def neither(helpers: Any) -> Policy:
    return policy_of(helpers.registered())


@pytest.fixture
def world(worlds: Any, pairs: Any, both: Policy) -> Any:
    made = worlds.World(config=CONFIG, policy=both, spec=OWN, inventory=pairs.one_each())
    made.rounds()
    assert answering(made) == {DEMO_MODEL: 4}
    return made


def answering(world: Any) -> dict[str, int]:
    routing = world.parsed().routing
    targets = () if routing is None else routing.targets
    return {target.model: len(target.endpoints) for target in targets if target.endpoints}


def weights(world: Any) -> dict[str, int]:
    return {target.model: target.weight for target in world.parsed().routing.targets if target.endpoints}


def in_mid_canary(world: Any) -> set[str]:
    """Another model has a tenth of the requests. The names of the former one's copies."""
    former = set(world.names(REPLICA_SET))
    world.spec = OTHER
    world.rounds()
    assert weights(world) == {DEMO_MODEL: 90, LLAMA: 10}
    return former & set(world.names(REPLICA_SET))


def goes(world: Any) -> None:
    """Everything stops, endpoints first."""
    world.round()
    assert answering(world) == {}
    world.rounds()
    assert world.names() == []


def test_a_change_to_a_model_that_is_not_licensed_takes_nothing_away(world: Any, demo_alone: Policy) -> None:
    before, own, plan = world.names(), world.parsed().license, world.parsed().plan
    world.policy, world.spec = demo_alone, OTHER
    world.rounds()
    assert (world.names(), answering(world)) == (before, {DEMO_MODEL: 4})
    (revision,) = {revision_of(name) for name in before}
    denied = told(world, "LicenseAccepted")
    assert (denied.status, denied.reason) == ("False", "TextNotImported")
    assert denied.message.endswith(
        f". Until then what served last goes on by its own license: revision {revision}, model {DEMO_MODEL}"
    )
    assert (told(world, "Progressing").status, told(world, "Progressing").reason) == ("False", "TextNotImported")
    assert f"by the former specification, revision {revision}" in told(world, "Serving").message
    assert (world.parsed().phase, world.parsed().license) == ("LicenseRequired", own)
    assert world.parsed().plan == plan


def test_a_model_that_nobody_knows_takes_nothing_away(world: Any) -> None:
    before = world.names()
    world.spec = {**OWN, "model": {"id": "smollm2-135m-instrukt"}}
    world.rounds()
    assert (world.names(), answering(world)) == (before, {DEMO_MODEL: 4})
    assert told(world, "LicenseAccepted").reason == "ModelUnknown"


def test_a_copy_that_is_lost_meanwhile_comes_back(world: Any, demo_alone: Policy) -> None:
    before = world.names()
    world.policy, world.spec = demo_alone, OTHER
    world.rounds()
    world.objects = {place: item for place, item in world.objects.items() if not place[1].startswith(before[0])}
    world.written.clear()
    world.rounds()
    assert (world.names(), answering(world)) == (before, {DEMO_MODEL: 4})
    assert world.written == [f"create ReplicaSet {before[0]}"]


def test_a_canary_whose_license_goes_gives_back_all_requests_at_once_and_goes(world: Any, demo_alone: Policy) -> None:
    former = in_mid_canary(world)
    world.policy = demo_alone
    world.round()
    assert weights(world) == {DEMO_MODEL: 100}
    assert answering(world)[DEMO_MODEL] >= len(former)
    # Gateways have been told, and no more is waited for: not for requests that are under way.
    world.now += CONFIG.drain_seconds + 1
    world.round()
    assert {revision_of(name) for name in world.names(REPLICA_SET)} == {revision_of(name) for name in former}
    world.rounds()
    assert former <= set(world.names(REPLICA_SET))
    assert answering(world) == {DEMO_MODEL: 4}
    assert told(world, "LicenseAccepted").status == "False"
    assert world.parsed().license.id == "paddock-demo"


def test_no_copy_of_the_denied_model_is_made_or_told(world: Any, demo_alone: Policy) -> None:
    in_mid_canary(world)
    (other,) = {target.revision for target in world.parsed().routing.targets if target.model == LLAMA}
    world.policy = demo_alone
    for _ in range(12):
        world.written.clear()
        world.round()
        world.pods_come()
        world.now += 5.0
        assert not [line for line in world.written if line.startswith("create ReplicaSet") and other in line]
        assert LLAMA not in {target.model for target in world.parsed().routing.targets}


def half_made(world: Any) -> int:
    """Two copies of another model answer. How many of the former one do still."""
    world.spec = {**OTHER, "rollout": {}}
    while answering(world).get(LLAMA, 0) < 2:
        world.round()
        world.pods_come()
        world.now += 5.0
    left = answering(world)[DEMO_MODEL]
    assert left < 4
    return left


def test_a_copy_of_which_nobody_knows_what_it_runs_goes_with_the_denied_model(world: Any, demo_alone: Policy) -> None:
    half_made(world)
    (other,) = {target.revision for target in world.parsed().routing.targets if target.model == LLAMA}
    world.objects = {
        (kind, name): item
        for (kind, name), item in world.objects.items()
        if not (kind == CONFIG_MAP and name.endswith(other))
    }
    world.policy = demo_alone
    world.round()
    assert weights(world) == {DEMO_MODEL: 100}
    world.rounds()
    assert other not in {revision_of(name) for name in world.names(REPLICA_SET)}


def test_files_of_the_denied_model_are_not_noted_as_in_use(world: Any, demo_alone: Policy) -> None:
    in_mid_canary(world)
    world.policy = demo_alone
    referred = [action for action in world.round().actions if isinstance(action, Refer)]
    assert {action.model for action in referred} == {DEMO_MODEL}


def test_a_former_model_that_is_denied_too_is_nothing_to_go_on_with(world: Any, demo_alone: Policy) -> None:
    assert license.of_former(world.observed(), LLAMA) is not None
    world.policy = demo_alone
    assert license.of_former(world.observed(), LLAMA) is None
    assert license.of_former(world.observed(), DEMO_MODEL) is not None


def test_a_change_that_is_half_made_goes_back_copy_by_copy_and_says_why(world: Any, demo_alone: Policy) -> None:
    left = half_made(world)
    world.policy = demo_alone
    world.round()
    assert answering(world) == {DEMO_MODEL: left}
    assert world.parsed().rollout.message == (
        "what the specification asks for cannot be served: the conditions that are False say why;"
        " copies of the former revision come back"
    )
    world.rounds()
    assert answering(world) == {DEMO_MODEL: 4}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"revision": "sha256:" + "0" * 12}, "RecordMismatch"),
        ({"acceptanceRef": "no-such"}, "RecordMismatch"),
        ({"id": "llama3.2"}, "LicenseMismatch"),
    ],
)
def test_a_misspelt_word_of_the_license_takes_nothing_away(world: Any, said: dict[str, str], reason: str) -> None:
    before = world.names()
    world.spec = {**OWN, "license": said}
    world.rounds()
    assert (world.names(), answering(world)) == (before, {DEMO_MODEL: 4})
    assert (told(world, "LicenseAccepted").status, told(world, "LicenseAccepted").reason) == ("False", reason)
    assert told(world, "Progressing").status == "False"
    world.spec = OWN
    world.rounds()
    assert (world.names(), world.parsed().phase) == (before, "Serving")


def test_what_was_written_rightly_and_is_no_longer_on_record_stops_it(world: Any, helpers: Any) -> None:
    world.spec = {**OWN, "license": {"acceptanceRef": world.parsed().license.acceptance}}
    world.rounds()
    assert answering(world) == {DEMO_MODEL: 4}
    acceptance, *rest = helpers.accepted("acme-inc")
    world.policy = policy_of([*helpers.registered(), replace(acceptance, id="another"), *rest])
    goes(world)
    assert told(world, "LicenseAccepted").reason == "RecordMismatch"


def test_the_former_models_own_revocation_stops_everything(world: Any, demo_alone: Policy, neither: Policy) -> None:
    world.policy, world.spec = demo_alone, OTHER
    world.rounds()
    world.policy = neither
    goes(world)


def test_in_mid_canary_the_revocation_of_both_stops_everything(world: Any, neither: Policy) -> None:
    in_mid_canary(world)
    world.policy = neither
    goes(world)


@pytest.mark.parametrize("spec", [{**OTHER, "license": {"accept": False}}, {**OWN, "license": {"accept": False}}])
def test_who_declines_stops_everything(world: Any, demo_alone: Policy, spec: dict[str, Any]) -> None:
    world.policy, world.spec = demo_alone, spec
    goes(world)
    assert told(world, "LicenseAccepted").reason == "AcceptDeclined"


def test_an_expired_policy_brings_nothing_back(world: Any, demo_alone: Policy) -> None:
    in_mid_canary(world)
    world.policy = demo_alone
    world.rounds()
    before = world.names()
    world.policy = replace(demo_alone, expired=True)
    world.rounds()
    assert (world.names(), answering(world)) == (before, {DEMO_MODEL: 4})


def test_what_never_served_wholly_is_not_gone_back_to(
    worlds: Any, pairs: Any, both: Policy, demo_alone: Policy
) -> None:
    made = worlds.World(config=CONFIG, policy=both, spec=OWN, inventory=pairs.one_each())
    made.round()
    made.policy, made.spec = demo_alone, OTHER
    goes(made)


def test_what_served_last_goes_on_and_not_what_is_older_and_not_gone_yet(world: Any) -> None:
    older = {place: item for place, item in world.objects.items() if place[0] == CONFIG_MAP}
    assert len(older) == 1
    world.spec = {**OTHER, "rollout": {}}
    world.rounds()
    current = {item.name for item in world.parsed().revisions if item.state == "Current"}
    # As where its deletion was not carried out.
    world.objects |= older
    world.spec = {**OWN, "model": {"id": "smollm2-135m-instrukt"}, "rollout": {}}
    world.round()
    (llama,) = current
    assert told(world, "LicenseAccepted").message.endswith(f"revision {llama}, model {LLAMA}")
    assert world.parsed().license.id == "llama3.2"
    world.rounds()
    assert answering(world) == {LLAMA: 4}


class TestSetBack:
    def test_to_the_licensed_model_restarts_nothing(self, world: Any, demo_alone: Policy) -> None:
        before = world.names()
        world.policy, world.spec = demo_alone, OTHER
        world.rounds()
        world.written.clear()
        world.spec = OWN
        world.rounds()
        assert (world.names(), world.written, world.parsed().phase) == (before, [], "Serving")

    def test_to_a_model_whose_license_went_leaves_the_present_one(self, world: Any, helpers: Any, both: Policy) -> None:
        world.spec = {**OTHER, "rollout": {}}
        world.rounds()
        assert answering(world) == {LLAMA: 4}
        before, gone = world.names(), {item.id for item in helpers.accepted("acme-inc")}
        view = both.view
        kept = {name: item for name, item in view.acceptances.items() if name not in gone}
        world.policy = replace(both, view=replace(view, acceptances=kept))
        world.spec = OWN
        world.rounds()
        assert told(world, "LicenseAccepted").reason == "AcceptanceMissing"
        assert (world.names(), answering(world)) == (before, {LLAMA: 4})

    def test_once_the_license_is_there_the_change_begins_anew(
        self, world: Any, demo_alone: Policy, both: Policy
    ) -> None:
        in_mid_canary(world)
        world.policy = demo_alone
        world.rounds()
        world.policy = both
        world.rounds()
        assert weights(world) == {DEMO_MODEL: 90, LLAMA: 10}
        assert told(world, "LicenseAccepted").status == "True"


def test_a_right_of_the_former_model_that_ends_by_itself_is_looked_at_then(
    worlds: Any, pairs: Any, helpers: Any
) -> None:
    """Its users are too many, and a grant for a while says that they may be."""
    acceptance, statement = helpers.accepted("acme-inc", license_id="llama3.2")
    grant = Grant(
        id="g", entity="acme-inc", licenses=("llama3.2",), models=(), valid_from=NOW - 9.0, valid_to=NOW + 100.0
    )
    platform = [*helpers.registered(), *helpers.texts("llama3.2")]
    platform += helpers.accepted("platform", role="operator", license_id="llama3.2")
    granted = policy_of([*platform, acceptance, replace(statement, band="gt_700m"), grant])
    world = worlds.World(config=CONFIG, policy=granted, spec=OTHER, inventory=pairs.one_each())
    world.rounds()
    assert answering(world) == {LLAMA: 4}
    world.spec = OWN
    world.policy = replace(granted, at=NOW + 90.0)
    outcome = world.rounds()
    assert (told(world, "LicenseAccepted").reason, answering(world)) == ("AcceptanceMissing", {LLAMA: 4})
    assert outcome.look_after_seconds == pytest.approx(10.0)
    world.policy = replace(granted, at=NOW + 101.0)
    goes(world)
