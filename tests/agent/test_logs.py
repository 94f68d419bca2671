from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.commands import variables

SPEAK = """
import logging
from agent import logs
from agent.settings import LoggingSettings
logs.set_up(LoggingSettings(level={level!r}, format={format!r}))
log = logging.getLogger("camera")
log.info("frame %d\\nof many", 7)
try:
    1 / 0
except ZeroDivisionError:
    log.exception("stumbled")
"""


def spoken(level: str, form: str) -> list[str]:
    code = SPEAK.replace("{level!r}", repr(level)).replace("{format!r}", repr(form))
    done = subprocess.run([sys.executable, "-c", code], env=variables(), capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_logs_are_one_object_a_line() -> None:
    first, second = map(json.loads, spoken("info", "json"))
    assert (first["level"], first["logger"], first["message"]) == ("info", "camera", "frame 7\nof many")
    assert first["time"].endswith("Z")
    assert "ZeroDivisionError" in second["traceback"]


@pytest.mark.parametrize(("level", "heard"), [("info", True), ("warning", False)])
def test_what_is_below_the_level_is_not_said(level: str, heard: bool) -> None:  # noqa: FBT001
    assert any("frame 7" in line for line in spoken(level, "text")) == heard


JOURNAL = """
import logging, os, sys
from agent import logs
from agent.settings import LoggingSettings
status = os.fstat(sys.stderr.fileno())
logs.set_up(LoggingSettings(format={form!r}), {"JOURNAL_STREAM": {stream}})
log = logging.getLogger("camera")
log.warning("went away")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("stumbled over rtsp://pilot:hunter2@cam/")
"""


def journaled(form: str, stream: str) -> list[str]:
    code = JOURNAL.replace("{form!r}", repr(form)).replace("{stream}", stream)
    done = subprocess.run([sys.executable, "-c", code], env=variables(), capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_under_the_journal_every_line_bears_its_priority_and_no_time() -> None:
    first, *others = journaled("text", 'f"{status.st_dev}:{status.st_ino}"')
    assert first == "<4>WARNING camera: went away"
    assert len(others) > 3
    assert all(line.startswith("<3>") for line in others)
    one, two = journaled("json", 'f"{status.st_dev}:{status.st_ino}"')
    assert (one[:3], json.loads(one[3:])["message"]) == ("<4>", "went away")
    assert json.loads(two[3:])["message"] == "stumbled over rtsp://pilot:***@cam/"


def test_a_stderr_that_was_led_elsewhere_has_no_priorities() -> None:
    assert "WARNING camera: went away" in journaled("text", '"1:2"')[0]
    assert "<4>" not in "".join(journaled("text", '"1:2"'))
