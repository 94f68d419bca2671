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
