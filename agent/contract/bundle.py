"""The sealed model bundle: a folder with a manifest that names every file by its sha256.

```
manifest.json     this schema            segmenter.onnx, gate.onnx (+ variants)   weights inside the file
golden/           rendered tiles with torch's answers                             MODEL_CARD.md
certificate.json  how far each variant lies from the trained networks, measured   (optional)
```
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, model_validator
from typing_extensions import Self

from agent.contract import certificate as certificates
from agent.contract.certificate import Certificate, Sha256
from agent.contract.onnx_file import keeps_weights_outside
from agent.contract.strict import Strict
from agent.errors import BundleError

MANIFEST_NAME: Final = "manifest.json"
BUNDLE_SCHEMA: Final = "bundle/1"
Precision: TypeAlias = certificates.Precision
BATCH_MAX: Final = 16  # of a bundle that does not say


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise ValueError(f"{name!r} must be a path inside the bundle")
    return name


BundlePath = Annotated[str, AfterValidator(_inside)]
Unit = Annotated[float, Field(ge=0, le=1)]


class FileRef(Strict):
    """One file of the bundle, sealed."""

    file: BundlePath
    sha256: Sha256


class Threshold(Strict):
    """A decision threshold and how it was come by."""

    value: Unit = Field(description="On the probability; at or above it is crack.")
    chosen: str = Field(min_length=1, description="The data and the rule it was chosen with.")


class NetRef(Strict):
    """What both networks have in common."""

    variants: dict[Precision, FileRef]
    tile_px: int = Field(ge=32, description="Edge of the square input, px.")
    batch_max: int = Field(default=BATCH_MAX, ge=1, description="Tiles at once are 1 to this: an engine's profile.")
    input: Literal["uint8 NHWC RGB"] = "uint8 NHWC RGB"
    threshold: Threshold
    parameters: int = Field(ge=1)
    architecture: str

    @model_validator(mode="after")
    def _has_the_reference(self) -> Self:
        if "fp32" not in self.variants:
            raise ValueError("the fp32 variant is the reference and must be there")
        return self


class SegmenterRef(NetRef):
    """Tile in, crack probability x 255 per pixel out."""

    output: Literal["uint8 NHW probability x 255"] = "uint8 NHW probability x 255"
    overlap_px: int = Field(ge=0, description="Shared by neighbouring tiles, px; a multiple of stride_px.")
    stride_px: int = Field(ge=1, description="The network's total stride, px.")
    receptive_field_px: int | Literal["unbounded"] = Field(
        description="How far apart an input and an output pixel may lie and still be connected, as a full width in px; "
        "'unbounded' for nets with image pooling, which promise no stitched = whole."
    )

    @model_validator(mode="after")
    def _tiles_keep_the_grid(self) -> Self:
        if self.overlap_px >= self.tile_px:
            raise ValueError(f"overlap_px={self.overlap_px} must be below tile_px={self.tile_px}")
        for name in ("tile_px", "overlap_px"):
            if getattr(self, name) % self.stride_px:
                raise ValueError(f"{name}={getattr(self, name)} must be a multiple of stride_px={self.stride_px}")
        return self


class GateRef(NetRef):
    """Tile in, is there a crack in it out. It sees the segmenter's tile at 1/`downscale` of its size."""

    output: Literal["float32 crack probability (N,), float32 margin (N,)"] = (
        "float32 crack probability (N,), float32 margin (N,)"
    )
    downscale: int = Field(ge=1, description="The gate's input is the segmenter's tile reduced by this factor.")


class GoldenTile(Strict):
    """A rendered tile and what torch answered to it."""

    tile: FileRef = Field(description="PNG, RGB, the segmenter's size.")
    probability: FileRef = Field(description="PNG, grey 8 bit: probability x 255.")
    gate_probability: Unit | None = Field(description="None in a bundle without a gate.")


class TrainingSet(Strict):
    """A set of pictures that the weights were trained on."""

    name: str
    images: int = Field(ge=0)
    licence: str = Field(min_length=1, description="As stated at the source.")


class Metric(Strict):
    """A figure and the definition it was computed by."""

    name: str
    definition: str = Field(min_length=1)
    data: str
    value: float


class Manifest(Strict):
    """`manifest.json`."""

    schema_: Literal["bundle/1"] = Field(alias="schema")
    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    licence: str
    segmenter: SegmenterRef
    gate: GateRef | None
    crack_classes: tuple[str, ...] = ("crack",)
    training: tuple[TrainingSet, ...]
    metrics: tuple[Metric, ...]
    golden: tuple[GoldenTile, ...]
    card: FileRef
    certificate: FileRef | None = None
    versions: dict[str, str]

    @model_validator(mode="after")
    def _gate_covers_the_tile(self) -> Self:
        if self.gate is not None and self.gate.tile_px * self.gate.downscale != self.segmenter.tile_px:
            raise ValueError(
                f"gate.tile_px={self.gate.tile_px} x downscale={self.gate.downscale} must be "
                f"segmenter.tile_px={self.segmenter.tile_px}"
            )
        if self.gate is not None and (self.segmenter.tile_px - self.segmenter.overlap_px) % self.gate.downscale:
            raise ValueError(f"gate.downscale={self.gate.downscale} must divide the step from tile to tile")
        return self

    @model_validator(mode="after")
    def _networks_have_the_same_variants(self) -> Self:
        if self.gate is not None and set(self.gate.variants) != set(self.segmenter.variants):
            raise ValueError(
                f"gate.variants {sorted(self.gate.variants)} must be those of the segmenter, "
                f"{sorted(self.segmenter.variants)}"
            )
        return self

    def graphs(self, variant: Precision) -> list[FileRef]:
        """The networks' files of one variant: the segmenter's and, if there is one, the gate's."""
        nets: list[NetRef] = [self.segmenter, *([self.gate] if self.gate else [])]
        return [net.variants[variant] for net in nets]

    def files(self) -> list[FileRef]:
        """Every file that the manifest seals."""
        graphs = [ref for variant in self.segmenter.variants for ref in self.graphs(variant)]
        golden = [ref for item in self.golden for ref in (item.tile, item.probability)]
        return [*graphs, *golden, self.card, *([self.certificate] if self.certificate else [])]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest was read and whose files all have the hash that it names."""

    folder: Path
    manifest: Manifest
    sha256: str  # of manifest.json, which names every other file's hash
    certificate: Certificate | None = None

    def path(self, ref: FileRef) -> Path:
        """Return where a sealed file lies."""
        return self.folder / ref.file

    def read(self, ref: FileRef) -> bytes:
        """Return a sealed file's bytes, checked against the manifest once more as they are read.

        Raises:
            BundleError: missing, or not the bytes that were sealed.
        """
        path = self.path(ref)
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise BundleError(f"{path}: the manifest names this file but it cannot be read ({exc.strerror})") from exc
        got = hashlib.sha256(content).hexdigest()
        if got != ref.sha256:
            raise BundleError(f"{path}: sha256 {got[:8]} is not the manifest's {ref.sha256[:8]}; copy the bundle again")
        return content


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file in it.

    Raises:
        BundleError: no manifest, an unknown schema, a value out of range, a missing or altered file, a network with
            weights outside its file, or a certificate that does not cover what the bundle holds.
    """
    path = folder / MANIFEST_NAME
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise BundleError(f"{folder}: no model bundle here ({MANIFEST_NAME}: {exc.strerror})") from exc
    manifest = _manifest(path, content)
    bundle = Bundle(folder, manifest, hashlib.sha256(content).hexdigest())
    for ref in manifest.files():
        bundle.read(ref)
    for variant in manifest.segmenter.variants:
        for ref in manifest.graphs(variant):
            if keeps_weights_outside(bundle.read(ref)):
                raise BundleError(
                    f"{bundle.path(ref)}: keeps weights outside the file, which no hash covers; export the bundle again"
                )
    return replace(bundle, certificate=_certificate(bundle))


def _certificate(bundle: Bundle) -> Certificate | None:
    manifest = bundle.manifest
    if manifest.certificate is None:
        return None
    path = bundle.path(manifest.certificate)
    try:
        certificate = Certificate.model_validate_json(bundle.read(manifest.certificate))
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise BundleError(f"{path}: {faults}") from exc
    for variant in manifest.segmenter.variants:
        if not certificate.covers(variant, {ref.file: ref.sha256 for ref in manifest.graphs(variant)}):
            raise BundleError(
                f"{path}: does not certify the {variant} variant that the bundle holds; export the bundle again"
            )
    return certificate


def _manifest(path: Path, content: bytes) -> Manifest:
    try:
        raw = json.loads(content)
    except ValueError as exc:
        raise BundleError(f"{path}: not JSON ({exc}); copy the bundle again") from exc
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != BUNDLE_SCHEMA:
        raise BundleError(
            f"{path}: schema {schema!r}, but this version reads {BUNDLE_SCHEMA!r}; "
            "update crackscout or export the bundle again"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
        raise BundleError(f"{path}: {faults}") from exc
