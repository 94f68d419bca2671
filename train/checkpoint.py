"""A checkpoint and what it says of itself."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from agent.errors import InputError
from train.models.calibrated import Calibrated
from train.models.reparam import fused
from train.models.variance import without_variance_head
from train.objectives import build_network
from train.task import CHECKPOINT_KEY, Passport

_AVERAGED = "averaged.module."


def load_checkpoint(path: Path, *, variance_head: bool = False) -> tuple[nn.Module, Passport]:
    """Return a run's averaged network as it ships (branches fused, calibrated, eval mode, CPU), and its passport.

    Args:
        path: of the file.
        variance_head: leave on what CIRL added for training, where it did.

    Raises:
        InputError: no such file, or not a checkpoint of `crack-train fit`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        passport = Passport.model_validate_json(content[CHECKPOINT_KEY])
        net = build_network(passport.settings)
        weights = content["state_dict"].items()
        net.load_state_dict({k.removeprefix(_AVERAGED): v for k, v in weights if k.startswith(_AVERAGED)})
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror}); give a .ckpt of `crack-train fit`") from exc
    except (pickle.UnpicklingError, ValidationError, RuntimeError, KeyError, TypeError, EOFError, ValueError) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise InputError(f"{path}: not a checkpoint of this version of `crack-train fit` ({reason})") from exc
    net.eval()
    if variance_head:
        return net, passport
    shipped = fused(without_variance_head(net))
    if passport.calibration is not None:
        shipped = Calibrated(shipped, **passport.calibration.model_dump()).eval()
    return shipped, passport


def save_slim(path: Path, checkpoint: Path, passport: Passport) -> None:
    """Write a checkpoint of another passport that holds what `load_checkpoint` needs and no more.

    Raises:
        InputError: `checkpoint` cannot be read.
    """
    load_checkpoint(checkpoint)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = {name: value for name, value in content["state_dict"].items() if name.startswith(_AVERAGED)}
    beside = path.with_name(path.name + ".part")
    torch.save({"state_dict": weights, CHECKPOINT_KEY: passport.model_dump_json()}, beside)
    beside.replace(path)
