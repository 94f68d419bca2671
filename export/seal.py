"""From the fp32 graphs of a bundle to the bundle that ships: variants, their certificate, the manifest over all."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from agent import progress
from agent.contract.bundle import FileRef, GateRef, Manifest, NetRef, Precision, SegmenterRef, load_bundle
from agent.contract.certificate import CERTIFICATE_NAME, Certificate
from export.card import with_variants
from export.certify import Reference, certify
from export.files import BundleFiles, check_out
from export.onnx_graph import ExportError, checked_bytes
from export.pictures import Calibration, calibration, reduced, validation
from export.settings import ExportSettings
from export.variants import MAKERS

_VERSIONS: Final = ("crackscout", "onnx", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Folders that stand in for the sets of the settings."""

    calibrate: Sequence[Path] = ()  # pictures
    validate: Sequence[Path] = ()  # each with images/ and masks/


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a bundle came to hold."""

    manifest: Manifest
    certificate: Certificate


def seal(
    files: BundleFiles,
    manifest: Manifest,
    settings: ExportSettings,
    out: Path,
    *,
    reference: Reference | None,
    pictures: Pictures,
    show_progress: bool = False,
) -> Sealed:
    """Make the variants of a bundle, measure each on every runtime here, and write what lies within the limits.

    Args:
        files: everything that `manifest` names.
        manifest: with the fp32 variant alone.
        settings: which variants, and the pictures for them.
        out: becomes the bundle.
        reference: what validation sets are compared with; None takes the fp32 graphs on ONNX Runtime.
        pictures: folders in the place of the settings' sets.
        show_progress: on stderr.

    Raises:
        ConfigError: INT8 without calibration pictures.
        InputError: a picture cannot be read.
        ExportError: fp32 itself lies beyond its limits.
        OutputError: the folder cannot be written.
    """
    wanted = [variant for variant in settings.variants if variant != "fp32"]
    drawn = calibration(settings, pictures.calibrate) if "int8" in wanted else None
    sets = validation(settings, pictures.validate)
    manifest, unmade = _with_variants(files, manifest, wanted, drawn)
    total = sum(len(one.load) for one in sets)
    with tempfile.TemporaryDirectory() as folder, progress.bar("certifying", total, shown=show_progress) as advance:
        draft = Path(folder, "bundle")
        files.write(draft, manifest)
        certificate = certify(
            load_bundle(draft),
            reference,
            sets,
            calibration=drawn.data if drawn else (),
            unmade=unmade,
            advance=advance,
        )
    if "fp32" in certificate.left_out:
        raise ExportError(f"{manifest.name}: fp32 does not answer as torch: {certificate.left_out['fp32']}")
    for variant in wanted:
        if variant in certificate.left_out and variant in manifest.segmenter.variants:
            files.drop(manifest.graphs(variant))
            manifest = _networks(manifest, {net: {variant: None} for net in ("segmenter", "gate")})
    text = certificate.model_dump_json(by_alias=True, indent=2) + "\n"
    card = with_variants(files.content(manifest.card).decode(), certificate)
    manifest = manifest.model_copy(
        update={
            "certificate": files.add(CERTIFICATE_NAME, text.encode()),
            "card": files.add(manifest.card.file, card.encode()),
            "versions": {**manifest.versions, **{name: metadata.version(name) for name in _VERSIONS}},
        }
    )
    files.write(out, manifest)
    return Sealed(manifest, certificate)


def certify_bundle(
    folder: Path,
    out: Path,
    settings: ExportSettings,
    *,
    pictures: Pictures,
    overwrite: bool = False,
    show_progress: bool = False,
) -> Sealed:
    """Make the variants and the certificate of a bundle anew from its fp32 graphs; no checkpoint is needed.

    Name, tiling, thresholds, golden tiles and card stay as they are.

    Args:
        folder: the bundle.
        out: becomes the bundle with its variants; may be `folder` itself with `overwrite`.
        settings: see `seal`.
        pictures: see `seal`.
        overwrite: replace what `out` holds.
        show_progress: see `seal`.

    Raises:
        BundleError: `folder` is no bundle, or its graphs cannot be loaded.
        CrackscoutError: see `seal`.
    """
    check_out(out, overwrite=overwrite)
    bundle = load_bundle(folder)
    before = bundle.manifest
    files = BundleFiles()
    for ref in before.files():
        files.add(ref.file, bundle.read(ref))
    if before.certificate is not None:
        files.drop([before.certificate])
    changes: dict[str, dict[Precision, FileRef | None]] = {}
    for name, net in _named_networks(before):
        files.drop(net.variants.values())
        content = checked_bytes(bundle.read(net.variants["fp32"]), name)
        changes[name] = {**dict.fromkeys(net.variants), "fp32": files.add(net.variants["fp32"].file, content)}
    manifest = _networks(before, changes, batch_max=settings.batch_max).model_copy(update={"certificate": None})
    tiled = settings.model_copy(update={"tile_px": before.segmenter.tile_px})
    return seal(files, manifest, tiled, out, reference=None, pictures=pictures, show_progress=show_progress)


def _with_variants(
    files: BundleFiles, manifest: Manifest, wanted: Sequence[Precision], drawn: Calibration | None
) -> tuple[Manifest, dict[Precision, str]]:
    """Return the manifest with every variant that could be made, and why the others could not."""
    unmade: dict[Precision, str] = {}
    for variant in wanted:
        made: dict[str, dict[Precision, FileRef | None]] = {}
        try:
            for name, net in _named_networks(manifest):
                tiles = None
                if drawn is not None and variant == "int8":
                    tiles = drawn.tiles if name == "segmenter" else reduced(drawn.tiles, net.tile_px)
                content = MAKERS[variant](files.content(net.variants["fp32"]), tiles)
                made[name] = {variant: files.add(f"{name}_{variant}.onnx", content)}
        except ExportError as exc:
            unmade[variant] = str(exc)
            files.drop(ref for changes in made.values() for ref in changes.values() if ref)
            continue
        manifest = _networks(manifest, made)
    return manifest, unmade


def _named_networks(manifest: Manifest) -> list[tuple[str, SegmenterRef | GateRef]]:
    return [("segmenter", manifest.segmenter), *([("gate", manifest.gate)] if manifest.gate else [])]


def _networks(
    manifest: Manifest, changes: dict[str, dict[Precision, FileRef | None]], *, batch_max: int | None = None
) -> Manifest:
    """Return the manifest with variants added, or taken away where the change is None."""
    update: dict[str, NetRef] = {}
    for name, net in _named_networks(manifest):
        variants = {**net.variants, **changes.get(name, {})}
        kept = {variant: ref for variant, ref in variants.items() if ref is not None}
        update[name] = net.model_copy(update={"variants": kept, "batch_max": batch_max or net.batch_max})
    return manifest.model_copy(update=update)
