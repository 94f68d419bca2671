"""A tunnel cart's encoder -> chainage, its drift taken out at ring joints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from agent.capture.telemetry.sample import Sample
from agent.place.settings import TunnelSettings

MOST_DRIFT = 0.1  # of a stretch between two joints: beyond it the ring's number is misread


def with_chainage(samples: Sequence[Sample], tunnel: TunnelSettings, faults: Counter[str]) -> list[Sample]:
    """Return the samples with their chainage from the encoder's ticks, where they have no chainage of their own.

    Between two joints the encoder is stretched evenly so as to fit them; before the first and behind the last it runs
    as it says. Joints that would take more than a tenth of stretching are left out: a misread ring number.

    Args:
        samples: with `ticks`, and `ring` where a joint was passed.
        tunnel: `metres_per_tick` at least.
        faults: grows by the joints that were left out.
    """
    if tunnel.metres_per_tick is None:
        return list(samples)
    ticks = [one.ticks for one in samples if one.ticks is not None]
    if not ticks:
        return list(samples)
    metres = tunnel.metres_per_tick
    joints = [
        ((one.ticks - ticks[0]) * metres + tunnel.start_m, tunnel.ring_zero_m + one.ring * tunnel.ring_pitch_m)
        for one in samples
        if one.ring is not None and one.ticks is not None and tunnel.ring_pitch_m is not None
    ]
    said, true = _consistent(joints, faults)
    rolled = []
    for one in samples:
        if one.ticks is None or one.chainage_m is not None:
            rolled.append(one)
            continue
        rolled.append(replace(one, chainage_m=_corrected((one.ticks - ticks[0]) * metres + tunnel.start_m, said, true)))
    return rolled


def _consistent(joints: list[tuple[float, float]], faults: Counter[str]) -> tuple[list[float], list[float]]:
    """Return the joints, as the encoder and as the rings say, that fit the encoder between them, ascending."""
    said: list[float] = []
    true: list[float] = []
    for by_encoder, by_ring in sorted(set(joints)):
        if said:
            step, ring_step = by_encoder - said[-1], by_ring - true[-1]
            if step <= 0 or abs(abs(ring_step) - step) > MOST_DRIFT * step:
                faults["ring joints that do not fit the encoder: left out"] += 1
                continue
        said.append(by_encoder)
        true.append(by_ring)
    return said, true


def _corrected(by_encoder: float, said: list[float], true: list[float]) -> float:
    if not said:
        return by_encoder
    sense = -1.0 if len(true) > 1 and true[-1] < true[0] else 1.0
    if by_encoder <= said[0]:
        return true[0] + sense * (by_encoder - said[0])
    if by_encoder >= said[-1]:
        return true[-1] + sense * (by_encoder - said[-1])
    return float(np.interp(by_encoder, said, true))
