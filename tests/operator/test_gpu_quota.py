"""GPU quota: what a plan is charged, what is granted to whom, and that it is never more than there is."""

import asyncio
import random
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.types import Ask, Inventory, Plan
from paddock_core.policy.documents import Namespace, Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.resources import names
from paddock_core.resources.conditions import FALSE, TRUE, ConditionReason, ConditionType, fails, unknown
from paddock_core.resources.llamadeployment import QuotaStatus
from paddock_operator.decide.actions import Action, Apply, Delete
from paddock_operator.decide.outcome import Life, Outcome
from paddock_operator.decide.quota import Judgement, foreseen, held, judge, settle
from paddock_operator.gpu_quota import GpuLedger, Mark
from paddock_operator.kinds import LEADER_WORKER_SET, POD, REPLICA_SET
from paddock_operator.observed import Charged, Child, Observed, parse
from paddock_operator.ports import Key, Manifest, Policy

CATALOG = packaged_catalog()


def plan_of(*, gpus_per_pod: int, pods: int = 1) -> Plan:
    made = plan(model=CATALOG.models["smollm2-135m-instruct"], ask=Ask(), inventory=Inventory())
    assert isinstance(made, Plan)
    return replace(made, gpus_per_pod=gpus_per_pod, pods_per_group=pods)


EIGHT = plan_of(gpus_per_pod=8)
GROUP = plan_of(gpus_per_pod=8, pods=2)
NONE = plan_of(gpus_per_pod=0)


def view_of(**gpus: int | None) -> PolicyView:
    """Tenants with two namespaces each: `<tenant>` and `<tenant>-2`."""
    tenants = {name: Tenant(id=name, entity=name, gpus=count) for name, count in gpus.items()}
    spaces = {f"{name}{end}": Namespace(id=f"{name}{end}", tenant=name) for name in gpus for end in ("", "-2")}
    return PolicyView(revision=1, tenants=tenants, namespaces=spaces)


def copy(name: str, *, gpus: int, size: int = 1, going: bool = False) -> Manifest:
    """A copy as it is rendered, as far as its GPUs go."""
    template = {"metadata": {"annotations": {names.GPUS: str(gpus)}}}
    metadata: dict[str, Any] = {"name": name, "namespace": "paddock-serving-acme", "uid": name}
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if size == 1:
        spec: dict[str, Any] = {"replicas": 1, "template": template}
        return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
    group = {"size": size, "leaderTemplate": template, "workerTemplate": template}
    spec = {"replicas": 1, "leaderWorkerTemplate": group}
    kind = LEADER_WORKER_SET
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}


def pod(name: str, *, gpus: int) -> Child:
    metadata = {"name": name, "namespace": "s", "uid": name, "annotations": {names.GPUS: str(gpus)}}
    return Child(kind=POD, manifest={"metadata": metadata, "spec": {}})


def look(*, charged: Charged, limit: int | None = 16, children: tuple[Child, ...] = (), status: Any = None, **spec: Any
         ) -> Observed:  # fmt: skip
    document = {
        "metadata": {"namespace": "acme", "name": "chat", "uid": "u"},
        "spec": {"model": {"id": "m"}, **spec},
        "status": status or {},
    }
    deployment, problem = parse(document)
    assert problem is None
    return Observed(
        key=Key("acme", "chat"),
        now=0.0,
        catalog=CATALOG,
        policy=Policy(view=view_of(acme=limit), expired=False, at=0.0),
        deployment=deployment,
        children=children,
        charged=charged,
    )


def judged(observed: Observed, plan: Plan = EIGHT, *, given_to_all: int = 0) -> Judgement:
    assert observed.tenant is not None
    return judge(observed, tenant=observed.tenant, plan=plan, given=given_to_all)


def test_it_is_charged_for_the_most_copies_of_the_plan() -> None:
    found = judged(look(charged=Charged(), replicas=2))
    assert found.status == QuotaStatus(gpus=16, limit=16)
    assert (found.copies, found.spare) == (2, 0)
    one = judged(look(charged=Charged(), replicas=1))
    assert one.spare == 1
    assert one.finding is not None
    assert "1 copy of 8 takes 8 GPUs" in one.finding.message
    assert judged(look(charged=Charged(), limit=64, replicas=2), GROUP).status == QuotaStatus(gpus=32, limit=64)
    scaled = look(charged=Charged(), replicas=1, scaling={"minReplicas": 0, "maxReplicas": 2})
    assert judged(scaled).status == QuotaStatus(gpus=16, limit=16)


def test_what_takes_no_gpu_needs_no_quota() -> None:
    assert judged(look(charged=Charged(), limit=0), NONE) == Judgement(
        finding=None, status=None, copies=None, spare=None
    )


@pytest.mark.parametrize(("own", "given_to_all", "status"), [(None, 0, FALSE), (None, 8, TRUE), (0, 8, FALSE)])
def test_nobody_gets_gpus_that_nobody_granted(own: int | None, given_to_all: int, status: str) -> None:
    found = judged(look(charged=Charged(), limit=own), given_to_all=given_to_all).finding
    assert found is not None
    assert found.status == status


def test_a_refusal_says_the_numbers_and_the_command() -> None:
    found = judged(look(charged=Charged(others=12), replicas=2))
    assert found.finding is not None
    assert (found.finding.type, found.finding.reason) == (
        ConditionType.QUOTA_AVAILABLE,
        ConditionReason.GPU_QUOTA_EXCEEDED,
    )
    for part in ("2 copies of 8 take 16 GPUs", "may take 16", "12", "paddock quota set --tenant acme --gpus 28"):
        assert part in found.finding.message
    assert found.status == QuotaStatus(gpus=0, limit=16, wanted=16)
    assert found.copies == 0
    assert "16 GPUs; tenant acme" in found.finding.message
    assert "Nothing is created for it" in found.finding.message
    one = (Child(kind=REPLICA_SET, manifest=copy("a", gpus=8)),)
    runs = judged(look(charged=Charged(others=12), replicas=2, children=one)).finding
    assert runs is not None
    assert "What runs goes on, and nothing is created in its place" in runs.message
    part_of_gpu = judged(look(charged=Charged(others=12), replicas=2), replace(EIGHT, mig_profile="3g.40gb")).finding
    assert part_of_gpu is not None
    assert "parts 3g.40gb, each of which counts as a GPU" in part_of_gpu.message


def test_growth_that_is_refused_keeps_what_it_has() -> None:
    found = judged(look(charged=Charged(granted=16), replicas=3))
    assert found.finding is not None
    assert found.finding.status == FALSE
    assert "keeps the 16" in found.finding.message
    assert (found.copies, found.status) == (2, QuotaStatus(gpus=16, limit=16, wanted=24))


def test_a_quota_that_falls_takes_nothing_away() -> None:
    found = judged(look(charged=Charged(granted=16, others=64), limit=0, replicas=2))
    assert found.finding is not None
    assert (found.finding.status, found.copies, found.spare) == (TRUE, 2, 0)
    assert found.finding.message.endswith("may take 0, which was lowered after they were granted")


def test_what_shrinks_is_given_back_when_its_pods_are_gone() -> None:
    copies = tuple(Child(kind=REPLICA_SET, manifest=copy(f"c-{n}", gpus=8, going=n > 0)) for n in range(3))
    assert judged(look(charged=Charged(granted=24), replicas=1, children=copies)).status == QuotaStatus(
        gpus=24, limit=16
    )
    lingering = (copies[0], pod("a", gpus=8), pod("b", gpus=8))
    found = judged(look(charged=Charged(granted=24), replicas=1, children=lingering))
    assert found.status == QuotaStatus(gpus=16, limit=16)
    assert judged(look(charged=Charged(granted=24), replicas=1, children=copies[:1])).status == QuotaStatus(
        gpus=8, limit=16
    )


def test_gpus_of_groups_are_counted_pod_by_pod() -> None:
    group = Child(kind=LEADER_WORKER_SET, manifest=copy("g", gpus=8, size=3))
    assert held((group,)) == 24
    assert held((group, *(pod(str(n), gpus=8) for n in range(4)))) == 32
    assert held(()) == 0


def outcome(*findings: Any, quota: QuotaStatus | None = None, actions: tuple[Action, ...] = ()) -> Outcome:
    return Outcome(findings=findings, life=Life(quota=quota), actions=actions)


GRANTED = Charged(granted=16)
NOTED = {"quota": {"gpus": 16, "limit": 16}}


def test_a_grant_outlives_what_could_not_be_known_and_no_certain_denial() -> None:
    unsure = unknown(ConditionType.LICENSE_ACCEPTED, ConditionReason.POLICY_EXPIRED, "")
    denied = fails(ConditionType.LICENSE_ACCEPTED, "AcceptanceMissing", "")
    one = (Child(kind=REPLICA_SET, manifest=copy("a", gpus=8)),)
    assert settle(look(charged=GRANTED, status=NOTED), outcome(unsure)).life.quota == QuotaStatus(gpus=16, limit=16)
    assert settle(look(charged=GRANTED, status=NOTED), outcome(denied)).life.quota is None
    kept = settle(look(charged=GRANTED, status=NOTED, children=one), outcome(denied)).life.quota
    assert kept == QuotaStatus(gpus=8, limit=16)


def test_copies_of_a_rollout_are_charged_as_long_as_they_are_there() -> None:
    observed = look(charged=Charged(granted=8), children=(Child(kind=REPLICA_SET, manifest=copy("a", gpus=8)),))
    found = judged(observed)
    assert (found.copies, found.spare) == (1, 1)
    more = (Apply(manifest=copy("a", gpus=8)), Apply(manifest=copy("b", gpus=8)))
    after = settle(observed, outcome(found.finding, quota=found.status, actions=more))
    assert after.life.quota == QuotaStatus(gpus=16, limit=16)


def applied(found: Outcome) -> list[str]:
    return [str(action.manifest["metadata"]["name"]) for action in found.actions if isinstance(action, Apply)]


def test_a_copy_waits_until_the_one_before_it_is_gone() -> None:
    """Whatever a planner says: nothing is created beyond the quota, and pods that are going are still there."""
    wanted = (Apply(manifest=copy("a", gpus=8)), Apply(manifest=copy("b", gpus=8)))
    granted = QuotaStatus(gpus=8, limit=8)

    def after(*children: Child, now: float = 0.0) -> Outcome:
        observed = structs.replace(look(charged=Charged(granted=8), limit=8, children=children), now=now)
        found = judged(observed)
        return settle(observed, outcome(found.finding, quota=found.status, actions=wanted))

    there = Child(kind=REPLICA_SET, manifest=copy("a", gpus=8))
    assert applied(after(there)) == ["a"]
    assert after(there).look_after_seconds == 30.0
    ending = pod("gone-x", gpus=8)
    ending.manifest["metadata"]["deletionTimestamp"] = "1970-01-01T00:10:00Z"
    assert applied(after(ending, now=610.0)) == []
    assert after(ending, now=610.0).life.quota == granted
    assert applied(after(ending, now=631.0)) == ["a"], "a pod on a node that nobody hears of keeps nobody out"
    assert applied(after()) == ["a"]
    none = settle(look(charged=Charged()), outcome(actions=(Apply(manifest=copy("cpu", gpus=0)),)))
    assert applied(none) == ["cpu"]


def test_a_leader_may_take_other_gpus_than_its_workers_and_what_says_nothing_takes_none() -> None:
    group = Child(kind=LEADER_WORKER_SET, manifest=copy("g", gpus=8, size=3))
    templates = group.manifest["spec"]["leaderWorkerTemplate"]
    templates["workerTemplate"] = {"metadata": {"annotations": {names.GPUS: "4"}}}
    assert held((group,)) == 16
    del templates["leaderTemplate"]
    assert held((group,)) == 12
    silent = pod("a", gpus=8)
    del silent.manifest["metadata"]["annotations"]
    assert held((silent,)) == 0


def test_what_was_refused_keeps_its_place_and_what_is_deleted_is_charged_until_it_is_gone() -> None:
    refused = look(charged=Charged(others=12), replicas=2)
    found = judged(refused)
    waiting = QuotaStatus(gpus=0, limit=16, wanted=16)
    assert settle(refused, outcome(found.finding, quota=found.status)).life.quota == waiting
    there = look(charged=GRANTED, children=(Child(kind=REPLICA_SET, manifest=copy("a", gpus=8)),))
    goes = Delete(kind=REPLICA_SET, namespace="paddock-serving-acme", name="a", uid="a")
    after = settle(there, outcome(judged(there).finding, quota=QuotaStatus(gpus=0, limit=16), actions=(goes,)))
    assert after.life.quota == QuotaStatus(gpus=8, limit=16)
    assert after.actions == (goes,)


@pytest.mark.parametrize(("phase", "made"), [("Running", []), ("Succeeded", ["a"]), ("Failed", ["a"])])
def test_a_pod_that_is_over_keeps_nobody_out(phase: str, made: list[str]) -> None:
    over = pod("gone-x", gpus=8)
    over.manifest["status"] = {"phase": phase}
    observed = look(charged=Charged(granted=8), limit=8, children=(over,))
    found = judged(observed)
    wanted = (Apply(manifest=copy("a", gpus=8)),)
    assert applied(settle(observed, outcome(found.finding, quota=found.status, actions=wanted))) == made


def test_of_a_deployment_that_is_gone_what_is_left_is_charged_until_it_goes() -> None:
    left = look(charged=GRANTED, status=NOTED, children=(Child(kind=REPLICA_SET, manifest=copy("a", gpus=8)),))
    assert settle(structs.replace(left, deployment=None), outcome()).life.quota == QuotaStatus(gpus=8, limit=0)
    assert settle(structs.replace(left, deployment=None, children=()), outcome()).life.quota is None


@pytest.mark.parametrize(
    ("granted", "others", "words"),
    [
        (16, 64, None),
        (0, 0, None),
        (0, 1, "Until there is room nothing is created for it"),
        (8, 1, "It keeps the 8 that it has"),
    ],
)
def test_what_is_about_to_be_stored_is_told_what_it_lacks(granted: int, others: int, words: str | None) -> None:
    spec = look(charged=Charged(), replicas=2).live.spec
    tenant = Tenant(id="acme", entity="acme", gpus=16)
    told = foreseen(spec, plan=EIGHT, tenant=tenant, given=0, granted=granted, others=others)
    assert (told is None) is (words is None)
    assert (words or "") in (told or "")


def test_what_ran_before_there_were_quotas_is_charged_and_goes_on() -> None:
    observed = look(charged=Charged(), limit=0, children=(Child(kind=REPLICA_SET, manifest=copy("a", gpus=8)),))
    found = judged(observed)
    after = settle(observed, outcome(found.finding, quota=found.status)).life.quota
    assert after == QuotaStatus(gpus=8, limit=0, wanted=8)
    again = judged(structs.replace(observed, charged=Charged(granted=8))).finding
    assert again is not None
    assert again.status == TRUE


@dataclass
class World:
    """Deployments, their copies and the ledger, as the loop would run them; what is written is `statuses`."""

    view: PolicyView
    wishes: dict[Key, int] = field(default_factory=dict)
    created: dict[Key, str] = field(default_factory=dict)
    statuses: dict[Key, dict[str, Any]] = field(default_factory=dict)
    copies: dict[Key, int] = field(default_factory=dict)
    woken: set[Key] = field(default_factory=set)
    term: int = 1
    ledger: GpuLedger = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another process leads: all that it knows is what the statuses say."""
        self.term += 1
        self.ledger = GpuLedger(given=0, term=lambda: self.term, wake=self.woken.add)
        self.ledger.listed([self.manifest(key) for key in self.wishes], Mark(set(), self.term))

    def manifest(self, key: Key) -> Manifest:
        metadata = {"namespace": key.namespace, "name": key.name, "creationTimestamp": self.created[key], "uid": "u"}
        spec = {"model": {"id": "m"}, "replicas": self.wishes[key]}
        return {"metadata": metadata, "spec": spec, "status": self.statuses.get(key, {})}

    def round(self, key: Key) -> None:
        """Look, judge, book, write, create and remove: pods are gone a round after their copy is."""
        if key not in self.wishes:
            self.copies.pop(key, None)
            self.ledger.book(key, None, created="")
            return
        charged = self.ledger.charged(key, created=self.created[key], view=self.view)
        deployment, problem = parse(self.manifest(key))
        assert problem is None
        there = self.copies.get(key, 0)
        observed = Observed(
            key=key,
            now=0.0,
            catalog=CATALOG,
            policy=Policy(view=self.view, expired=False, at=0.0),
            deployment=deployment,
            children=tuple(Child(kind=REPLICA_SET, manifest=copy(f"c-{n}", gpus=8)) for n in range(there)),
            charged=charged,
        )
        found = judged(observed)
        assert found.copies is not None
        wanted = min(self.wishes[key], found.copies)
        actions = tuple(Apply(manifest=copy(f"c-{n}", gpus=8)) for n in range(wanted))
        made = settle(observed, outcome(found.finding, quota=found.status, actions=actions))
        self.ledger.book(key, made.life.quota, created=self.created[key])
        self.statuses[key] = {} if made.life.quota is None else {"quota": msgspec.to_builtins(made.life.quota)}
        self.copies[key] = wanted

    def settle_all(self, order: list[Key]) -> None:
        """Every key that may have something to do, until nobody is woken."""
        for key in order:
            self.round(key)
        for _ in range(50):
            woken, self.woken = self.woken, set()
            for key in sorted(woken):
                self.round(key)
        assert not self.woken, "they wake each other for ever"

    def granted(self, tenant: str) -> int:
        found = {key: status["quota"]["gpus"] for key, status in self.statuses.items() if "quota" in status}
        return sum(gpus for key, gpus in found.items() if self.view.namespaces[key.namespace].tenant == tenant)

    def used(self, tenant: str) -> int:
        return 8 * sum(n for key, n in self.copies.items() if self.view.namespaces[key.namespace].tenant == tenant)


KEYS = [Key(space, name) for space in ("acme", "acme-2") for name in ("a", "b", "c")]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), st.sampled_from(KEYS), st.integers(0, 4)),
        st.tuples(st.just("gone"), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.just("quota"), st.just(KEYS[0]), st.integers(0, 64)),
        st.tuples(st.just("restart"), st.just(KEYS[0]), st.just(0)),
        st.tuples(st.just("round"), st.sampled_from(KEYS), st.just(0)),
    ),
    max_size=30,
)


@given(steps=STEPS, seed=st.integers(0, 1000))
@example(steps=[("wish", KEYS[1], 1), ("wish", KEYS[1], 0), ("quota", KEYS[0], 0), ("wish", KEYS[1], 1)], seed=0)
@settings(max_examples=150, deadline=None)
def test_more_than_the_quota_never_runs_and_nothing_that_fits_waits(steps: list[Any], seed: int) -> None:
    world, chance = World(view=view_of(acme=24)), random.Random(seed)
    allowed = 24
    for number, (what, key, count) in enumerate(steps):
        if what == "wish":
            world.created.setdefault(key, f"2026-01-01T00:00:{number:02d}Z")
            world.wishes[key] = count
        elif what == "gone":
            world.wishes.pop(key, None)
            world.statuses.pop(key, None)
            world.created.pop(key, None)
        elif what == "quota":
            world.view = view_of(acme=count)
            # What is granted stays, so a lower quota bounds nothing before that is given back: a round after it went.
            allowed = max(count, world.granted("acme"))
        elif what == "restart":
            world.restart()
        if what != "restart":
            world.round(key)
        assert world.used("acme") <= allowed
    order = list(world.wishes)
    for _ in range(3):
        chance.shuffle(order)
        world.settle_all(order)
    free = (world.view.tenants["acme"].gpus or 0) - world.used("acme")
    for key, wish in world.wishes.items():
        missing = 8 * (wish - world.copies.get(key, 0))
        others_wait = any(world.copies.get(other, 0) < world.wishes[other] for other in world.wishes if other != key)
        assert missing <= 0 or missing > free or others_wait


@given(st.permutations(KEYS))
def test_after_a_restart_the_order_of_rounds_does_not_matter(order: list[Key]) -> None:
    world = World(view=view_of(acme=24))
    for number, key in enumerate(KEYS):
        world.wishes[key], world.created[key] = 1 + number % 2, f"2026-01-01T00:00:{number:02d}Z"
        world.round(key)
    before = dict(world.copies)
    world.restart()
    world.settle_all(list(order))
    assert world.copies == before
    gone = KEYS[0]
    del world.wishes[gone], world.statuses[gone]
    world.restart()
    world.settle_all(list(order))
    assert {key: count for key, count in world.copies.items() if count} == {KEYS[1]: 2, KEYS[2]: 1}


def test_those_that_wait_are_served_by_age_and_a_smaller_one_may_pass() -> None:
    world = World(view=view_of(acme=16))
    first, large, small = KEYS[:3]
    for number, (key, wish) in enumerate(((first, 2), (large, 3), (small, 1))):
        world.created[key], world.wishes[key] = f"2026-01-01T00:00:0{number}Z", wish
        world.round(key)
    assert [world.copies[key] for key in (first, large, small)] == [2, 0, 0]
    world.wishes[first] = 1
    world.settle_all([first, first])
    assert [world.copies[key] for key in (first, large, small)] == [1, 0, 1], "what does not fit keeps nobody out"
    world.view = view_of(acme=40)
    world.settle_all([small, large])
    assert world.copies[large] == 3


def test_an_older_one_that_fits_goes_first_whoever_is_looked_at_first() -> None:
    world = World(view=view_of(acme=0))
    for number, key in enumerate(KEYS[:2]):
        world.created[key], world.wishes[key] = f"2026-01-01T00:00:0{number}Z", 1
        world.round(key)
    world.view = view_of(acme=8)
    world.settle_all([KEYS[1], KEYS[0]])
    assert (world.copies[KEYS[0]], world.copies[KEYS[1]]) == (1, 0)


@pytest.mark.parametrize("how", ["asks for nothing", "is deleted", "is in no list"])
def test_who_gives_up_its_place_in_the_line_wakes_those_behind_it(how: str) -> None:
    world = World(view=view_of(acme=0))
    older, younger = KEYS[:2]
    for number, key in enumerate((older, younger)):
        world.created[key], world.wishes[key] = f"2026-01-01T00:00:0{number}Z", 1
        world.round(key)
    world.view = view_of(acme=8)
    world.round(younger)
    assert world.copies[younger] == 0, "the place is kept for the older one"
    assert world.woken == set()
    if how == "asks for nothing":
        world.wishes[older] = 0
    else:
        del world.wishes[older]
    if how == "is in no list":
        world.ledger.listed([world.manifest(younger)], world.ledger.mark())
    world.settle_all([] if how == "is in no list" else [older])
    assert world.copies[younger] == 1


def test_tenants_do_not_share() -> None:
    world = World(view=view_of(acme=8, globex=8))
    for key in (Key("acme", "a"), Key("globex", "a"), Key("acme-2", "b")):
        world.created[key], world.wishes[key] = "2026-01-01T00:00:00Z", 1
        world.round(key)
    assert (world.used("acme"), world.used("globex")) == (8, 8)
    nobodys = world.ledger.charged(Key("nobody", "x"), created="", view=world.view)
    assert nobodys == Charged()


async def test_two_rounds_that_look_at_once_are_not_granted_the_same_gpu() -> None:
    world = World(view=view_of(acme=24))
    keys = [Key("acme", f"d{number}") for number in range(20)]
    for key in keys:
        world.created[key], world.wishes[key] = "2026-01-01T00:00:00Z", 1

    async def worker(queue: list[Key]) -> None:
        while queue:
            key = queue.pop()
            await world.ledger.counted()
            for _ in range(random.randrange(3)):
                await asyncio.sleep(0)
            world.round(key)
            await asyncio.sleep(0)

    await asyncio.gather(*(worker(keys) for _ in range(8)))
    assert world.used("acme") == 24


async def test_a_new_leader_waits_until_it_has_counted() -> None:
    world = World(view=view_of(acme=8))
    world.created[KEYS[0]], world.wishes[KEYS[0]] = "2026-01-01T00:00:00Z", 1
    world.round(KEYS[0])
    world.term += 1
    waiting = asyncio.create_task(world.ledger.counted())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    world.ledger.listed([world.manifest(KEYS[0])], Mark(set(), world.term))
    await waiting
    assert world.ledger.charged(KEYS[1], created="", view=world.view) == Charged(others=8)


def test_a_list_neither_forgets_what_was_just_granted_nor_keeps_what_is_gone() -> None:
    world = World(view=view_of(acme=24))
    for key in KEYS[:2]:
        world.created[key], world.wishes[key] = "2026-01-01T00:00:00Z", 1
    world.round(KEYS[0])
    mark, listing = world.ledger.mark(), [world.manifest(KEYS[1])]
    world.round(KEYS[1])
    world.ledger.listed(listing, mark)
    assert world.ledger.mark().keys == {KEYS[1]}
    assert world.ledger.charged(KEYS[1], created="", view=world.view) == Charged(granted=8)
