"""The crops of an epoch follow from seed, epoch and index; what cannot be read is named and passed over."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.errors import ConfigError, InputError
from tests.support.training import tiny_settings
from train.data.crops import CropDataset, collate, gate_label, gate_view
from train.data.sources import open_sources
from train.settings import GateLabel, Settings


def dataset(settings: Settings, epoch: int = 0) -> CropDataset:
    return CropDataset(
        open_sources(settings).training,
        task=settings.task,
        crop_px=32,
        augment=settings.data.augment,
        gate=settings.gate,
        seed=settings.seed,
        epoch=epoch,
        length=12,
    )


def test_a_crop_is_the_same_each_time_and_another_in_the_next_epoch(photos: Path, tmp_path: Path) -> None:
    settings = tiny_settings(photos, tmp_path)
    first, again, later = dataset(settings), dataset(settings), dataset(settings, epoch=1)
    for index in (0, 5, 11):
        assert np.array_equal(first[index].image_rgb, again[index].image_rgb)
        assert first[index].cracked == again[index].cracked
        assert not np.array_equal(first[index].image_rgb, later[index].image_rgb)


def test_a_segmenter_learns_from_clean_photos_but_not_from_cracked_ones_without_a_mask(
    photos: Path, tmp_path: Path
) -> None:
    facts = {
        task: {one.name: one for one in open_sources(tiny_settings(photos, tmp_path, task=task)).facts}
        for task in ("segment", "gate")
    }
    assert facts["gate"]["classes"].training + facts["gate"]["classes"].validation == 20
    assert facts["segment"]["classes"].training + facts["segment"]["classes"].validation == 10


def test_batches_have_the_shapes_and_ranges_that_the_losses_ask_for(photos: Path, tmp_path: Path) -> None:
    segment = collate([dataset(tiny_settings(photos, tmp_path))[i] for i in range(6)])
    assert segment.image.shape == (6, 3, 32, 32)
    assert segment.image.dtype == torch.float32
    assert 0 <= segment.image.min() <= segment.image.max() <= 1
    assert segment.mask.shape == (6, 1, 32, 32)
    assert set(segment.mask.flatten().tolist()) == {0.0, 1.0}
    assert segment.masked.all()
    gate = collate([dataset(tiny_settings(photos, tmp_path, task="gate"))[i] for i in range(12)])
    assert gate.label.shape == (12,)
    assert gate.label.dtype == torch.int64
    assert not gate.mask[~gate.masked].any()
    assert gate.label[~gate.masked].all(), "only what is cracked somewhere has no mask"


def test_a_corrupt_photo_is_named_and_the_epoch_goes_on(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    settings = tiny_settings(tmp_path / "data", tmp_path)
    crops = dataset(settings)
    for path in (tmp_path / "data" / "pairs" / "images").iterdir():
        path.write_bytes(b"gone bad")
    batch = collate([crops[i] for i in range(12)])
    assert batch.image.shape[0] == 12
    assert batch.skipped
    assert all("pairs/images" in message for message in batch.skipped)


def test_nothing_but_corrupt_photos_is_an_error(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    settings = tiny_settings(tmp_path / "data", tmp_path)
    settings = settings.model_copy(
        update={"data": settings.data.model_copy(update={"sources": settings.data.sources[1:2]})}
    )
    crops = dataset(settings)
    for path in (tmp_path / "data" / "pairs" / "images").iterdir():
        path.write_bytes(b"gone bad")
    with pytest.raises(InputError, match="in a row"):
        crops[0]


@pytest.mark.parametrize(
    ("crack", "label"),
    [
        pytest.param(0, 0, id="none"),
        pytest.param(1, None, id="so few that nobody could tell"),
        pytest.param(23, None, id="one below the limit"),
        pytest.param(24, 1, id="the limit"),
        pytest.param(True, 1, id="known for the picture as a whole"),
        pytest.param(False, 0, id="known to be clean"),
    ],
)
def test_a_gate_calls_it_a_crack_from_so_many_pixels(crack: int, label: int | None) -> None:
    assert gate_label(crack, GateLabel(min_crack_px=24)) == label


def test_the_gate_sees_a_small_picture_reflected_to_a_tile_and_halved() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[:, 298:] = 200
    view = gate_view(image, GateLabel(tile_px=512, downscale=2))
    assert view.shape == (256, 256, 3)
    assert view[0, 149, 0] == 200, "the two light columns at the edge"
    assert view[0, 150, 0] == 100, "and their reflection, which repeats the outer one not at all"
    assert view[0, 100, 0] == 0


def test_a_split_that_leaves_nothing_to_validate_with_is_refused(photos: Path, tmp_path: Path) -> None:
    source = {"kind": "rendered", "count": 2, "size_px": 64, "weight": 1, "validation": 0}
    settings = tiny_settings(photos, tmp_path, data={"root": photos, "crop_px": 32, "sources": [source]})
    with pytest.raises(ConfigError, match="to validate with"):
        open_sources(settings)
