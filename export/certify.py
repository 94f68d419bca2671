"""Measure every variant of a bundle on every runtime of this machine, against the trained networks.

Golden tiles are compared with torch's sealed answers. Validation sets are compared with the reference: torch, where the
checkpoints are at hand, else the fp32 graphs on ONNX Runtime, which the golden tiles tie to torch within a level.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort

from agent.contract.arrays import UInt8
from agent.contract.bundle import Bundle, Precision
from agent.contract.certificate import (
    CERTIFICATE_SCHEMA,
    LIMITS,
    REFERENCE_KIND,
    Certificate,
    DataFigures,
    Measured,
    StitchedFigures,
    runtime_kind,
)
from agent.contract.frame import UNKNOWN_SCALE
from agent.detect import Detector
from agent.errors import BundleError, EngineError, InferenceError
from agent.infer.backend import Backend, RuntimeName
from agent.infer.engine_process import log_progress
from agent.infer.golden import compare_golden
from agent.infer.runtimes import open_backend, open_here
from agent.infer.settings import EngineSettings
from agent.measure import MeasureSettings, measure_cracks
from agent.simulate.patches import render_patch
from export.onnx_graph import ExportError, whole_picture
from export.pictures import JudgedSet, reduced
from train.data.picture import Picture
from train.metrics.pixels import STRICT, tolerance
from train.metrics.tally import PixelTally

RUNTIMES: Final[tuple[RuntimeName, ...]] = ("onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt")
WITHIN: Final = tolerance(2)
_NOT_TORCH: Final = ": the bundle's own graphs, not torch, which they meet on the golden tiles alone"
_STITCHED_SEED: Final = (0x601D, 1 << 16)
_ITSELF: Final = "this is the reference: its validation figures compare it with itself and show nothing"
_ON_CPU: Final = "computed in float32 on this runtime: the figures show the rounded weights, not half-precision sums"


@dataclass(frozen=True, slots=True)
class Reference:
    """What validation sets are compared with."""

    backend: Backend
    name: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    variant: Precision
    backend: Backend


def certify(
    bundle: Bundle,
    reference: Reference | None,
    sets: Sequence[JudgedSet],
    *,
    calibration: tuple[str, ...],
    unmade: dict[Precision, str] | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Certificate:
    """Measure a bundle; `Certificate.left_out` names the variants that lie beyond their limits.

    Args:
        bundle: with every variant in it.
        reference: None takes the bundle's fp32 graphs on ONNX Runtime.
        sets: to judge on; none leaves the golden tiles and the stitched map.
        calibration: what INT8 took its ranges from, in words.
        unmade: variants that could not be made, and why.
        advance: called after each picture.

    Raises:
        InputError: a picture cannot be read.
        BundleError: the fp32 graphs cannot be loaded.
    """
    against = reference or _onnx_reference(bundle)
    with tempfile.TemporaryDirectory(prefix="engines-") as engines:  # of this machine; no part of a bundle
        candidates, absent, refused = _candidates(bundle, EngineSettings(cache=Path(engines)))
    judged = [_judge(bundle, against.backend, candidates, one, advance) for one in sets]
    whole = {variant: _whole(bundle, variant) for variant in {one.variant for one in candidates}}
    measured = tuple(
        _measured(bundle, candidate, tuple(figures[place] for figures in judged), whole[candidate.variant], against)
        for place, candidate in enumerate(candidates)
    )
    left_out = {**(unmade or {}), **refused}
    for one in measured:
        if not one.passed and runtime_kind(one.runtime) == REFERENCE_KIND:
            left_out.setdefault(one.variant, f"{one.reason} ({one.runtime})")
    return Certificate(
        schema=CERTIFICATE_SCHEMA,
        bundle=bundle.manifest.name,
        reference=against.name,
        limits=LIMITS,
        calibration=calibration,
        measured=measured,
        left_out=left_out,
        absent=absent,
    )


def _onnx_reference(bundle: Bundle) -> Reference:
    backend = open_backend("onnxruntime", bundle)
    return Reference(backend, f"{backend.runtime} fp32{_NOT_TORCH}")


def _candidates(
    bundle: Bundle, engine: EngineSettings
) -> tuple[list[_Candidate], dict[str, str], dict[Precision, str]]:
    """Open every variant on every runtime; return them, the runtimes not here, and the variants that one refused."""
    found: list[_Candidate] = []
    absent: dict[str, str] = {}
    refused: dict[Precision, str] = {}
    for name in RUNTIMES:
        for variant in bundle.manifest.segmenter.variants:
            backend = _opened(name, bundle, variant, engine)
            if backend is None:
                absent[name] = "not on the machine that measured; `crack-agent selftest` shows the golden tiles there"
                break
            if isinstance(backend, str):
                if name == REFERENCE_KIND[0]:
                    refused[variant] = backend
                absent[f"{name}, {variant}"] = backend
            else:
                found.append(_Candidate(variant, backend))
    return found, absent, refused


def _opened(name: RuntimeName, bundle: Bundle, variant: Precision, engine: EngineSettings) -> Backend | str | None:
    """Return a runtime, None where it is not here, or why it cannot load a variant that it need not have."""
    try:
        return open_here(name, bundle, variant=variant, engine=engine, tell=log_progress, certified=False)
    except (BundleError, EngineError, InferenceError) as exc:
        if (name, variant) == (REFERENCE_KIND[0], "fp32"):
            raise
        return f"{name} cannot load it ({str(exc).rsplit('/', maxsplit=1)[-1]})"


@dataclass(eq=False)
class _Sums:
    """What adds up over the pictures of a set, for one candidate."""

    tally: PixelTally = field(default_factory=lambda: PixelTally((STRICT, WITHIN)))
    farthest: int = 0
    flipped: int = 0
    pixels: int = 0
    widths: list[float] = field(default_factory=list)
    lost: int = 0


def _judge(
    bundle: Bundle,
    reference: Backend,
    candidates: Sequence[_Candidate],
    judged: JudgedSet,
    advance: Callable[[], None],
) -> list[DataFigures]:
    """Return the figures of each candidate on one set."""
    manifest = bundle.manifest
    level = manifest.segmenter.threshold.value * 255
    truth = PixelTally((STRICT, WITHIN))
    all_sums = [_Sums() for _ in candidates]
    passing = images = 0
    for picture in judged:
        images += 1
        want = _map(bundle, reference, picture.image_rgb)
        wanted_width = _mean_width(bundle, want, picture.image_rgb)
        if picture.mask is not None:
            truth.update(want, picture.mask)
        passed = _passes(bundle, reference, picture)
        passing += bool(passed)
        for candidate, sums in zip(candidates, all_sums, strict=True):
            got = _map(bundle, candidate.backend, picture.image_rgb)
            if picture.mask is not None:
                sums.tally.update(got, picture.mask)
            sums.farthest = max(sums.farthest, int(cv2.absdiff(want, got).max()))
            sums.flipped += int(np.count_nonzero((want >= level) != (got >= level)))
            sums.pixels += want.size
            width = _mean_width(bundle, got, picture.image_rgb)
            if width is not None and wanted_width is not None:
                sums.widths.append(abs(width - wanted_width))
            sums.lost += bool(passed and not _passes(bundle, candidate.backend, picture))
        advance()
    base = _f1(truth, manifest.segmenter.threshold.value)
    return [_figures(judged, images, sums, base, passing, manifest.segmenter.threshold.value) for sums in all_sums]


def _figures(
    judged: JudgedSet,
    images: int,
    sums: _Sums,
    base: tuple[float | None, float | None],
    passing: int,
    threshold: float,
) -> DataFigures:
    strict, within = _f1(sums.tally, threshold)
    return DataFigures(
        data=f"{judged.name}: {judged.data}",
        images=images,
        max_difference=sums.farthest,
        flipped_share=round(sums.flipped / sums.pixels, 7),
        strict_f1=_rounded(strict),
        strict_f1_change=_change(strict, base[0]),
        tolerance_f1=_rounded(within),
        tolerance_f1_change=_change(within, base[1]),
        median_width_change_px=_rounded(float(np.median(sums.widths))) if sums.widths else None,
        gate_lost=round(sums.lost / passing, 5) if passing else None,
    )


def _measured(
    bundle: Bundle,
    candidate: _Candidate,
    validation: tuple[DataFigures, ...],
    whole: UInt8 | None,
    reference: Reference,
) -> Measured:
    variant, backend = candidate.variant, candidate.backend
    golden = compare_golden(bundle, backend)
    reason = golden.fault or _fault(variant, validation)
    return Measured(
        variant=variant,
        runtime=backend.runtime,
        files={ref.file: ref.sha256 for ref in bundle.manifest.graphs(variant)},
        golden=golden.figures,
        validation=validation,
        stitched=None if whole is None else _stitched(bundle, backend, whole),
        passed=reason is None,
        reason=reason,
        note=_note(candidate, reference),
    )


def _note(candidate: _Candidate, reference: Reference) -> str | None:
    """Return what the figures do not show."""
    one, other = candidate.backend, reference.backend
    if (one.runtime, one.variant) == (other.runtime, other.variant):
        return _ITSELF
    return _ON_CPU if candidate.variant == "fp16" and "cpu" in one.runtime else None


def _fault(variant: Precision, validation: Iterable[DataFigures]) -> str | None:
    """Return the first limit that a validation set shows to be passed."""
    limits = LIMITS[variant]
    for one in validation:
        change = one.tolerance_f1_change
        if change is not None and abs(change) > limits.f1_change:
            return f"F1 within 2 px on {one.data} changes by {change:+.4f}, at most {limits.f1_change:g} is allowed"
        if one.gate_lost is not None and one.gate_lost > limits.gate_lost:
            return (
                f"the gate stops {one.gate_lost:.2%} of the crack pictures that it passed on {one.data}, "
                f"at most {limits.gate_lost:.2%} may be lost"
            )
    return None


def _map(bundle: Bundle, backend: Backend, image_rgb: UInt8) -> UInt8:
    """Return the stitched map of every tile, as the agent makes it without the gate."""
    return Detector(backend, bundle.manifest, gate=False).detect(image_rgb).probability


def _mean_width(bundle: Bundle, probability: UInt8, image_rgb: UInt8) -> float | None:
    """Return the mean over the centre lines of all cracks, px; None where there is none to measure."""
    cracks = measure_cracks(
        probability,
        image_rgb,
        threshold=bundle.manifest.segmenter.threshold.value,
        scale=UNKNOWN_SCALE,
        settings=MeasureSettings(),
    )
    widths = [branch.width_px for crack in cracks for branch in crack.branches]
    every = np.concatenate(widths) if widths else np.empty(0, np.float32)
    every = every[np.isfinite(every)]
    return float(every.mean()) if every.size else None


def _passes(bundle: Bundle, backend: Backend, picture: Picture) -> bool | None:
    """Say whether the gate passes a crack picture's first tile; None without a gate or a crack."""
    gate, edge = bundle.manifest.gate, bundle.manifest.segmenter.tile_px
    if gate is None or not picture.cracked:
        return None
    image = picture.image_rgb[:edge, :edge]
    below, right = edge - image.shape[0], edge - image.shape[1]
    tile = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101), np.uint8)
    return bool(backend.gate(reduced(tile[None], gate.tile_px)).probability[0] >= gate.threshold.value)


def _picture(bundle: Bundle) -> UInt8:
    """Return a rendered picture of 3 x 3 tiles, with cracks."""
    net = bundle.manifest.segmenter
    edge = net.tile_px + 2 * (net.tile_px - net.overlap_px)
    return render_patch(np.random.default_rng(_STITCHED_SEED), edge, crack_share=1.0).image_rgb


def _whole(bundle: Bundle, variant: Precision) -> UInt8 | None:
    """Return the variant's map of the whole rendered picture; None where its graph holds the tile's size inside."""
    content = bundle.read(bundle.manifest.segmenter.variants[variant])
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(whole_picture(content), options, providers=["CPUExecutionProvider"])
        (maps,) = session.run(None, {session.get_inputs()[0].name: _picture(bundle)[None]})
    except ExportError:
        return None
    except Exception as exc:  # ONNX Runtime has no public root of its errors
        raise InferenceError(f"{variant}: the map of a whole picture cannot be computed ({exc})") from exc
    return np.asarray(maps[0], np.uint8)


def _stitched(bundle: Bundle, backend: Backend, whole: UInt8) -> StitchedFigures:
    net = bundle.manifest.segmenter
    level = net.threshold.value * 255
    stitched = _map(bundle, backend, _picture(bundle))
    return StitchedFigures(
        overlap_px=net.overlap_px,
        max_difference=int(cv2.absdiff(whole, stitched).max()),
        flipped_share=round(float(np.mean((whole >= level) != (stitched >= level))), 7),
    )


def _f1(tally: PixelTally, threshold: float) -> tuple[float | None, float | None]:
    """Return the strict and the tolerant F1 at the threshold; None where they are 0/0 or nothing was counted."""
    if not len(tally):
        return None, None
    figures = tally.compute(threshold=threshold)
    return figures[f"{STRICT}.f1"].value, figures[f"{WITHIN}.f1"].value


def _change(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else round(value - base, 5)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
