"""Lines into a pipe with room for some pieces: nothing waits, and what is missing is counted."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.log_pipe import LEFT_OUT, PIECE, LogPipe, PipeHandler

LINES = st.integers(1, 3 * PIECE).map(lambda size: b"x" * (size - 1) + b"\n")


class Pipe:
    """A pipe with room for some pieces."""

    def __init__(self) -> None:
        self.room, self.content = 0, b""
        self.log = LogPipe(ready=lambda: self.room > 0, write=self._take, told=self._told)

    def _take(self, piece: bytes) -> None:
        assert self.room > 0, "it would have waited"
        assert len(piece) <= PIECE
        self.room -= 1
        self.content += piece

    def _told(self, message: str, count: int) -> bytes:
        return json.dumps({"event": message, "lines": count}).encode() + b"\n"


@given(st.lists(st.tuples(LINES, st.integers(0, 4))))
def test_nothing_waits_and_every_line_is_there_or_counted(steps: list[tuple[bytes, int]]) -> None:
    pipe = Pipe()
    for line, room in steps:
        pipe.room += room
        pipe.log.put(line)
    pipe.room = 10**6
    pipe.log.put(b"last\n")
    *lines, last = pipe.content.splitlines()
    assert last == b"last"
    told = [json.loads(line)["lines"] for line in lines if LEFT_OUT.encode() in line]
    whole = {line.rstrip(b"\n") for line, _ in steps}
    kept = sum(line in whole for line in lines)
    torn = sum(line not in whole and LEFT_OUT.encode() not in line for line in lines)
    # A piece of a torn line can look like a whole one.
    assert len(steps) - sum(told) <= kept <= len(steps) - sum(told) + len(told)
    assert torn <= len(told)


def test_lines_go_through_as_they_are_while_there_is_room() -> None:
    pipe = Pipe()
    pipe.room = 3
    for line in (b"one\n", b"two\n"):
        pipe.log.put(line)
    assert pipe.content == b"one\ntwo\n"


def test_a_logger_goes_on_while_nobody_reads_and_while_the_disk_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    room, taken = True, b""

    def write(piece: bytes) -> None:
        nonlocal taken
        if b"full" in piece:
            raise OSError(28, "No space left on device")
        taken += piece

    handler = PipeHandler(
        name="part.logs", formatter=logging.Formatter("%(name)s: %(message)s"), ready=lambda: room, write=write
    )

    def say(message: str, *words: str) -> None:
        handler.handle(logging.makeLogRecord({"name": "part", "msg": message, "args": words}))

    room = False
    say("unread")
    room = True
    say("the disk is %s", "full")
    say("read")
    assert taken.decode().splitlines() == [f"part.logs: {LEFT_OUT}", "part: read"]
    say("%d", "no number")
    assert "no number" in capsys.readouterr().err
