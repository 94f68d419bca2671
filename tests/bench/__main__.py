"""`make bench`: every bench in turn, each a process of its own. Ratios of one run are the figures; times are noise."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.commands import ROOT, variables

PEERS = ROOT / ".venv-bench/bin/python"  # make .venv-bench/.peers
BENCHES = (
    "bench_ratios",
    "bench_detect",
    "bench_measure",
    "bench_width",
    "bench_losses",
    "bench_deliver",
    "bench_dashboard",
    "bench_networks",
)


def main() -> None:
    """Print the figures of all; with --json as one object."""
    as_json = "--json" in sys.argv
    figures = {}
    for name in BENCHES:
        python = PEERS if name == "bench_ratios" and PEERS.exists() else sys.executable
        words = [str(python), "-m", f"tests.bench.{name}", *(["--json"] if as_json else [])]
        if as_json:
            done = subprocess.run(words, cwd=ROOT, env=variables(), check=True, capture_output=True, text=True)
            figures[name] = json.loads(done.stdout)
        else:
            sys.stdout.write(f"\n== {name}\n")
            sys.stdout.flush()
            subprocess.run(words, cwd=ROOT, env=variables(), check=True)
    if as_json:
        sys.stdout.write(json.dumps(figures) + "\n")


main()
