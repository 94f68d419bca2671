"""What the agent costs beside the network: tiles, stitching, the whole replay of a photo, the cold start.

Process CPU time, one worker, medians; everything as a ratio to the runtime's own calls in the same run.

Run: python -m tests.bench.bench_detect
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from agent.bundles import open_bundle
from agent.contract.arrays import UInt8
from agent.detect import Detector
from agent.infer.onnx_runtime import OnnxRuntime
from agent.simulate.patches import render_patch
from tests.support.commands import call, crack, variables

REPEATS = 3
HEIGHT, WIDTH = 3024, 4032
BARE = """
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession({model!r}, options, providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: numpy.zeros((1, {edge}, {edge}, 3), numpy.uint8)})
"""
FIRST_TILE = """
import agent.cli  # what every command loads, and first
import cv2
from agent import settings
from agent.bundles import open_bundle
from agent.infer.runtimes import open_backend
bundle = open_bundle(settings.load(None, environment={}, overrides={}).bundle)
backend = open_backend("onnxruntime", bundle)
tile = cv2.imread(str(bundle.path(bundle.manifest.golden[0].tile)), cv2.IMREAD_COLOR_RGB)
backend.infer(tile[None])
"""


def main() -> None:
    """Print the figures; with --json as one object."""
    cv2.setNumThreads(1)
    frame = picture()
    figures = {**tile_loop(frame), **replay(frame), **cold_start()}
    lines = "".join(f"{name:42} {value}\n" for name, value in figures.items())
    sys.stdout.write(json.dumps(figures) + "\n" if "--json" in sys.argv else lines)


def picture() -> UInt8:
    """Lay rendered patches side by side over 12 megapixels."""
    rng = np.random.default_rng(0)
    patch = np.hstack([render_patch(rng, 512).image_rgb for _ in range(4)])
    return np.ascontiguousarray(np.tile(patch, (6, 2, 1))[:HEIGHT, :WIDTH])


def tile_loop(frame: UInt8) -> dict[str, float]:
    """Compare the tile loop with the sum of the runtime's calls, every tile segmented (target: 1.02)."""
    bundle = open_bundle("default")
    detector = Detector(OnnxRuntime(bundle), bundle.manifest, gate=False)
    ratios, outside = [], []
    for _ in range(REPEATS):
        start = time.process_time()
        found = detector.detect(frame)
        seconds = time.process_time() - start
        ratios.append(seconds / found.run_seconds)
        outside.append((seconds - found.run_seconds) * 1000 / (frame.shape[0] * frame.shape[1] / 1e6))
    return {
        "tile loop / runs": round(statistics.median(ratios), 4),
        "outside the network, ms per megapixel": round(statistics.median(outside), 2),
    }


def replay(frame: UInt8) -> dict[str, float]:
    """Compare the replay of a 12-megapixel JPEG, decode to report, with the sum of the runtime's calls (1.10)."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        cv2.imwrite(str(photo), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        done = crack(
            "crack-agent", "replay", photo, "--out", Path(folder, "out"), "--json",
            CRACKSCOUT_DETECT__GATE="false", CRACKSCOUT_RUNTIME__WORKERS="1",
        )  # fmt: skip
    summary = json.loads(done.stdout)
    return {
        "replay of 12 megapixels / runs": round(sum(summary["stage_seconds"].values()) / summary["run_seconds"], 4),
        "peak memory, MB": summary["peak_memory_mb"],
    }


def cold_start() -> dict[str, float]:
    """Compare the start up to the first tile with bare ONNX Runtime's (target: 1.5); and a whole selftest with it.

    Ours loads the command line, reads the settings, checks every file of the bundle, opens the gate beside the
    segmenter and decodes the tile; the bare runtime opens the segmenter and infers an empty one.
    """
    segmenter = open_bundle("default").manifest.segmenter
    model = str(Path("agent/bundles/default", segmenter.variants["fp32"].file).resolve())
    code = BARE.replace("{model!r}", repr(model)).replace("{edge}", str(segmenter.tile_px))
    bare = min(_cpu_seconds([sys.executable, "-c", code]) for _ in range(REPEATS))
    ours = min(_cpu_seconds([sys.executable, "-c", FIRST_TILE]) for _ in range(REPEATS))
    whole = min(_cpu_seconds(call("crack-agent", "selftest")) for _ in range(REPEATS))
    return {
        "cold start to the first tile / bare runtime": round(ours / bare, 2),
        "selftest with its golden tiles / bare runtime": round(whole / bare, 2),
    }


def _cpu_seconds(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, env=variables(), check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
