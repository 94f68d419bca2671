"""A run that asks for TensorRT, from its first frame on ONNX Runtime to the last one on the engine.

The build is the real process; TensorRT and the GPU are second implementations, see tests/support/nvidia.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent import app
from agent.choose import NO_ENGINE, open_inference
from agent.contract.bundle import Bundle, load_bundle
from agent.deliver import Channel
from agent.errors import BundleError, EngineError
from agent.infer.onnx_runtime import OnnxRuntime
from agent.inference import Inference
from agent.settings import Settings
from tests.support.bundles import expected_probability, make_bundle, put_certificate
from tests.support.commands import crack
from tests.support.engine_flights import PATIENCE_S, TENSORRT, fly, settings, wall

pytestmark = pytest.mark.usefixtures("nvidia")


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def detected(inference: Inference) -> bool:
    """See a frame, and say whether what was asked for has taken over."""
    inference.detect(wall(0))
    return inference.degraded is None


def test_no_frame_is_lost_when_the_engine_takes_over(tiny_bundle: Bundle, tmp_path: Path) -> None:
    inference = open_inference(settings(tmp_path / "engines"), tiny_bundle, mode="live")
    flown = fly(inference, tmp_path / "run", lambda: inference.degraded is None)
    reference = OnnxRuntime(tiny_bundle).runtime
    assert flown.runtimes == [reference, TENSORRT]
    first, *_, last, stopped = flown.states
    assert (first.state, first.runtime, first.degraded_reason) == ("degraded", reference, NO_ENGINE)
    assert (last.state, last.runtime, last.degraded_reason) == ("running", TENSORRT, None)
    assert stopped.state == "stopped"


def test_with_an_engine_that_fits_it_begins_on_it(tiny_bundle: Bundle, tmp_path: Path) -> None:
    first = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    wait(lambda: detected(first))
    first.close()
    again = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    assert again.runtime == TENSORRT
    assert again.degraded is None
    got = again.detect(wall(1)).probability
    assert np.abs(got[45:60].astype(int) - expected_probability(wall(1))[45:60]).max() <= 1
    again.close()


def test_a_faulty_engine_is_put_aside_and_built_again_while_onnx_runtime_serves(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    first = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    wait(lambda: detected(first))
    first.close()
    for path in tmp_path.glob("*.engine"):
        path.write_bytes(path.read_bytes()[:-10])
    inference = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    assert str(inference.degraded).startswith(NO_ENGINE)
    assert inference.runtime == OnnxRuntime(tiny_bundle).runtime
    wait(lambda: detected(inference))
    assert inference.runtime == TENSORRT
    inference.close()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        pytest.param("CPU_CUDA_INIT", "100", "no CUDA-capable device is detected", id="no GPU"),
        pytest.param("CPU_CUDA_VERSION", "11040", "the CUDA driver is too old", id="an old driver"),
        pytest.param("CPU_TRT_ERROR", "9", "largest difference from torch", id="engines that answer wrongly"),
        pytest.param("CPU_CUDA_MEMORY_MB", "0", "CUDA_ERROR_OUT_OF_MEMORY", id="no memory on the GPU"),
    ],
)
def test_a_machine_that_cannot_goes_on_with_onnx_runtime_and_says_why(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    variable: str, value: str, says: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, value)
    inference = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    wait(lambda: detected(inference) or says in str(inference.degraded))
    assert inference.detect(wall(0)).probability.any()
    assert inference.runtime == OnnxRuntime(tiny_bundle).runtime
    inference.close()


def test_a_folder_that_cannot_hold_engines_is_named_and_the_agent_serves(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    inference = open_inference(settings(tmp_path / "engines"), tiny_bundle, mode="live")
    wait(lambda: detected(inference) or "engines cannot be kept here" in str(inference.degraded))
    assert inference.runtime == OnnxRuntime(tiny_bundle).runtime
    inference.close()


@pytest.mark.parametrize("there", [False, True], ids=["after it took over", "on engines that were there"])
def test_a_gpu_that_fails_in_mid_run_costs_no_frame(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    inference = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    wait(lambda: detected(inference))
    if there:
        inference.close()
        inference = open_inference(settings(tmp_path), tiny_bundle, mode="live")
        assert (inference.runtime, detected(inference)) == (TENSORRT, True)
    monkeypatch.setenv("CPU_CUDA_LOST", "1")
    found = inference.detect(wall(1))
    assert found.probability[50:53, 30:110].all()
    assert inference.runtime == OnnxRuntime(tiny_bundle).runtime
    assert "failed in mid-run: CUDA: " in str(inference.degraded)
    inference.close()


@pytest.mark.parametrize("there", [False, True], ids=["nothing is built", "engines that are there are not taken"])
def test_what_failed_its_certificate_on_tensorrt_is_not_run_there(tmp_path: Path, *, there: bool) -> None:
    folder, cache = make_bundle(tmp_path / "bundle"), tmp_path / "engines"
    if there:
        first = open_inference(settings(cache), load_bundle(folder), mode="live")
        wait(lambda: detected(first))
        first.close()
    put_certificate(folder, "fp32", passed=False, runtime="tensorrt 11.4.0 A CPU")
    bundle = load_bundle(folder)
    inference = open_inference(settings(cache), bundle, mode="live")
    assert inference.runtime == OnnxRuntime(bundle).runtime
    inference.detect(wall(0))
    assert "fp32 on tensorrt 11.4.0 A CPU did not pass its certificate: F1 falls" in str(inference.degraded)
    inference.close()
    assert cache.exists() is there
    with pytest.raises(BundleError, match="did not pass its certificate"):
        open_inference(settings(cache), bundle, mode="replay")
    assert open_inference(settings(cache, name="auto"), bundle, mode="live").degraded is None


def test_the_end_of_a_run_ends_the_build(tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPU_TRT_BUILD_SECONDS", "600")
    inference = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    inference.detect(wall(0))
    wait(lambda: any(tmp_path.glob(".*.lock")))
    inference.close()
    assert inference._thread is not None
    assert not inference._thread.is_alive()


def bytes_held() -> int:
    """Return how much of the GPU's memory is taken."""
    return ctypes.c_longlong.in_dll(ctypes.CDLL("libcuda.so.1"), "cuBytesHeld").value


def test_what_was_prepared_and_never_saw_a_frame_gives_the_gpu_back(tiny_bundle: Bundle, tmp_path: Path) -> None:
    wanted = settings(tmp_path / "engines")
    first = open_inference(wanted, tiny_bundle, mode="live")
    wait(lambda: detected(first))
    first.close()
    before = bytes_held()
    inference = open_inference(wanted, tiny_bundle, mode="live")
    assert bytes_held() > before
    inference.close()
    assert bytes_held() == before
    inference.close()  # a second call does nothing

    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "0.png"), wall(0))
    device = Settings.model_validate(
        {
            **wanted.model_dump(),
            "bundle": str(tiny_bundle.folder),
            "cameras": [{"name": "crown", "source": str(tmp_path / "photos")}],
            "record": {"dir": tmp_path / "flights"},
        }
    )
    mission = app.prepare(device, Channel({}))
    assert bytes_held() > before
    mission.close()
    assert bytes_held() == before


def test_a_build_that_no_frame_began_is_not_waited_for(tiny_bundle: Bundle, tmp_path: Path) -> None:
    inference = open_inference(settings(tmp_path), tiny_bundle, mode="live")
    assert inference.degraded == NO_ENGINE
    inference.close()
    assert list(tmp_path.iterdir()) == []


class TestReplay:
    def test_it_waits_for_the_build_and_never_swaps(
        self, nvidia_variables: dict[str, Any], tiny_bundle_folder: Path, tmp_path: Path
    ) -> None:
        photos = flights_photos(tmp_path / "photos")
        config = tmp_path / "device.yaml"
        config.write_text(f"version: 1\nruntime:\n  engine:\n    cache: {tmp_path / 'engines'}\n")
        records = []
        for out in ("first", "second"):
            done = crack(
                "crack-agent", "replay", photos, "--out", tmp_path / out, "--bundle", tiny_bundle_folder,
                "--config", config, "--runtime", "tensorrt", **nvidia_variables,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert ("this takes minutes" in done.stderr) == (out == "first")
            lines = (tmp_path / out / "frames.jsonl").read_text().splitlines()
            assert {json.loads(line)["runtime"] for line in lines} == {TENSORRT}
            records.append([(tmp_path / out / name).read_bytes() for name in ("frames.jsonl", "cracks.jsonl")])
        assert records[0] == records[1]

    def test_auto_takes_an_engine_that_is_there_and_builds_none(self, tiny_bundle: Bundle, tmp_path: Path) -> None:
        auto = settings(tmp_path, name="auto")
        without = open_inference(auto, tiny_bundle, mode="replay")
        assert without.runtime == OnnxRuntime(tiny_bundle).runtime
        assert not list(tmp_path.iterdir())
        live = open_inference(auto, tiny_bundle, mode="live")
        wait(lambda: detected(live))
        live.close()
        assert open_inference(auto, tiny_bundle, mode="replay").runtime == TENSORRT

    def test_a_build_that_fails_is_an_error_and_no_other_runtime(self, tiny_bundle: Bundle, tmp_path: Path) -> None:
        (tmp_path / "engines").write_text("a file")
        with pytest.raises(EngineError, match="engines cannot be kept here"):
            open_inference(settings(tmp_path / "engines"), tiny_bundle, mode="replay")


def flights_photos(folder: Path) -> Path:
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), wall(index))
    return folder
