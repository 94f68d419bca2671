"""Whatever befalls its engines, the agent infers every frame, says in `state` that it is degraded and why, and mends.

The agent's own parts from settings, real files on real disks, and the real process that builds; TensorRT and the GPU
are second implementations, see tests/support/nvidia.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.choose import NO_ENGINE, open_inference
from agent.contract.bundle import Bundle, load_bundle
from agent.infer.engine_cache import EngineCache
from agent.infer.onnx_runtime import OnnxRuntime
from agent.inference import Inference
from tests.support.broker import Broker, Subscriber, running
from tests.support.cameras import wait_until
from tests.support.commands import call, child_of, variables
from tests.support.disks import fill, make_read_only
from tests.support.engine_flights import TENSORRT, Flown, fly, settings
from tests.support.nvidia_fixtures import Built

pytestmark = pytest.mark.usefixtures("nvidia")


@pytest.fixture
def reference(tiny_bundle: Bundle) -> str:
    return OnnxRuntime(tiny_bundle).runtime


def flight(bundle: Bundle, cache: Path, out: Path, until: Callable[[Inference], bool]) -> Flown:
    """Start the agent's inference on a cache of engines, and see frames until it is so, and some more."""
    inference = open_inference(settings(cache), bundle, mode="live")
    return fly(inference, out, lambda: until(inference))


def takes_over(inference: Inference) -> bool:
    return inference.degraded is None


def gives_up(inference: Inference) -> bool:
    return not str(inference.degraded).startswith(NO_ENGINE)


def build_began(cache: Path) -> bool:
    return any(cache.glob(".*.lock"))


def test_a_disk_that_fills_during_the_build(
    tiny_bundle: Bundle, small_disk: Path, tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPU_TRT_BUILD_SECONDS", "3")
    filled: list[Path] = []

    def until(inference: Inference) -> bool:
        if not filled and build_began(small_disk):
            filled.append(fill(small_disk))
        return gives_up(inference)

    flown = flight(tiny_bundle, small_disk, tmp_path / "full", until)
    assert flown.runtimes == [reference]
    assert flown.reasons[0] == NO_ENGINE
    assert "engines cannot be kept here (No space left on device); free space" in flown.reasons[-1]

    monkeypatch.delenv("CPU_TRT_BUILD_SECONDS")
    filled[0].unlink()
    assert flight(tiny_bundle, small_disk, tmp_path / "room", takes_over).runtimes == [reference, TENSORRT]


class TestReadOnlyFolder:
    def test_it_is_named_and_nothing_is_built(
        self, tiny_bundle: Bundle, small_disk: Path, tmp_path: Path, reference: str
    ) -> None:
        make_read_only(small_disk)
        flown = flight(tiny_bundle, small_disk, tmp_path / "run", gives_up)
        assert flown.runtimes == [reference]
        assert "engines cannot be kept here (Read-only file system)" in flown.reasons[-1]

    def test_good_engines_in_it_serve_from_the_first_frame(
        self, tiny_bundle: Bundle, built: Built, small_disk: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(built.cache, small_disk, dirs_exist_ok=True)
        make_read_only(small_disk)
        flown = flight(tiny_bundle, small_disk, tmp_path / "run", takes_over)
        assert (flown.runtimes, flown.reasons) == ([TENSORRT], [])

    def test_a_faulty_engine_in_it_is_not_loaded(
        self, tiny_bundle: Bundle, built: Built, small_disk: Path, tmp_path: Path, reference: str
    ) -> None:
        shutil.copytree(built.cache, small_disk, dirs_exist_ok=True)
        truncate(small_disk, built)
        make_read_only(small_disk)
        flown = flight(tiny_bundle, small_disk, tmp_path / "run", gives_up)
        assert flown.runtimes == [reference]
        assert "is not the record's" in flown.reasons[0]
        assert "engines cannot be kept here (Read-only file system)" in flown.reasons[-1]


def test_a_bundle_on_a_read_only_disk_is_served_and_its_engines_are_kept_elsewhere(
    tiny_bundle_folder: Path, small_disk: Path, tmp_path: Path, reference: str
) -> None:
    folder = shutil.copytree(tiny_bundle_folder, small_disk / "bundle")
    make_read_only(small_disk)
    flown = flight(load_bundle(folder), tmp_path / "engines", tmp_path / "run", takes_over)
    assert flown.runtimes == [reference, TENSORRT]


def test_a_build_that_is_killed(
    tiny_bundle: Bundle, tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPU_TRT_BUILD_SECONDS", "600")
    cache = tmp_path / "engines"

    def until(inference: Inference) -> bool:
        build = child_of(os.getpid(), "agent.infer.engine_build")
        if build and build_began(cache):
            os.kill(build, signal.SIGKILL)
        return gives_up(inference)

    flown = flight(tiny_bundle, cache, tmp_path / "killed", until)
    assert flown.runtimes == [reference]
    assert flown.reasons[0] == NO_ENGINE
    assert "the engine's build was ended by SIGKILL" in flown.reasons[-1]

    monkeypatch.delenv("CPU_TRT_BUILD_SECONDS")
    again = flight(tiny_bundle, cache, tmp_path / "again", takes_over)
    assert again.runtimes == [reference, TENSORRT]


def truncate(cache: Path, built: Built) -> None:
    path = EngineCache(cache).path(built.engines.keys()[0])
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(cache: Path, built: Built) -> None:
    path = EngineCache(cache).path(built.engines.keys()[1])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def exchange(cache: Path, built: Built) -> None:
    segmenter, gate = built.engines.keys()
    engines = EngineCache(cache)
    for place in (engines.path, engines.record_path):
        shutil.copy(place(gate), place(segmenter))


def exchange_the_plan_alone(cache: Path, built: Built) -> None:
    segmenter, gate = map(EngineCache(cache).path, built.engines.keys())
    shutil.copy(gate, segmenter)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(truncate, "is not the record's", id="a truncated plan"),
        pytest.param(flip_a_byte, "is not the record's", id="a flipped byte"),
        pytest.param(exchange, "built for another key (onnx_sha256 differ)", id="an entry of another key"),
        pytest.param(exchange_the_plan_alone, "is not the record's", id="a plan of another key"),
    ],
)
def test_an_engine_that_is_not_what_it_was(
    damage: Callable[[Path, Built], None],
    says: str,
    tiny_bundle: Bundle,
    built: Built,
    tmp_path: Path,
    reference: str,
) -> None:
    cache = shutil.copytree(built.cache, tmp_path / "engines")
    damage(cache, built)
    flown = flight(tiny_bundle, cache, tmp_path / "run", takes_over)
    assert flown.runtimes == [reference, TENSORRT]
    (reason,) = flown.reasons
    assert reason.startswith(f"{NO_ENGINE} again: ")
    assert says in reason
    assert any((cache / "quarantine").glob("*.engine"))
    mended = flight(tiny_bundle, cache, tmp_path / "mended", takes_over)
    assert (mended.runtimes, mended.reasons) == ([TENSORRT], [])


class TestTwoAgents:
    """Two processes of the service on one device and one cache, as after a start by hand beside the service."""

    def test_they_build_each_engine_once_and_both_take_it(
        self, nvidia_variables: dict[str, str], tiny_bundle_folder: Path, tmp_path: Path, reference: str
    ) -> None:
        (tmp_path / "broker").mkdir()
        cache = tmp_path / "engines"
        with ExitStack() as stack:
            broker = stack.enter_context(running(Broker(tmp_path / "broker")))
            subscriber = stack.enter_context(closing(Subscriber(broker)))
            agents = [
                stack.enter_context(agent(tmp_path / name, tiny_bundle_folder, cache, broker, nvidia_variables))
                for name in ("left", "right")
            ]
            wait_until(lambda: all(rows(one) and rows(one)[-1]["runtime"] == TENSORRT for one in agents), seconds=240)

            def states(one: Path) -> list[dict[str, Any]]:
                return subscriber.payloads(f"{one.name}/state")

            subscriber.wait_for(lambda: all(told and told[-1]["state"] == "running" for told in map(states, agents)))
        for one in agents:
            seen = rows(one)
            assert [row["index"] for row in seen] == list(range(len(seen)))
            assert list(dict.fromkeys(row["runtime"] for row in seen)) == [reference, TENSORRT]
            assert not any(row["status"] == "skipped" for row in seen)
            reasons = {state["degraded_reason"] for state in states(one) if state["state"] == "degraded"}
            assert reasons == {NO_ENGINE}
            assert "Traceback" not in (one / "log").read_text()
        assert len(list(cache.glob("*.engine"))) == 2
        assert not (cache / "quarantine").exists()
        built = [line for one in agents for line in (one / "log").read_text().splitlines() if "stage built" in line]
        assert len(built) == 2  # segmenter and gate, each by one of them


@contextmanager
def agent(folder: Path, bundle: Path, cache: Path, broker: Broker, environment: dict[str, str]) -> Iterator[Path]:
    """Run the agent on a rendered camera until the block ends; the folder has its name, and its log and record."""
    folder.mkdir()
    config = {
        "version": 1,
        "device": folder.name,
        "bundle": str(bundle),
        "cameras": [{"name": "belly", "source": "rendered://tunnel?seconds=600&fps=4&width_px=160&height_px=120"}],
        "record": {"frames": "none", "dir": str(folder / "flights")},
        "delivery": {"dir": str(folder / "outbox")},
        "mqtt": {"host": "127.0.0.1", "port": broker.port},
        "runtime": {"name": "tensorrt", "workers": 1, "engine": {"cache": str(cache), "timeout_s": 200}},
    }
    (folder / "device.yaml").write_text(yaml.safe_dump(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            call("crack-agent", "run", "--config", folder / "device.yaml"),
            cwd=folder, env=variables(**environment, CPU_TRT_BUILD_SECONDS="2"), stderr=log, stdout=log,
        )  # fmt: skip
    try:
        yield folder
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0, (folder / "log").read_text()
    finally:
        process.kill()
        process.wait()


def rows(folder: Path) -> list[dict[str, Any]]:
    """What an agent has recorded so far; a line that is half written is left out."""
    found = [path.read_text() for path in folder.glob("flights/*/frames.jsonl")]
    return [json.loads(line) for text in found for line in text.splitlines(keepends=True) if line.endswith("\n")]
