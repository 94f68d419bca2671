"""What a run says of pictures that it was not trained on, kept for the figures: logits per pixel, margins per tile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from agent.errors import ConfigError
from train.calibration import LOGIT_LEVELS, LOGIT_STEP
from train.checkpoint import load_checkpoint
from train.data.crops import Part, gate_label, gate_view, to_tensor
from train.data.sources import open_source, open_sources
from train.fit import LAST
from train.settings import Settings, Source
from train.task import Passport
from train.validation import crack_pixels, logit_map

FILE: Final = "held.npz"
UNCLEAR: Final = -1.0


@dataclass(slots=True)
class Held:
    """Answers by set and number of the picture in it."""

    logits: dict[str, dict[int, NDArray[np.int8]]] = field(default_factory=lambda: defaultdict(dict))
    # margin; 1 crack, 0 clean, UNCLEAR where nobody could tell
    tiles: dict[str, dict[int, tuple[float, float]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, path: Path) -> None:
        """Take in what a run left.

        Raises:
            ConfigError: two runs answered for one picture, so that they are no folds of each other.
        """
        with np.load(path) as kept:
            for key in kept.files:
                name, _, index = key.rpartition("/")
                values = kept[key]
                taken = self.logits if values.dtype == np.int8 else self.tiles
                if int(index) in taken[name]:
                    raise ConfigError(f"{path}: {key} was answered before; give each fold once")
                if values.dtype == np.int8:
                    self.logits[name][int(index)] = values
                else:
                    self.tiles[name][int(index)] = (float(values[0]), float(values[1]))


def hold(settings: Settings, asked: Sequence[Source] = ()) -> None:
    """Ask the last weights of a run about what it held back, or about all of sets that it never saw.

    Writes `held.npz` into the run's folder, whole or not at all.

    Args:
        settings: of the run, which is done.
        asked: those sets; none takes the photos of the run's validation.
    """
    net, passport = load_checkpoint(settings.folder / LAST)
    device = torch.device("cuda" if settings.compute.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    if settings.compute.threads is not None:
        torch.set_num_threads(settings.compute.threads)
    if not asked:
        parts = [part for part in open_sources(settings).validation if part.source.real]
    else:
        sources = [open_source(one, settings) for one in asked]
        parts = [Part(source, range(len(source)), 1.0) for source in sources]
    answers: dict[str, NDArray[np.generic]] = {}
    net = net.to(device)
    for part in parts:
        for index in part.indices:
            if settings.task == "segment" and not part.source.has_mask(index):
                continue
            answers[f"{part.source.name}/{index}"] = _answer(net, passport, settings, part, index, device)
    beside = settings.folder / "held.part.npz"
    np.savez_compressed(beside, **answers)  # type: ignore[arg-type]
    beside.replace(settings.folder / FILE)


@torch.no_grad()
def _answer(
    net: nn.Module, passport: Passport, settings: Settings, part: Part, index: int, device: torch.device
) -> NDArray[np.generic]:
    picture = part.source.load(index)
    if settings.task == "segment":
        logits = logit_map(net, picture.image_rgb, stride_px=passport.stride_px, device=device)
        levels = np.clip(np.rint(logits / LOGIT_STEP), -LOGIT_LEVELS, LOGIT_LEVELS)
        return np.asarray(levels, np.int8)
    gate = settings.gate
    logits = net(to_tensor(gate_view(picture.image_rgb, gate)[None]).to(device)).double().cpu().numpy()
    label = gate_label(picture.cracked if picture.mask is None else crack_pixels(picture.mask, gate), gate)
    return np.array([logits[0, 1] - logits[0, 0], UNCLEAR if label is None else label], np.float64)
