"""A cache that survives gaps, and a probe that is not fooled by an open port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx2
import pytest
from paddock_core.resources import names
from paddock_operator import reflector as module
from paddock_operator.adapters.cluster import LightkubeCluster
from paddock_operator.adapters.triton import TritonProber, _verdict
from paddock_operator.errors import ClusterError, GoneError, OverloadedError, SilentError
from paddock_operator.kinds import NODE, POD
from paddock_operator.ports import Key, Listing, Reduce, WatchEvent, whole
from paddock_operator.reflector import Reflector

from tests.operator.clocks import Clock


def pod(name: str, version: int, owner: str = "chat", *, says: str | None = None) -> dict[str, Any]:
    """A pod that says another thing in each of its versions, if nothing else is asked for."""
    labels = {names.DEPLOYMENT_NAMESPACE: "acme", names.DEPLOYMENT_NAME: owner}
    metadata = {"namespace": "s", "name": name, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata, "status": {"message": f"{version}" if says is None else says}}


class Script:
    """A cluster whose lists and watches are written down. The real API server is used in the tests of the whole."""

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)
        self.revisions: list[str] = []

    async def list(self, kind: Any, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        step = self._next()
        if isinstance(step, Exception):
            raise step
        return Listing([reduce(item) for item in step], "10")

    async def watch(self, kind: Any, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        self.revisions.append(revision)
        for event in self._next():
            if isinstance(event, Exception):
                raise event
            yield event

    def _next(self) -> Any:
        if not self._steps:
            raise asyncio.CancelledError
        return self._steps.pop(0)


async def played(
    monkeypatch: pytest.MonkeyPatch, *steps: Any, relist_seconds: float = 3600.0
) -> tuple[Reflector, list[str], Script]:
    monkeypatch.setattr(module, "RETRY_FIRST_SECONDS", 0.0)
    heard: list[str] = []
    script = Script(*steps)
    made = Reflector(
        cluster=script,  # type: ignore[arg-type]
        kind=POD,
        clock=Clock(),
        changed=lambda manifest: heard.append(str(manifest["metadata"]["name"])),
        relist_seconds=relist_seconds,
    )
    with contextlib.suppress(asyncio.CancelledError):
        await made.run()
    return made, heard, script


async def test_a_list_after_a_gap_notices_what_went(monkeypatch: pytest.MonkeyPatch) -> None:
    made, heard, _ = await played(
        monkeypatch,
        [pod("a", 1), pod("b", 2)],
        [GoneError("too old", status=410)],
        [pod("b", 2), pod("c", 3)],
        [],
    )
    assert sorted(child["metadata"]["name"] for child in made.all()) == ["b", "c"]
    assert heard == ["a", "b", "a", "c"], "the deletion in the gap was told, what did not change was not"


async def test_a_watch_goes_on_from_the_last_bookmark(monkeypatch: pytest.MonkeyPatch) -> None:
    bookmark = WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "77"}})
    made, heard, script = await played(
        monkeypatch,
        [],
        [WatchEvent("ADDED", pod("a", 11)), WatchEvent("MODIFIED", pod("a", 12)), bookmark],
        [WatchEvent("DELETED", pod("a", 78))],
        [],
    )
    assert script.revisions[:3] == ["10", "77", "78"]
    assert heard == ["a", "a", "a"]
    assert list(made.owners()) == []


async def test_a_change_of_what_nobody_reads_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    made, heard, _ = await played(
        monkeypatch,
        [pod("a", 1, says="one")],
        [WatchEvent("MODIFIED", pod("a", 12, says="one")), WatchEvent("MODIFIED", pod("a", 13, says="two"))],
        [],
    )
    assert heard == ["a", "a"]
    kept = made.get(namespace="s", name="a")
    assert kept is not None
    assert (kept["metadata"]["resourceVersion"], kept["status"]) == ("13", {"message": "two"})


async def test_everything_is_listed_again_though_the_watch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [pod("a", 1), pod("b", 2)]
    made, heard, _ = await played(monkeypatch, lost, lost[:1], relist_seconds=0.0)
    assert heard == ["a", "b", "b"], "the event of its deletion was lost, and is made up for"
    assert [item["metadata"]["name"] for item in made.all()] == ["a"]


async def test_errors_are_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _, _ = await played(
        monkeypatch,
        ClusterError("refused"),
        ClusterError("refused"),
        [pod("a", 1)],
        [ClusterError("cut")],
        [pod("a", 1)],
        [],
    )
    assert made.synced.is_set()
    assert made.of(Key("acme", "chat"))
    assert made.of(Key("acme", "other")) == []


async def test_a_watch_that_an_overloaded_server_refuses_goes_on_and_nothing_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = OverloadedError("too many requests", status=429)
    _, heard, script = await played(
        monkeypatch,
        [pod("a", 1)],
        [WatchEvent("MODIFIED", pod("a", 12)), busy],
        [busy],
        [WatchEvent("DELETED", pod("a", 13))],
    )
    assert script.revisions[:4] == ["10", "12", "12", "13"]
    assert heard == ["a", "a", "a"]


SILENT = SilentError("watch of pods: silent for 120 s")


async def test_a_watch_that_is_silent_because_nothing_happens_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    steps = [step for _ in range(5) for step in ([pod("a", 1)], [SILENT])]
    _, heard, script = await played(monkeypatch, *steps)
    assert len(script.revisions) == 5
    assert heard == ["a"]
    assert {record.levelname for record in caplog.records} == {"DEBUG"}


async def test_watches_that_keep_missing_changes_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = [WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "77"}})]
    once = [[pod("a", 1)], [SILENT], [pod("a", 2)], told, [SILENT], [pod("a", 3)], []]
    await played(monkeypatch, *once)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == [], "what came between is chance"
    _, heard, _ = await played(monkeypatch, [pod("a", 1)], [SILENT], [pod("a", 2)], [SILENT], [], [])
    assert heard == ["a", "a", "a"]
    assert [record.message[:21] for record in caplog.records if record.levelname == "WARNING"] == [
        "watches tell nothing "
    ]


async def test_silence_of_a_stream_is_told_from_a_server_that_does_not_answer() -> None:
    tasks = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        request = await reader.readuntil(b"\r\n\r\n")
        if b"/api/v1/pods" in request:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx2.AsyncClient(base_url=address) as client:
        cluster = LightkubeCluster(client, may_write=lambda: None, silence_seconds=0.2)
        with pytest.raises(SilentError, match="silent for"):
            await anext(cluster.watch(POD, revision="1"))
        with pytest.raises(ClusterError) as caught:
            await anext(cluster.watch(NODE, revision="1"))
        assert not isinstance(caught.value, SilentError)
    await asyncio.gather(*(task for task in tasks if task is not None))


async def test_an_object_that_changes_hands_is_found_under_its_new_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _, _ = await played(
        monkeypatch, [pod("a", 1, owner="old")], [WatchEvent("MODIFIED", pod("a", 2, owner="new"))], []
    )
    assert list(made.owners()) == [Key("acme", "new")]


@pytest.mark.parametrize(
    ("status", "body", "good"),
    [
        (200, '{"text_output": " x", "num_output_tokens": 1}', True),
        (200, '{"text_output": "", "num_output_tokens": 1}', True),
        (200, '{"text_output": " x"}', True),  # an unmodified NVIDIA repository has no counts
        (200, '{"text_output": "", "num_output_tokens": 0}', False),
        (200, '{"text_output": " x", "num_output_tokens": "many"}', False),
        (200, '{"text_output": " x", "num_output_tokens": [1]}', False),
        (200, '{"text_output": " x", "num_output_tokens": {"a": 1}}', False),
        (200, '{"text_output": " x", "num_output_tokens": true}', False),
        (200, '{"text_output": " x", "num_output_tokens": -1}', False),
        (200, '{"error": "Stub process is unhealthy"}', False),
        (200, '["text_output"]', False),
        (400, '{"text_output": " x", "num_output_tokens": 1}', False),
        (200, "<html>", False),
    ],
)
def test_only_a_generated_token_convinces(status: int, body: str, good: bool) -> None:
    assert (_verdict(status, body) is None) is good


async def test_nobody_there_is_a_problem_not_an_exception() -> None:
    async with aiohttp.ClientSession() as session:
        problem = await TritonProber(session).generates(url="http://127.0.0.1:9", secret="s")
    assert problem is not None
    assert "no answer" in problem
