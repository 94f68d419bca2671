"""What each design of a network costs per 512 tile, as a ratio to the yardstick; unet8 and light stand beside them.

ONNX Runtime, fp32, one thread, the uint8 graphs as they ship, process CPU time, in turns, so that a busy machine slows
all of them alike; medians. A gate sees the tile at half its size; its cost is laid beside that of each segmenter.

Run: python -m tests.bench.bench_networks [--json] [--rounds N]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import train  # noqa: F401 - it mends a torchvision that was built for another torch
from export.graphs import GateGraph, SegmenterGraph
from export.to_onnx import to_onnx
from tests.support import bench_nets
from tests.support.bench_designs import GATES, SEGMENTERS, SHIPS
from train import models
from train.models.reparam import fused

ROUNDS = 12
TILE = bench_nets.TILE
SEGMENTER_TARGET, GATE_TARGET = 0.6, 0.1


@dataclass
class Candidate:
    """A network in the form in which it ships."""

    kind: str
    tried_for: str
    session: ort.InferenceSession
    edge: int
    parameters: int
    gflop: float
    receptive_field_px: int | None
    seconds: list[float] = field(default_factory=list)

    @property
    def ms(self) -> float:
        """Median CPU time of a tile; the first run warms up."""
        return 1000 * statistics.median(self.seconds[1:])


def main() -> None:
    """Print the ratios; with --json as one object."""
    rounds = int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else ROUNDS
    found = measured(rounds)
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(as_json(found)) + "\n")
        return
    table = Table("network", "parameters", "GFLOP", "ms", "of the yardstick", "target", "tried for", box=None)
    for name, row in as_json(found).items():
        table.add_row(
            name,
            f"{row['parameters']:,}",
            f"{row['gflop']:.2f}",
            f"{row['ms']:.1f}",
            f"{row['ratio']:.2f}",
            str(row["target"]),
            str(row["tried_for"]),
        )
    Console(width=170).print(table)


def as_json(found: dict[str, Candidate]) -> dict[str, dict[str, float | str | None]]:
    """Return a row per network."""
    yardstick, ships = found["yardstick"].ms, found[f"segmenter {SHIPS[0]}"].ms
    rows: dict[str, dict[str, float | str | None]] = {}
    for name, one in found.items():
        gate = one.kind == "gate"
        ratio = one.ms / (ships if gate else yardstick)
        most = GATE_TARGET if gate else SEGMENTER_TARGET
        judged = name in {f"segmenter {SHIPS[0]}", f"gate {SHIPS[1]}"}
        rows[name] = {
            "parameters": one.parameters,
            "gflop": round(one.gflop, 3),
            "receptive_field_px": one.receptive_field_px,
            "ms": round(one.ms, 2),
            "ratio": round(ratio, 3),
            "target": f"<= {most:g} {'met' if ratio <= most else 'MISSED'}" if judged else "",
            "tried_for": one.tried_for + (f" (ratio: of segmenter {SHIPS[0]})" if gate else ""),
        }
    return rows


def measured(rounds: int) -> dict[str, Candidate]:
    """Return every network, timed."""
    torch.set_num_threads(1)
    found = {name: _candidate("peer", "see PERF", bench_nets.build(name), TILE) for name in bench_nets.SIZES}
    for kind, designs, edge in (("segmenter", SEGMENTERS, TILE), ("gate", GATES, TILE // 2)):
        for name, design in designs.items():
            torch.manual_seed(0)
            net = fused(models.build(design.model, **design.options).eval())
            found[f"{kind} {name}"] = _candidate(kind, design.tried_for, net, edge)
    tile = np.random.default_rng(0).integers(0, 256, (1, TILE, TILE, 3), dtype=np.uint8)
    for _ in range(rounds + 1):
        for one in found.values():
            view = np.ascontiguousarray(tile[:, : one.edge, : one.edge])
            start = time.process_time()
            one.session.run(None, {"tiles": view})
            one.seconds.append(time.process_time() - start)
    return found


def _candidate(kind: str, tried_for: str, net: nn.Module, edge: int) -> Candidate:
    graph: SegmenterGraph | GateGraph = GateGraph(net) if kind == "gate" else SegmenterGraph(net)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.zeros(1, 3, edge, edge))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    content = to_onnx(graph.eval(), tile_px=edge, output_names=graph.output_names, name=kind)
    return Candidate(
        kind=kind,
        tried_for=tried_for,
        session=ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]),
        edge=edge,
        parameters=sum(p.numel() for p in net.parameters()),
        gflop=counter.get_total_flops() / 1e9,
        receptive_field_px=getattr(net, "receptive_field_px", None),
    )


if __name__ == "__main__":
    main()
