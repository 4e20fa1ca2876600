"""A log line is one JSON document, whatever is in it."""

import json
import logging
import sys
from typing import Any

from paddock_core.log_lines import JsonFormatter


def line(message: str, *arguments: Any, **extra: Any) -> str:
    record = logging.LogRecord("part.module", logging.WARNING, "file", 1, message, arguments, None)
    record.created, record.msecs = 1_800_000_000.25, 250.0
    vars(record).update(extra)
    return JsonFormatter().format(record)


def test_it_holds_the_moment_the_level_the_logger_what_happened_and_what_was_given() -> None:
    assert json.loads(line("hello %s", "you", path="/v1\nx", number=3)) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "part.module",
        "event": "hello you",
        "path": "/v1\nx",
        "number": 3,
    }


def test_what_json_does_not_know_is_told_in_words_and_never_breaks_the_line() -> None:
    text = line(
        "odd\n",
        value={
            1,
        },
        broken="\ud800",
        nested={"of": object},
    )
    assert "\n" not in text
    assert json.loads(text)["value"] == "{1}"


def test_an_exception_is_in_the_same_line() -> None:
    try:
        raise ValueError("what went wrong")  # noqa: TRY301 - its trace is what is looked at
    except ValueError:
        record = logging.LogRecord("part", logging.ERROR, "file", 1, "failed", (), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert "what went wrong" in json.loads(text)["exception"]
