"""The log is one JSON object a line from every source, and never stops an answer."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from edge.inference import log


@pytest.fixture
def captured() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    log.capture()
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("captured")
def test_a_warning_of_a_library_is_one_line_like_everything_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    library = logging.getLogger("awsiot.eventstreamrpc")
    library.warning("two\nlines, and %s", "a value")
    library.debug("nobody asked for this")
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["event"], said["level"]) == ("sdk", "WARNING")
    assert said["message"] == "two\nlines, and a value"


def test_an_event_stays_one_line_with_any_content(capsys: pytest.CaptureFixture[str]) -> None:
    log.event("refused", message="a\nb\u2028c\x00", row=None, features=("pH", "\U0001f377"))
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["event"], said["message"], said["row"]) == ("refused", "a\nb\u2028c\x00", None)


def test_a_log_that_nobody_takes_any_more_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, _text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    log.event("answer")
