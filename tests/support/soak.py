"""`make soak`: reports for half an hour over a link that keeps failing; memory and file handles must stay flat.

`python -m tests.support.soak [MINUTES]` prints the figures and ends with 1 if one does not hold.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.accounts import Talker, given_up, heard
from tests.support.broker import Broker, Subscriber, running
from tests.support.fault_proxy import FaultProxy

SAMPLE_S = 5.0
GROWTH_MAX_MB = 12.0  # of the last quarter's median over the second's; the first is warming up
HANDLES_MAX = 5


@dataclass(frozen=True)
class Figures:
    """What a soak shows."""

    minutes: float
    said: int
    missing: int  # neither heard nor told by a gap
    repeated: int
    outages: int
    memory_mb: tuple[float, float]  # resident, median of the second and of the last quarter
    handles: tuple[int, int]

    @property
    def held(self) -> bool:
        """Whether nothing is lost and nothing grows."""
        memory, handles = self.memory_mb, self.handles
        return not self.missing and memory[1] - memory[0] < GROWTH_MAX_MB and handles[1] - handles[0] < HANDLES_MAX


def soak(folder: Path, minutes: float) -> Figures:
    """Talk for that long, cutting and stalling the link and killing the broker now and then."""
    chance = random.Random(17)
    broker = Broker(folder)
    samples: list[tuple[float, int]] = []
    outages = 0
    with running(broker), closing(FaultProxy(broker.port)) as proxy:
        subscriber = Subscriber(broker)
        talker = Talker(folder / "talker", proxy.port, reports=5, pause_s=0.5, pictures=20)
        talker.start()
        talker.say_at_least(5)
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end:
            _watch(talker, samples, until=min(end, time.monotonic() + chance.uniform(10, 40)))
            fault = chance.choice([proxy.cut, proxy.stall, broker.kill])
            fault()
            outages += 1
            _watch(talker, samples, until=time.monotonic() + chance.uniform(1, 20))
            if fault == broker.kill:
                broker.start()
            proxy.heal()
        talker.kill()
        talker.finish()
        time.sleep(2)
        counts = heard(subscriber)
        missing = len(talker.said() - set(counts)) - given_up(subscriber)
        subscriber.close()
    return Figures(
        minutes, len(talker.said()), missing, counts.total() - len(counts), outages,
        (_median(samples, 0, 1), _median(samples, 0, 3)),
        (int(_median(samples, 1, 1)), int(_median(samples, 1, 3))),
    )  # fmt: skip


def _watch(talker: Talker, samples: list[tuple[float, int]], *, until: float) -> None:
    assert talker._process
    process = Path(f"/proc/{talker._process.pid}")
    while time.monotonic() < until:
        assert talker.lives, (talker.folder / "log").read_text()
        pages = int((process / "statm").read_text().split()[1])
        samples.append((pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list((process / "fd").iterdir()))))
        time.sleep(min(SAMPLE_S, max(0.1, until - time.monotonic())))


def _median(samples: list[tuple[float, int]], column: int, quarter: int) -> float:
    part = sorted(sample[column] for sample in samples[len(samples) * quarter // 4 : len(samples) * (quarter + 1) // 4])
    return part[len(part) // 2]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(Path(folder), float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")
    sys.exit(0 if figures.held else 1)
