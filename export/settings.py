"""What `crack-export bundle` needs to be told, apart from the checkpoints."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from agent import strict_yaml
from agent.contract.bundle import BATCH_MAX
from agent.contract.certificate import Precision
from agent.contract.strict import Strict
from agent.errors import ConfigError
from train.settings import Grouping


class PhotoSet(Strict):
    """Photos in `images/` with their masks in `masks/`."""

    name: str = Field(min_length=1)
    folder: str = Field(min_length=1, description="Below data_root.")
    groups: Grouping = Grouping()
    held_out: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="The share that training held out: validation takes it, calibration the rest.",
    )
    seed: int = Field(default=0, ge=0, description="Of the split: the training run's.")
    limit: int | None = Field(default=None, ge=1, description="At most so many, evenly spread; null: all.")


class PictureSettings(Strict):
    """Which pictures serve a purpose."""

    rendered: int = Field(default=24, ge=0, description="Surfaces rendered for it.")
    photos: tuple[PhotoSet, ...] = ()


class ExportSettings(Strict):
    """A bundle's name, its licence, how it is tiled, and what is known to fail."""

    name: str = Field(default="default", pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    licence: str = Field(default="not stated", min_length=1)
    tile_px: int = Field(default=512, ge=64)
    overlap_px: int = Field(default=64, ge=0)
    golden_tiles: int = Field(default=3, ge=1, le=16)
    batch_max: int = Field(default=BATCH_MAX, ge=1, le=256, description="Tiles at once, at most: an engine's profile.")
    variants: tuple[Precision, ...] = Field(default=("fp16", "int8"), description="To be made beside fp32.")
    data_root: Path = Field(default=Path("../shared/data"), description="Where the folders of photos lie.")
    calibration: PictureSettings = Field(default=PictureSettings(), description="INT8 takes its ranges from these.")
    validation: PictureSettings = Field(default=PictureSettings(), description="Every variant is judged on these.")
    summary: str = "A crack segmenter and, where given, a gate."
    fails: tuple[str, ...] = Field(default=(), description="What the networks are known to get wrong; for the card.")
    training: tuple[str, ...] = Field(default=(), description="Commands that repeat the training; for the card.")


def load(path: Path | None) -> ExportSettings:
    """Read a settings file; None gives the defaults.

    Raises:
        ConfigError: unreadable, or values that do not fit, all named.
    """
    if path is None:
        return ExportSettings()
    return strict_yaml.load(path, ExportSettings)


def named(settings: ExportSettings, name: str | None) -> ExportSettings:
    """Return the settings with another name; None keeps theirs.

    Raises:
        ConfigError: not a bundle's name.
    """
    if name is None:
        return settings
    try:
        return ExportSettings.model_validate({**settings.model_dump(), "name": name})
    except ValidationError as exc:
        raise ConfigError(f"--name {name}: a bundle's name is small letters, digits, - and _, 64 at most") from exc
