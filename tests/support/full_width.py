"""`make test-models`: the papers' networks leave torch at full width too, and ONNX Runtime answers as torch does.

`python -m tests.support.full_width [NAME ...]` exports each in a process of its own, whose memory is bounded, prints a
table and ends with 1 if one fails. Weights are random: no figure here says how well a network finds cracks. So that the
comparison says something, logits are stretched to the whole range of the map.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.support.networks import NARROW, PARAMETERS

ROOT: Final = Path(__file__).resolve().parents[2]
MEMORY_GB: Final = 12.0  # of addresses, torch's own libraries included
EDGE_PX: Final = 64  # of those that have no narrow form
SLOWEST_S: Final = 3600
SPREAD: Final = 2.0  # standard deviation of the stretched logits
LEVELS_MAX: Final = 1  # of 255: rounding, as at 1/8 width
COLUMNS: Final = ("network", "parameters", "file, MB", "of 255 apart", "levels seen", "seconds", "")


def label(name: str, options: dict[str, Any]) -> str:
    """Return what a network is called in the table and on the command line."""
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


FULL: Final = {label(name, options): (name, options, parameters) for name, options, parameters in PARAMETERS}


def export_one(chosen: str) -> dict[str, float]:
    """Export a network, and return its parameters, its file's bytes, and how far ONNX Runtime answers from torch."""
    import numpy as np
    import onnxruntime
    import torch

    from export.graphs import SegmenterGraph
    from export.to_onnx import to_onnx
    from train import models
    from train.models.calibrated import Calibrated

    name, options, parameters = FULL[chosen]
    edge = next((edge for narrow, _, edge in NARROW if narrow == name), EDGE_PX)
    torch.manual_seed(0)
    net = models.build(name, **options).eval()
    count = sum(p.numel() for p in net.parameters())
    if count != parameters:
        raise ValueError(f"{chosen}: {count} parameters, not {parameters}")
    tiles = torch.randint(256, (1, edge, edge, 3), dtype=torch.uint8)
    with torch.no_grad():
        logits = net(tiles.permute(0, 3, 1, 2).float() / 255)
        scale = SPREAD / float(logits.std())
        graph = SegmenterGraph(Calibrated(net, scale=scale, bias=-scale * float(logits.mean()))).eval()
        expected = graph(tiles).numpy()
    file = to_onnx(graph, tile_px=edge, output_names=graph.output_names, name=name)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"tiles": tiles.numpy()})
    apart = int(np.abs(found.astype(int) - expected.astype(int)).max())
    return {"parameters": count, "bytes": len(file), "apart": apart, "levels": len(np.unique(expected))}


def bounded(chosen: str, memory_gb: float) -> tuple[dict[str, float] | None, str]:
    """Return what `export_one` finds in a process of at most so much memory, or None and how it ended."""

    command = [sys.executable, "-m", "tests.support.full_width", "--one", "--memory-gb", str(memory_gb), chosen]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SLOWEST_S)
    except subprocess.TimeoutExpired:
        return None, f"took more than {SLOWEST_S} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found, "" if found["apart"] <= LEVELS_MAX else f"more than {LEVELS_MAX} apart"


def main(arguments: list[str]) -> int:
    """Export what is named, or all; return 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.full_width", description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NAME", help=f"of {', '.join(FULL)}")
    parser.add_argument("--memory-gb", type=float, default=MEMORY_GB, help="of each process")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.networks if name not in FULL]
    if unknown:
        parser.error(f"no network is called {', '.join(unknown)}; there are {', '.join(FULL)}")
    if given.one:
        bytes_ = int(given.memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
        print(json.dumps(export_one(given.networks[0])))  # noqa: T201 - what the process is asked for
        return 0
    print(("{:28}" + "{:>14}" * 5 + "  {}").format(*COLUMNS))  # noqa: T201
    faults = 0
    for chosen in given.networks or FULL:
        start = time.monotonic()
        found, fault = bounded(chosen, given.memory_gb)
        faults += bool(fault)
        cells = ["-"] * 4
        if found is not None:
            cells = [f"{found['parameters']:,.0f}", f"{found['bytes'] / 1e6:.1f}"]
            cells += [f"{found['apart']:.0f}", f"{found['levels']:.0f}"]
        seconds = f"{time.monotonic() - start:.0f}"
        print(("{:28}" + "{:>14}" * 5 + "  {}").format(chosen, *cells, seconds, fault), flush=True)  # noqa: T201
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
