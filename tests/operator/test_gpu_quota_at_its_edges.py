"""What the GPU quota counts, and what it holds back, where grants, limits and what exists differ."""

import pytest
from msgspec import structs
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, holds, unknown
from paddock_core.resources.llamadeployment import QuotaStatus
from paddock_operator.decide.actions import Action, Apply, Delete
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.quota import held, settle
from paddock_operator.kinds import JOB, LEADER_WORKER_SET, REPLICA_SET
from paddock_operator.observed import Charged, Child, Observed

from tests.operator.test_gpu_quota import GRANTED, applied, copy, judged, look, outcome, pod

A, B = Apply(manifest=copy("a", gpus=8)), Apply(manifest=copy("b", gpus=8))


def child(name: str, *, gpus: int = 8, going: bool = False) -> Child:
    return Child(kind=REPLICA_SET, manifest=copy(name, gpus=gpus, going=going))


def settled(observed: Observed, *actions: Action, look_after: float | None = None) -> Outcome:
    """A round that wants to do this, as the quota leaves it."""
    found = judged(observed)
    wanted = outcome(found.finding, quota=found.status, actions=actions)
    return settle(observed, structs.replace(wanted, look_after_seconds=look_after))


class TestGrants:
    def test_copies_that_scaling_never_goes_below_are_charged(self) -> None:
        odd = look(charged=Charged(), limit=64, scaling={"minReplicas": 3, "maxReplicas": 2})
        assert judged(odd).status == QuotaStatus(gpus=24, limit=64)

    def test_only_a_quota_below_the_grant_is_told_as_lowered(self) -> None:
        found = judged(look(charged=Charged(), replicas=2)).finding
        assert found is not None
        assert found.message.endswith("tenant acme may take 16")

    def test_copies_beyond_the_most_are_no_part_of_the_grant(self) -> None:
        found = judged(look(charged=Charged(granted=8), limit=8, children=(child("a"), child("b"))))
        assert found.status == QuotaStatus(gpus=8, limit=8)

    def test_what_others_have_is_not_spare(self) -> None:
        assert judged(look(charged=Charged(others=16), limit=32)).spare == 1

    def test_growth_that_is_refused_leaves_room_for_a_rollout(self) -> None:
        assert judged(look(charged=Charged(granted=8, others=8), limit=24, replicas=3)).spare == 1

    def test_one_thing_that_is_not_known_keeps_the_grant(self) -> None:
        sure = holds(ConditionType.SERVING, ConditionReason.SERVING, "")
        unsure = unknown(ConditionType.LICENSE_ACCEPTED, ConditionReason.POLICY_EXPIRED, "")
        after = settle(look(charged=GRANTED), outcome(sure, unsure)).life.quota
        assert after == QuotaStatus(gpus=16, limit=0)


class TestWhatIsCounted:
    def test_pods_that_outlive_their_copies_are_charged_until_they_are_gone(self) -> None:
        left = look(charged=Charged(granted=8), children=(pod("x", gpus=8), pod("y", gpus=8)))
        assert settled(left).life.quota == QuotaStatus(gpus=16, limit=16)

    def test_a_copy_that_comes_is_charged_beside_the_one_that_stays_as_it_is(self) -> None:
        there = look(charged=Charged(granted=8), children=(child("a"),))
        assert settled(there, B).life.quota == QuotaStatus(gpus=16, limit=16)

    def test_one_that_shrinks_is_charged_as_it_was_until_it_has(self) -> None:
        large = look(charged=Charged(granted=16), limit=32, replicas=2, children=(child("a", gpus=16),))
        assert settled(large, A, B).life.quota == QuotaStatus(gpus=24, limit=32)

    def test_only_copies_and_pods_take_gpus(self) -> None:
        other = copy("a", gpus=8)
        other["metadata"]["annotations"] = {names.GPUS: "8"}
        job = Child(kind=JOB, manifest=other)
        assert held((job,)) == 0
        marked = Child(kind=REPLICA_SET, manifest=other)
        assert held((marked,)) == 8
        there = look(charged=Charged(granted=8), limit=8, children=(job,))
        after = settled(there, A)
        assert applied(after) == ["a"]
        assert after.life.quota == QuotaStatus(gpus=8, limit=8)

    def test_a_copy_without_gpus_is_charged_nothing(self) -> None:
        assert (
            settle(look(charged=Charged()), outcome(actions=(Apply(manifest=copy("cpu", gpus=0)),))).life.quota is None
        )

    @pytest.mark.parametrize(("replicas", "gpus"), [(None, 8), (0, 0), (2, 16)])
    def test_workloads_are_counted_by_their_replicas(self, replicas: int | None, gpus: int) -> None:
        one, group = copy("a", gpus=8), copy("g", gpus=8, size=2)
        for manifest in (one, group):
            manifest["spec"].pop("replicas")
            manifest["spec"] |= {} if replicas is None else {"replicas": replicas}
        assert held((Child(kind=REPLICA_SET, manifest=one),)) == gpus
        assert held((Child(kind=LEADER_WORKER_SET, manifest=group),)) == 2 * gpus
        del group["spec"]["leaderWorkerTemplate"]["size"]
        assert held((Child(kind=LEADER_WORKER_SET, manifest=group),)) == gpus


class TestWhatIsHeldBack:
    def test_a_copy_that_was_granted_is_made_anew_under_a_lowered_quota(self) -> None:
        assert applied(settled(look(charged=Charged(granted=8), limit=0), A)) == ["a"]

    def test_what_others_have_is_no_room(self) -> None:
        there = look(charged=Charged(granted=8, others=8), limit=16)
        assert applied(settled(there, A, B)) == ["a"]

    def test_a_copy_that_has_to_wait_keeps_nothing_behind_it_from_being_done(self) -> None:
        goes = Delete(kind=REPLICA_SET, namespace="paddock-serving-acme", name="c", uid="c")
        large, small = Apply(manifest=copy("a", gpus=16)), Apply(manifest=copy("cpu", gpus=0))
        there = look(charged=Charged(granted=8), limit=8, children=(child("c", gpus=16),))
        assert settled(there, large, goes, small).actions == (goes, small)

    def test_what_waits_is_looked_at_soon_and_what_does_not_when_it_was_due(self) -> None:
        there = look(charged=Charged(granted=8), limit=8)
        waits = [settled(there, A, B, look_after=after).look_after_seconds for after in (None, 5.0, 90.0)]
        assert waits == [30.0, 5.0, 30.0]
        goes = [settled(there, A, look_after=after).look_after_seconds for after in (None, 5.0, 90.0)]
        assert goes == [None, 5.0, 90.0]

    def test_a_copy_that_goes_takes_what_its_pods_take(self) -> None:
        over = pod("c-x", gpus=8)
        over.manifest["metadata"]["labels"] = {names.COPY: "c"}
        goes = child("c", going=True)
        assert applied(settled(look(charged=Charged(granted=8), limit=8, children=(goes, over)), A)) == []
        over.manifest["status"] = {"phase": "Succeeded"}
        assert applied(settled(look(charged=Charged(granted=8), limit=8, children=(goes, over)), A)) == ["a"]

    def test_pods_of_a_copy_that_stays_are_not_counted_beside_it(self) -> None:
        own = pod("c-x", gpus=8)
        own.manifest["metadata"]["labels"] = {names.COPY: "c"}
        there = look(charged=Charged(granted=16), limit=16, replicas=2, children=(child("c"), own))
        assert applied(settled(there, A)) == ["a"]
