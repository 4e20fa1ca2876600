"""The cache of LlamaDeployments under our own writes: never older than what we wrote, and asked where it matters."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from paddock_core.resources import names
from paddock_operator.documents import Documents, _slim
from paddock_operator.errors import NotFoundError
from paddock_operator.ports import Key, Listing, Reduce, WatchEvent, whole

from tests.waiting import until

KEY = Key("acme", "chat")


class Clock:
    def now(self) -> float:
        return 0.0

    def boottime(self) -> float:
        return 0.0


def document(revision: int, *, uid: str = "u", phase: str = "") -> dict[str, Any]:
    metadata = {"namespace": "acme", "name": "chat", "uid": uid, "resourceVersion": str(revision), "managedFields": [1]}
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase or str(revision)}}


class Server:
    """Tells one list, then events as they are put; a read answers `now`."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self.now: dict[str, Any] | None = None
        self.events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        self.listed = list(listed)

    async def list(self, _kind: Any, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        return Listing([reduce(item) for item in self.listed], "10")

    async def watch(self, _kind: Any, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        while True:
            yield await self.events.get()

    async def get(self, _kind: Any, *, namespace: str | None, name: str) -> dict[str, Any]:
        if self.now is None:
            raise NotFoundError("gone", status=404)
        return self.now


@contextlib.asynccontextmanager
async def followed(server: Server) -> AsyncIterator[tuple[Documents, list[tuple[str, bool]]]]:
    told: list[tuple[str, bool]] = []
    made = Documents(
        cluster=server,  # type: ignore[arg-type]
        clock=Clock(),
        changed=lambda item, gone: told.append((item["metadata"]["resourceVersion"], gone)),
    )
    task = asyncio.create_task(made.reflector.run())
    await made.reflector.synced.wait()
    try:
        yield made, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def heard(told: list[tuple[str, bool]], count: int) -> None:
    await until(lambda: len(told) >= count)


def revision(made: Documents) -> str | None:
    found = made.get(KEY)
    return None if found is None else str(found["metadata"]["resourceVersion"])


async def test_it_is_what_was_heard_last_without_the_record_of_managers() -> None:
    server = Server(document(5))
    async with followed(server) as (made, told):
        assert revision(made) == "5"
        server.events.put_nowait(WatchEvent("MODIFIED", document(12)))
        await heard(told, 2)
        found = made.get(KEY)
        assert found is not None
        assert (found["metadata"]["resourceVersion"], "managedFields" in found["metadata"]) == ("12", False)


def test_of_what_a_tenant_may_write_without_end_nothing_is_held() -> None:
    made = document(5)
    made["metadata"] |= {"annotations": {"note": "x" * 250_000, names.RETRY: "2"}, "labels": {"a": "b"}}
    made["metadata"] |= {"ownerReferences": [{"name": "x"}], "finalizers": ["somebody/else"], "generation": 3}
    assert _slim(made)["metadata"] == {
        "namespace": "acme",
        "name": "chat",
        "uid": "u",
        "resourceVersion": "5",
        "generation": 3,
        "finalizers": ["somebody/else"],
        "annotations": {names.RETRY: "2"},
    }
    assert "annotations" not in _slim(document(5))["metadata"]


async def test_our_own_write_is_seen_at_once_and_until_something_newer_is_heard() -> None:
    server = Server(document(5))
    async with followed(server) as (made, told):
        made.wrote(document(9))
        assert revision(made) == "9"
        server.events.put_nowait(WatchEvent("MODIFIED", document(7)))
        await heard(told, 2)
        assert revision(made) == "9", "an event from before our write"
        server.events.put_nowait(WatchEvent("MODIFIED", document(10)))
        await heard(told, 3)
        assert revision(made) == "10"


async def test_what_was_deleted_does_not_come_back_by_our_own_write() -> None:
    server = Server(document(5))
    async with followed(server) as (made, told):
        made.wrote(document(9))
        server.events.put_nowait(WatchEvent("DELETED", document(8)))
        await heard(told, 2)
        assert told[-1] == ("5", True)
        made.wrote(document(9))
        assert made.get(KEY) is None
        server.events.put_nowait(WatchEvent("ADDED", document(11, uid="another")))
        await heard(told, 3)
        made.wrote(document(9))
        assert revision(made) == "11", "a write to the former object of the same name"


async def test_the_revision_to_write_on_is_that_of_our_own_write_of_the_same_round() -> None:
    async with followed(Server(document(5))) as (made, _told):
        assert made.revision_after(KEY, uid="u", seen="5") == "5"
        made.wrote(document(9))
        assert made.revision_after(KEY, uid="u", seen="5") == "9"
        assert made.revision_after(KEY, uid="u", seen="12") == "12"


async def test_nothing_is_written_on_the_successor_of_what_was_seen() -> None:
    server = Server(document(5))
    async with followed(server) as (made, _told):
        server.now = document(14, uid="another")
        found = await made.fresh(KEY)
        assert found is not None
        assert found["metadata"]["uid"] == "another", "the event of its making has not come yet"
        assert revision(made) == "14"
        assert made.revision_after(KEY, uid="u", seen="5") == "5"


async def test_one_that_the_server_does_not_know_is_gone_though_no_event_said_so() -> None:
    server = Server(document(5))
    async with followed(server) as (made, told):
        assert await made.fresh(KEY) is None
        assert made.get(KEY) is None
        assert told[-1] == ("5", True)


async def test_the_server_is_asked_where_it_matters() -> None:
    server = Server(document(5))
    async with followed(server) as (made, _told):
        server.now = document(14)
        found = await made.fresh(KEY)
        assert found is not None
        assert found["metadata"]["resourceVersion"] == revision(made) == "14"
        server.now = None
        assert await made.fresh(KEY) is None


async def test_a_read_makes_known_what_nobody_told_of_and_a_deletion_still_ends_it() -> None:
    server = Server()
    async with followed(server) as (documents, told):
        server.now = document(12)
        assert documents.get(KEY) is None
        assert await documents.fresh(KEY) is not None
        known = documents.get(KEY)
        assert known is not None
        assert known["metadata"]["resourceVersion"] == "12"
        assert told == [("12", False)]
        server.now = None
        assert await documents.fresh(KEY) is None
        assert documents.get(KEY) is None


async def test_what_was_heard_before_the_answer_is_not_kept_twice() -> None:
    server = Server(document(5))
    async with followed(server) as (made, told):
        server.events.put_nowait(WatchEvent("MODIFIED", document(9)))
        await heard(told, 2)
        made.wrote(document(9))
        assert made._written[KEY] is made.reflector.get(namespace=KEY.namespace, name=KEY.name)
        assert made.revision_after(KEY, uid="u", seen="5") == "9"


async def test_another_list_tells_what_the_watch_has_not() -> None:
    server = Server(document(5))
    async with followed(server) as (made, told):
        server.listed = [document(7)]
        assert await made.relist() == [made.get(KEY)]
        assert revision(made) == "7", "changed"
        server.listed = []
        await made.relist()
        assert made.get(KEY) is None, "gone"
        server.listed = [document(9, uid="another")]
        await made.relist()
        assert revision(made) == "9", "made anew"
        assert told == [("5", False), ("7", False), ("7", True), ("9", False)]


async def test_another_list_that_is_older_than_what_was_heard_changes_nothing() -> None:
    server = Server(document(5))
    async with followed(server) as (made, told):
        server.events.put_nowait(WatchEvent("MODIFIED", document(12)))
        await heard(told, 2)
        await made.relist()
        assert revision(made) == "12"
        server.listed = []
        await made.relist()
        assert revision(made) == "12", "it was made after that list"
        assert len(told) == 2
