"""Checkpoints to a bundle: graphs, golden tiles with torch's answers, model card, and the manifest that seals them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, cast

import cv2
import numpy as np
import torch
from torch import nn

from agent.contract.arrays import UInt8
from agent.contract.bundle import (
    BUNDLE_SCHEMA,
    GateRef,
    GoldenTile,
    Manifest,
    Metric,
    SegmenterRef,
    Threshold,
    TrainingSet,
)
from agent.contract.tiling import TileGrid
from agent.errors import ConfigError, OutputError
from agent.simulate.patches import render_patch
from export.card import model_card
from export.certify import Reference
from export.files import BundleFiles, check_out
from export.graphs import GateGraph, SegmenterGraph
from export.reference import Torch
from export.seal import Pictures, Sealed, seal
from export.settings import ExportSettings
from export.to_onnx import to_onnx
from train.checkpoint import load_checkpoint
from train.data.crops import gate_view
from train.models import CrackNet
from train.settings import GateLabel
from train.task import Passport

_GOLDEN_SEED: Final = 0x601D
_VERSIONS: Final = ("crackscout", "torch", "onnx", "onnxscript")


@dataclass(frozen=True, slots=True)
class Trained:
    """A network and what its checkpoint says."""

    net: nn.Module
    passport: Passport


def write_bundle(
    checkpoints: Sequence[Path],
    out: Path,
    settings: ExportSettings,
    *,
    pictures: Pictures | None = None,
    overwrite: bool = False,
    show_progress: bool = False,
) -> Sealed:
    """Write a bundle from a segmenter's checkpoint and, if given, a gate's.

    The same checkpoints and settings give the same bytes. The folder appears whole or not at all.

    Args:
        checkpoints: one of a segmenter, at most one of a gate, in any order.
        out: becomes the bundle.
        settings: name, licence, tiling, variants, pictures for these, card.
        pictures: folders in the place of the settings' sets.
        overwrite: replace what `out` holds.
        show_progress: on stderr.

    Raises:
        ConfigError: checkpoints that make no bundle, or a tiling that does not fit them.
        InputError: a checkpoint or a picture cannot be read.
        OutputError: the folder exists, or cannot be written.
        ExportError: a network has no ONNX form, or one that answers differently.
    """
    check_out(out, overwrite=overwrite)
    segmenter, gate = _sorted(checkpoints)
    files = BundleFiles()
    manifest, reference = _manifest(files, segmenter, gate, settings)
    return seal(
        files,
        manifest,
        settings,
        out,
        reference=Reference(reference, reference.runtime),
        pictures=pictures or Pictures(),
        show_progress=show_progress,
    )


def _sorted(checkpoints: Iterable[Path]) -> tuple[Trained, Trained | None]:
    """Return the segmenter and the gate."""
    found: dict[str, Trained] = {}
    for path in checkpoints:
        net, passport = load_checkpoint(path)
        task = passport.settings.task
        if task in found:
            raise ConfigError(f"{path}: a second {'segmenter' if task == 'segment' else 'gate'}; give one of each")
        if passport.validation is None:
            raise ConfigError(f"{path}: was never validated, so that no threshold is known; train a whole epoch")
        found[task] = Trained(net, passport)
    if "segment" not in found:
        raise ConfigError("no segmenter among the checkpoints; give one of a run with task: segment")
    return found["segment"], found.get("gate")


def _manifest(
    files: BundleFiles, segmenter: Trained, gate: Trained | None, settings: ExportSettings
) -> tuple[Manifest, Torch]:
    stride = segmenter.passport.stride_px
    for name in ("tile_px", "overlap_px"):
        if getattr(settings, name) % stride:
            raise ConfigError(
                f"{name}={getattr(settings, name)} must be a multiple of the network's stride, {stride} px"
            )
    graph = SegmenterGraph(segmenter.net).eval()
    file = files.add(
        "segmenter.onnx",
        to_onnx(graph, tile_px=settings.tile_px, output_names=graph.output_names, name="segmenter"),
    )
    gate_graph, gate_ref = (None, None) if gate is None else _gate(files, gate, settings)
    trained = [segmenter, *([gate] if gate else [])]
    training = _training_sets(trained)
    metrics = (*_metrics(trained), *_stitching(graph, segmenter, settings))
    golden = tuple(_golden(files, graph, gate_graph, gate_ref, settings))
    segmenter_ref = SegmenterRef(
        variants={"fp32": file},
        batch_max=settings.batch_max,
        tile_px=settings.tile_px,
        threshold=_threshold(segmenter),
        parameters=segmenter.passport.parameters,
        architecture=_architecture(segmenter),
        overlap_px=settings.overlap_px,
        stride_px=stride,
        receptive_field_px=_receptive_field(segmenter) or "unbounded",
    )
    card = model_card(settings=settings, segmenter=segmenter_ref, gate=gate_ref, training=training, metrics=metrics)
    manifest = Manifest(
        schema=BUNDLE_SCHEMA,
        name=settings.name,
        licence=settings.licence,
        segmenter=segmenter_ref,
        gate=gate_ref,
        training=training,
        metrics=metrics,
        golden=golden,
        card=files.add("MODEL_CARD.md", card.encode()),
        versions={name: metadata.version(name) for name in _VERSIONS},
    )
    return manifest, Torch(graph, gate_graph)


def _gate(files: BundleFiles, gate: Trained, settings: ExportSettings) -> tuple[GateGraph, GateRef]:
    label = gate.passport.settings.gate
    if label.tile_px != settings.tile_px:
        raise ConfigError(f"the gate was trained for tiles of {label.tile_px} px, the bundle's have {settings.tile_px}")
    edge = label.tile_px // label.downscale
    graph = GateGraph(gate.net).eval()
    file = files.add("gate.onnx", to_onnx(graph, tile_px=edge, output_names=graph.output_names, name="gate"))
    return graph, GateRef(
        variants={"fp32": file},
        batch_max=settings.batch_max,
        tile_px=edge,
        threshold=_threshold(gate),
        parameters=gate.passport.parameters,
        architecture=_architecture(gate),
        downscale=label.downscale,
    )


def _receptive_field(trained: Trained) -> int | None:
    return cast("CrackNet", trained.net).receptive_field_px


def _architecture(trained: Trained) -> str:
    model = trained.passport.settings.model
    return " ".join([model.name, *(f"{key}={value}" for key, value in model.options.items())])


def _threshold(trained: Trained) -> Threshold:
    found = trained.passport.validation
    if found is None:
        raise ConfigError("a checkpoint without a validation has no threshold")
    return Threshold(value=round(found.threshold, 6), chosen=found.chosen)


def _training_sets(trained: Sequence[Trained]) -> tuple[TrainingSet, ...]:
    """Every set with the pictures that any of the networks saw of it."""
    sets: dict[str, TrainingSet] = {}
    for one in trained:
        for facts in one.passport.sources:
            before = sets.get(facts.name)
            images = max(facts.training, before.images if before else 0)
            sets[facts.name] = TrainingSet(name=facts.name, images=images, licence=facts.licence)
    return tuple(sets.values())


def _metrics(trained: Sequence[Trained]) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            name=f"{one.passport.settings.task}.{figure.name}",
            definition=figure.definition,
            data=f"{figure.data}, validation split, torch, whole pictures",
            value=round(figure.value, 4),
        )
        for one in trained
        if one.passport.validation is not None
        for figure in one.passport.validation.figures
    )


def _golden(
    files: BundleFiles,
    graph: SegmenterGraph,
    gate: GateGraph | None,
    gate_ref: GateRef | None,
    settings: ExportSettings,
) -> Iterable[GoldenTile]:
    """Render tiles, the last one without a crack, and note what torch makes of them."""
    for index in range(settings.golden_tiles):
        rng = np.random.default_rng([_GOLDEN_SEED, index])
        share = 0.0 if index and index == settings.golden_tiles - 1 else 1.0
        tile = render_patch(rng, settings.tile_px, crack_share=share).image_rgb
        answer = None
        if gate is not None and gate_ref is not None:
            view = gate_view(tile, GateLabel(tile_px=settings.tile_px, downscale=gate_ref.downscale))
            with torch.no_grad():
                answer = float(gate(torch.from_numpy(view[None]))[0][0])
        yield GoldenTile(
            tile=files.add(f"golden/{index}.png", _png(tile[..., ::-1])),
            probability=files.add(f"golden/{index}_probability.png", _png(_infer(graph, tile))),
            gate_probability=None if answer is None else round(answer, 6),
        )


def _stitching(graph: SegmenterGraph, segmenter: Trained, settings: ExportSettings) -> tuple[Metric, ...]:
    """Measure how far a map stitched of tiles is from that of the whole picture, where no halo guarantees equality."""
    field = _receptive_field(segmenter)
    if field is not None and settings.overlap_px >= field:
        return ()
    step = settings.tile_px - settings.overlap_px
    edge = settings.tile_px + 2 * step
    picture = render_patch(np.random.default_rng([_GOLDEN_SEED, 1 << 16]), edge, crack_share=1.0).image_rgb
    whole = _infer(graph, picture)
    stitched = np.zeros_like(whole)
    for tile in TileGrid(height=edge, width=edge, size=settings.tile_px, overlap=settings.overlap_px):
        view = picture[tile.y : tile.y + settings.tile_px, tile.x : tile.x + settings.tile_px]
        stitched[tile.own_y, tile.own_x] = _infer(graph, np.ascontiguousarray(view))[tile.crop]
    level = _threshold(segmenter).value * 255
    flipped = float(np.mean((whole >= level) != (stitched >= level)))
    apart = np.abs(whole.astype(int) - stitched)
    data = f"one rendered picture of {edge} x {edge} px, 3 x 3 tiles"
    return (
        Metric(
            name="stitched_flipped",
            definition="share of pixels that change sides of the threshold when the map is "
            "stitched of tiles instead of computed whole",
            data=data,
            value=round(flipped, 7),
        ),
        Metric(
            name="stitched_farthest",
            definition="largest difference of the two maps, levels of 255",
            data=data,
            value=int(apart.max()),
        ),
        Metric(
            name="stitched_mean",
            definition="mean difference of the two maps, levels of 255",
            data=data,
            value=round(float(apart.mean()), 7),
        ),
    )


def _infer(graph: SegmenterGraph, tile: UInt8) -> UInt8:
    with torch.no_grad():
        return np.asarray(graph(torch.from_numpy(tile[None])).numpy()[0], np.uint8)


def _png(image: UInt8) -> bytes:
    done, packed = cv2.imencode(".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise OutputError(f"a golden tile of {image.shape} cannot be packed as PNG")
    return packed.tobytes()
