from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.support.commands import ROOT, variables

LAZY = ["capture", "deliver", "detect", "measure", "place", "record", "report", "track"]


@pytest.mark.parametrize("name", LAZY)
def test_a_package_gives_all_names_that_it_promises(name: str) -> None:
    package = importlib.import_module(f"agent.{name}")
    for promised in package.__all__:
        found = getattr(package, promised)
        assert found is getattr(package, promised)
        assert found is not None
        assert type(found).__name__ != "module", promised


def test_a_name_that_nobody_promised_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'agent.track' has no attribute 'Surveyy'"):
        importlib.import_module("agent.track").Surveyy  # noqa: B018 - asked for is what counts


def test_a_selftest_loads_no_video_decoder_no_mqtt_and_no_templates() -> None:
    """What it needs is a runtime, settings and a bundle: the start to the first tile is measured by `make bench`."""
    code = "import sys, agent.cli, agent.selftest; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=variables(), check=True, capture_output=True, text=True
    )
    assert not {"av", "paho", "jinja2", "starlette", "uvicorn", "torch"} & set(done.stdout.split())
