"""An object that lost its labels is asked for by name, rarely, and taken for ours only where it is beyond doubt."""

from collections.abc import Iterable
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator.decide.revisions import TEMPLATE_KEY
from paddock_operator.errors import ClusterError, NotFoundError
from paddock_operator.kinds import CONFIG_MAP, LEADER_WORKER_SET, POD, REPLICA_SET, Kind
from paddock_operator.lost import AGAIN_SECONDS, LostBook
from paddock_operator.observed import Child

from tests.operator.clocks import Clock

SERVING = "paddock-serving-acme"
REVISION = "0a1b2c3d"
COPY = names.copy_name(namespace="acme", name="chat", revision=REVISION, index=0)
PINNED = names.revision_name(namespace="acme", name="chat", revision=REVISION)
OWN = names.deployment_labels(namespace="acme", name="chat", uid="u1", tenant="acme", model="m")
LABELS = {**OWN, names.REVISION: REVISION, names.COPY: COPY}
GROUPED = {**LABELS, names.GROUP: COPY}


class Api:
    """Holds some objects, and counts how often it is asked for which."""

    def __init__(self, *objects: tuple[Kind, dict[str, Any]]) -> None:
        self.objects = {(kind, str(item["metadata"]["name"])): item for kind, item in objects}
        self.asked: list[str] = []
        self.away = False

    async def get(self, kind: Kind, *, namespace: str | None, name: str) -> dict[str, Any]:
        self.asked.append(f"{kind.name} {name}")
        assert namespace == SERVING
        if self.away:
            raise ClusterError("the API server is away")
        if (kind, name) not in self.objects:
            raise NotFoundError("not there")
        return self.objects[kind, name]


def metadata(name: str, uid: str, labels: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": SERVING, "uid": uid, "resourceVersion": "1", "labels": labels or {}, **more}


def pod(*, labels: dict[str, str] = LABELS, maker: str = "r1", **more: Any) -> Child:
    owner = {"kind": "ReplicaSet", "name": COPY, "uid": maker, "controller": True}
    return Child(kind=POD, manifest={"metadata": metadata(f"{COPY}-x", "p1", labels, ownerReferences=[owner], **more)})


def replica_set(
    uid: str = "r1", *, labels: dict[str, str] | None = None, of: dict[str, str] = LABELS
) -> dict[str, Any]:
    return {"metadata": metadata(COPY, uid, labels), "spec": {"template": {"metadata": {"labels": of}}}}


def group(*, of: dict[str, str] = GROUPED) -> dict[str, Any]:
    template = {"metadata": {"labels": of}}
    return {
        "metadata": metadata(COPY, "g1"),
        "spec": {"leaderWorkerTemplate": {"size": 2, "workerTemplate": template}},
    }


def pinned(*, of: str = "u1", labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"metadata": metadata(PINNED, "c1", labels), "data": {TEMPLATE_KEY: f'[{{"uid": "{of}"}}]'}}


def book(api: Api) -> LostBook:
    return LostBook(cluster=api, clock=Clock())  # type: ignore[arg-type]


async def looked(api: Api, *children: Child) -> dict[Kind, Child]:
    return {child.kind: child for child in await book(api).look(lambda: children)}


def kinds(found: Iterable[Child]) -> set[Kind]:
    return {child.kind for child in found}


REVISION_THERE = Child(kind=CONFIG_MAP, manifest=pinned(labels={**OWN, names.REVISION: REVISION}))


@pytest.mark.parametrize(
    ("kind", "there", "labels"),
    [(REPLICA_SET, replica_set(), LABELS), (LEADER_WORKER_SET, group(), GROUPED)],
    ids=["ReplicaSet", "LeaderWorkerSet"],
)
async def test_a_workload_is_found_by_the_name_that_its_pods_tell(
    kind: Kind, there: dict[str, Any], labels: dict[str, str]
) -> None:
    api = Api((kind, {**there, "metadata": {**there["metadata"], "managedFields": [1]}}))
    found = await looked(api, pod(labels=labels), REVISION_THERE)
    assert api.asked == [f"{kind.name} {COPY}"]
    assert found[kind].manifest["metadata"]["labels"] == labels
    assert "managedFields" not in found[kind].manifest["metadata"]
    assert there["metadata"]["labels"] == {}, "what was read is not changed"


@pytest.mark.parametrize(
    "there",
    [
        (REPLICA_SET, replica_set("r2")),
        (REPLICA_SET, replica_set(of={"app": "theirs"})),
        (REPLICA_SET, replica_set(of={**LABELS, names.DEPLOYMENT_UID: "u2"})),
        (CONFIG_MAP, pinned()),
    ],
    ids=["another uid", "pods of others", "of a former object", "nothing"],
)
async def test_another_object_of_that_name_is_not_taken_for_it(there: tuple[Kind, dict[str, Any]]) -> None:
    found = await looked(Api(there), pod(), REVISION_THERE)
    assert set(found) == {POD, CONFIG_MAP}


async def test_what_is_followed_or_goes_anyway_is_not_asked_for() -> None:
    api = Api((REPLICA_SET, replica_set()))
    there = Child(kind=REPLICA_SET, manifest=replica_set(labels=LABELS))
    await looked(api, pod(), there, REVISION_THERE)
    await looked(api, pod(deletionTimestamp="2026-01-01T00:00:00Z"), REVISION_THERE)
    await looked(api)
    assert api.asked == []


async def test_a_workload_with_the_name_of_another_copy_on_it_is_taken_for_what_its_pods_say() -> None:
    wrong = replica_set(labels={**LABELS, names.COPY: "another"})
    found = await looked(Api((REPLICA_SET, wrong)), pod(), Child(kind=REPLICA_SET, manifest=wrong), REVISION_THERE)
    assert found[REPLICA_SET].manifest["metadata"]["labels"] == LABELS


async def test_a_revision_is_found_by_its_copies_and_seen_to_lack_something() -> None:
    there = Child(kind=REPLICA_SET, manifest=replica_set(labels=LABELS))
    found = await looked(Api((CONFIG_MAP, pinned())), there)
    without = {name: value for name, value in OWN.items() if name != names.MANAGED_BY}
    assert found[CONFIG_MAP].manifest["metadata"]["labels"] == {**without, names.REVISION: REVISION}
    # The cache may only be late: then it lacks nothing.
    whole = {**OWN, names.REVISION: REVISION}
    found = await looked(Api((CONFIG_MAP, pinned(labels=whole))), there)
    assert found[CONFIG_MAP].manifest["metadata"]["labels"] == whole
    assert CONFIG_MAP not in await looked(Api((CONFIG_MAP, pinned(of="u2"))), there)


async def test_what_is_not_there_is_asked_for_once_a_minute_and_what_was_deleted_not_at_all() -> None:
    api, clock = Api(), Clock()
    asking = LostBook(cluster=api, clock=clock)  # type: ignore[arg-type]
    children = (pod(), REVISION_THERE)
    begin = clock.boot
    for at, times in ((0.0, 1), (AGAIN_SECONDS - 1, 1), (AGAIN_SECONDS, 2)):
        clock.boot = begin + at
        assert await asking.look(lambda: children) == children
        assert len(api.asked) == times
    asking.ended("r9")
    await asking.look(lambda: (pod(maker="r9"), REVISION_THERE))
    assert len(api.asked) == 2


async def test_without_an_answer_nothing_is_known() -> None:
    api = Api((REPLICA_SET, replica_set()))
    asking, api.away = book(api), True
    with pytest.raises(ClusterError):
        await asking.look(lambda: (pod(), REVISION_THERE))
    api.away = False
    assert REPLICA_SET in kinds(await asking.look(lambda: (pod(), REVISION_THERE)))


async def test_what_came_while_it_was_asked_for_is_taken_as_it_came() -> None:
    late = Child(kind=REPLICA_SET, manifest=replica_set(labels=LABELS))
    looks = iter([(pod(), REVISION_THERE), (pod(), REVISION_THERE, late)])
    api = Api((REPLICA_SET, replica_set()))
    assert late in await book(api).look(lambda: next(looks))
