"""How long a failed Job is left alone, and what its last words say."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_serving.errors import (
    ControlPlaneUnreachableError,
    ServingError,
    WeightsChecksumMismatchError,
    WeightsError,
    WeightsSourceBusyError,
)
from paddock_serving.weights.progress import Progress
from paddock_serving.weights.sources.base import Expected
from paddock_serving.weights.tries import MOST_SECONDS, Tries, last_words


def tries(root: Path, model: str = "m") -> Tries:
    return Tries(root=root, model=model, precision="bf16")


def test_what_lasts_is_tried_ever_more_rarely_and_what_passes_is_not(tmp_path: Path) -> None:
    lasting = [tries(tmp_path).failed(WeightsChecksumMismatchError("x")) for _ in range(8)]
    assert lasting == [120, 240, 480, 960, 1920, 3600, 3600, 3600]
    passing = [tries(tmp_path, "other").failed(WeightsError("x")) for _ in range(7)]
    assert passing == [120, 120, 120, 240, 240, 240, 480]
    tries(tmp_path).succeeded()
    assert tries(tmp_path).failed(WeightsChecksumMismatchError("x")) == 120


def test_a_source_that_asks_for_more_time_gets_it(tmp_path: Path) -> None:
    assert tries(tmp_path).failed(WeightsSourceBusyError("x", seconds=7200)) == 7200
    assert tries(tmp_path).failed(WeightsSourceBusyError("x", seconds=1)) == 240


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": 1}', b'["x", "y"]'])
def test_a_count_that_cannot_be_read_begins_anew(content: bytes, tmp_path: Path) -> None:
    tries(tmp_path).failed(WeightsError("x"))
    (file,) = (tmp_path / ".incoming").glob(".tries-*")
    file.write_bytes(content)
    assert tries(tmp_path).failed(WeightsChecksumMismatchError("x")) == 120


def test_where_nothing_can_be_written_each_failure_is_the_first(tmp_path: Path) -> None:
    (tmp_path / ".incoming").write_bytes(b"a file where a folder should be")
    assert tries(tmp_path).failed(WeightsChecksumMismatchError("x")) == 120


@given(words=st.text(max_size=2000), error=st.sampled_from([WeightsError, ControlPlaneUnreachableError]))
def test_last_words_are_short_and_end_with_the_pause(words: str, error: type[ServingError]) -> None:
    text = last_words(error(words), seconds=MOST_SECONDS)
    assert len(text) < 800
    assert json.loads(text.rpartition("\n")[2]) == {"retryAfterSeconds": 3600}
    assert text.startswith(error.__name__.removesuffix("Error"))


@given(
    sizes=st.lists(st.integers(min_value=1, max_value=10**12), min_size=1, max_size=5),
    steps=st.lists(st.tuples(st.floats(0.5, 10), st.integers(0, 10**9)), max_size=30),
)
def test_progress_never_says_more_than_there_is(sizes: list[int], steps: list[tuple[float, int]]) -> None:
    now = [0.0]
    files = [Expected(name=str(number), bytes=size) for number, size in enumerate(sizes)]
    progress = Progress(now=lambda: now[0])
    progress.expect(files)
    done = dict.fromkeys(files, 0)
    for number, (seconds, fetched) in enumerate(steps):
        file = files[number % len(files)]
        more = min(fetched, (file.bytes or 0) - done[file])
        done[file] += more
        now[0] += seconds
        progress.at(file, done=done[file], fetched=more)
        state = progress.document()
        assert state["bytesDone"] == sum(done.values())
        assert state["bytesTotal"] == sum(sizes)
        assert state["etaSeconds"] is None or state["etaSeconds"] >= 0
    progress.complete()
    assert progress.document()["bytesDone"] == sum(sizes)


def test_the_time_left_is_by_the_speed_of_what_comes_over_the_line() -> None:
    now = [0.0]
    file = Expected(name="a", bytes=1000)
    progress = Progress(now=lambda: now[0])
    progress.expect([file])
    progress.at(file, done=500)
    for done in (510, 520, 530):
        now[0] += 1
        progress.at(file, done=done, fetched=10)
    assert progress.document() == {"bytesDone": 530, "bytesTotal": 1000, "etaSeconds": 47}
    unknown = Progress()
    unknown.expect([Expected(name="a")])
    unknown.at(Expected(name="a"), done=7, fetched=7)
    assert unknown.document() == {"bytesDone": 7, "bytesTotal": 7, "etaSeconds": None}
