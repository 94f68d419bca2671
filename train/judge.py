"""A model of any form and a folder of photos, brought to what `train.evaluate` computes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from agent.bundles import open_bundle
from agent.contract.arrays import Bool, UInt8
from agent.detect import Detector
from agent.errors import ConfigError, InputError, OutputError
from agent.infer.onnx_runtime import OnnxRuntime
from train.checkpoint import load_checkpoint
from train.data.crops import gate_view, to_tensor
from train.data.reading import list_files, read_mask, read_rgb
from train.evaluate import Evaluation, Patch, Sample, evaluate_gate, evaluate_segmentation
from train.metrics.curves import save_curves
from train.metrics.pixels import STRICT, flex, level_of, tolerance
from train.settings import GateLabel
from train.validation import segment

CURVES_FILE: Final = "precision_recall.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a bundle or a checkpoint can do; None for what it cannot."""

    name: str
    segment: Callable[[UInt8], UInt8] | None  # RGB (H, W, 3) to probability x 255 (H, W)
    gate: Callable[[UInt8], float] | None  # RGB of a picture up to a tile's size to probability
    threshold: float
    gate_threshold: float


def open_model(name: str) -> Model:
    """Open a checkpoint, a bundle's folder or a shipped bundle.

    A bundle is judged as the agent runs it: tiles, gate, segmenter; a segmenter's checkpoint in one piece.

    Raises:
        BundleError, InputError: there is no such thing, or it is not whole.
    """
    if Path(name).suffix != ".ckpt":
        return _bundle(name)
    net, passport = load_checkpoint(Path(name))
    cpu = torch.device("cpu")
    threshold = 0.5 if passport.validation is None else passport.validation.threshold

    def ask(image: UInt8) -> float:
        with torch.no_grad():
            logits = net(to_tensor(gate_view(image, passport.settings.gate)[None])).double()
        return float((logits[0, 1] - logits[0, 0]).sigmoid())

    segments = passport.settings.task == "segment"
    return Model(
        name=name,
        segment=(lambda image: segment(net, image, stride_px=passport.stride_px, device=cpu)) if segments else None,
        gate=None if segments else ask,
        threshold=threshold,
        gate_threshold=threshold,
    )


def judge_pairs(
    model: Model, images: Path, masks: Path | None, *, threshold: float | None = None, pictures: Path | None = None
) -> Evaluation:
    """Judge a segmenter on photos and, where there are any, their masks.

    Args:
        model: with a segmenter.
        images: folder of photos.
        masks: folder of masks of equal stems; None finds cracks and judges nothing.
        threshold: None takes the model's.
        pictures: folder for overlays, made if missing; None writes none.

    Raises:
        ConfigError: the model has no segmenter.
        InputError: a folder is missing or empty, or a photo has no mask.
        OutputError: overlays cannot be written.
    """
    if model.segment is None:
        raise ConfigError(f"{model.name}: a gate alone; judge it with --classes DIR")
    predict = model.segment
    level = model.threshold if threshold is None else threshold
    photos, truths = _paired(images, masks)
    if pictures is not None:
        try:
            pictures.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OutputError(f"{pictures}: cannot be made ({exc.strerror})") from exc
    current = Path()

    def loader(path: Path) -> Callable[[], tuple[UInt8, Bool | None]]:
        def load() -> tuple[UInt8, Bool | None]:
            nonlocal current
            current = path
            image = read_rgb(path)
            return image, None if masks is None else read_mask(truths[path.stem], image.shape)

        return load

    def drawn(image: UInt8) -> UInt8:
        probability = predict(image)
        if pictures is not None:
            path = pictures / f"{current.stem}.jpg"
            overlay = cv2.cvtColor(_overlay(image, probability >= level_of(level)), cv2.COLOR_RGB2BGR)
            if not cv2.imwrite(str(path), overlay):
                raise OutputError(f"{path}: cannot be written")
        return probability

    samples = [Sample(name=str(path), load=loader(path)) for path in photos]
    found = evaluate_segmentation(drawn, samples, threshold=level, matchings=(STRICT, flex(2), tolerance(2)))
    if pictures is not None and found.curves:
        save_curves(found.curves, pictures / CURVES_FILE, title=model.name)
    return found


def _paired(images: Path, masks: Path | None) -> tuple[list[Path], dict[str, Path]]:
    """Return the photos, and their masks by stem if there are to be any."""
    photos = list_files(images)
    truths = {} if masks is None else {path.stem: path for path in list_files(masks)}
    lonely = [path for path in photos if masks is not None and path.stem not in truths]
    if lonely:
        raise InputError(f"{masks}: no mask of {lonely[0].name}; {len(lonely)} missing in all")
    return photos, truths


def judge_classes(model: Model, folder: Path, *, threshold: float | None = None) -> Evaluation:
    """Judge a gate on `crack/` and `clean/`.

    Raises:
        ConfigError: the model has no gate.
        InputError: a folder is missing or empty.
    """
    if model.gate is None:
        raise ConfigError(f"{model.name}: has no gate; judge it with --images DIR --masks DIR")

    def loader(path: Path) -> Callable[[], UInt8]:
        return lambda: read_rgb(path)

    patches = [
        Patch(name=str(path), crack=kind == "crack", load=loader(path))
        for kind in ("crack", "clean")
        for path in list_files(folder / kind)
    ]
    return evaluate_gate(model.gate, patches, threshold=model.gate_threshold if threshold is None else threshold)


def _bundle(name: str) -> Model:
    bundle = open_bundle(name)
    runtime = OnnxRuntime(bundle)
    detector = Detector(runtime, bundle.manifest)
    manifest, gate = bundle.manifest, bundle.manifest.gate
    view = None if gate is None else GateLabel(tile_px=manifest.segmenter.tile_px, downscale=gate.downscale)
    return Model(
        name=name,
        segment=lambda image: detector.detect(image).probability,
        gate=None if view is None else lambda image: float(runtime.gate(gate_view(image, view)[None]).probability[0]),
        threshold=manifest.segmenter.threshold.value,
        gate_threshold=0.5 if gate is None else gate.threshold.value,
    )


def _overlay(image_rgb: UInt8, crack: Bool) -> UInt8:
    """Return the photo with what was found in red."""
    drawn = image_rgb.copy()
    drawn[crack] = (drawn[crack] * 0.3 + np.array([255, 0, 0]) * 0.7).astype(np.uint8)
    return drawn
