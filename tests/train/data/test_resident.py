"""Crops made on the device show what is in the pictures, with the truth where it belongs."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from agent.contract.arrays import Bool, UInt8
from tests.support.training import tiny_settings
from tests.support.training_runs import equal, stop_within_epoch, weights
from train.data.camera import _tinted, as_jpeg, photographed
from train.data.crops import Part
from train.data.picture import Picture
from train.data.resident import ResidentBatches, ResidentPictures
from train.data.truth import margin, widened
from train.fit import LAST, fit
from train.settings import Augment, Border, GateLabel, Task

PLAIN = Augment(
    scale=(1, 1), flip=False, rotate=False, seek=0, gamma=0, brightness=0, contrast=0, colour=0, grey=0, blur_px=0,
    noise=0, jpeg=0,
)  # fmt: skip
CPU = torch.device("cpu")


class Shelf:
    """Pictures in memory, as a source."""

    name, real = "shelf", True

    def __init__(self, pictures: list[Picture]) -> None:
        self._pictures = pictures
        self.groups = tuple(map(str, range(len(pictures))))

    def __len__(self) -> int:
        return len(self._pictures)

    def label(self, index: int) -> str:
        return str(index)

    def has_mask(self, index: int) -> bool:
        return self._pictures[index].mask is not None

    def load(self, index: int) -> Picture:
        return self._pictures[index]

    def sha256(self) -> str:
        return ""


def scene(height: int = 96, width: int = 128) -> tuple[UInt8, Bool]:
    mask = np.zeros((height, width), np.bool_)
    mask[20:44, 30:90] = True
    mask[60:90, 8:40] = True
    return np.where(mask[..., None], np.uint8(20), np.uint8(220)).repeat(3, axis=2), mask


def pictures(*content: Picture, **convention: int) -> ResidentPictures:
    part = Part(Shelf(list(content)), range(len(content)), 1.0, **convention)
    return ResidentPictures([part], CPU)


def one(image: UInt8, mask: Bool | None, *, cracked: bool = True, **convention: int) -> ResidentPictures:
    return pictures(Picture(image_rgb=image, mask=mask, cracked=cracked), **convention)


def batches(
    kept: ResidentPictures, augment: Augment, *, task: Task = "segment", size: int = 64, **more: int
) -> ResidentBatches:
    values = {"seed": 5, "epoch": 0, "batches": 3, "crops": 8, **more}
    gate = GateLabel(tile_px=64, downscale=2, min_crack_px=10)
    return ResidentBatches(kept, task=task, crop_px=size, augment=augment, gate=gate, **values)


def test_no_augmentation_gives_the_picture_itself() -> None:
    image, mask = scene(96, 96)
    batch = batches(one(image, mask), PLAIN, size=96)[0]
    for crop, truth in zip(batch.image, batch.mask, strict=True):
        assert torch.equal((crop * 255).round().byte(), torch.from_numpy(image).permute(2, 0, 1))
        assert torch.equal(truth[0].bool(), torch.from_numpy(mask))


def test_image_and_mask_move_together_at_any_angle_and_scale() -> None:
    kept = one(*scene())
    moved = {"turn_deg": 30.0, "shear_deg": 15.0, "shift": 0.2, "flip": True, "rotate": True}
    changed = PLAIN.model_copy(update={"scale": (0.3, 3.0), **moved})
    for index in range(3):
        batch = batches(kept, changed)[index]
        dark = batch.image[:, 0] < 120 / 255
        edge = (batch.image[:, 0] > 30 / 255) & (batch.image[:, 0] < 210 / 255)
        assert torch.equal(dark[~edge], batch.mask[:, 0].bool()[~edge])
        assert 0.05 < float(batch.mask.mean()) < 0.6


@pytest.mark.parametrize("way", ["of a CPU", "of a GPU"])
@pytest.mark.parametrize("border", ["reflect", "nearest"])
def test_a_crop_lies_where_opencv_says(border: Border, way: str) -> None:
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (120, 90, 3), dtype=np.uint8), (0, 0), 2).astype(np.uint8)
    kept = one(image, np.zeros((120, 90), np.bool_), cracked=False)
    draws = kept.draw(rng, 6, 48, Augment(scale=(1.0, 2.0), turn_deg=20, shear_deg=20, shift=0.4, seek=0))
    made = kept.crops if way == "of a CPU" else kept.gathered
    found = made(draws, 48, border)[:, :3].permute(0, 2, 3, 1).numpy()
    for crop, scale, centre, angle, mirrored, shear in zip(
        found, draws.scale, draws.centre_yx, draws.angle, draws.mirrored, draws.shear, strict=True
    ):
        cos, sin, sign, lean = math.cos(angle) / scale, math.sin(angle) / scale, -1 if mirrored else 1, math.tan(shear)
        matrix = np.array([[cos * sign, cos * sign * lean - sin, 0.0], [sin * sign, sin * sign * lean + cos, 0.0]])
        matrix[:, 2] = centre[::-1] - 0.5 - matrix[:, :2] @ np.array([23.5, 23.5])
        wanted = cv2.warpAffine(
            image.astype(np.float32), matrix, (48, 48), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101 if border == "reflect" else cv2.BORDER_REPLICATE,
        )  # fmt: skip
        assert np.abs(crop - wanted).max() < 2  # OpenCV rounds places to 1/32 px


def test_a_one_pixel_crack_survives_halving() -> None:
    mask = np.zeros((128, 128), np.bool_)
    mask[60] = True
    batch = batches(one(scene(128, 128)[0], mask), PLAIN.model_copy(update={"scale": (0.5, 0.5)}))[0]
    assert batch.mask[0, 0].any(dim=0).all(), "every column still holds it"
    assert batch.mask[0, 0].sum(dim=0).max() <= 2


def test_a_seeking_crop_holds_a_crack_where_there_is_one() -> None:
    mask = np.zeros((300, 300), np.bool_)
    mask[149:152, 59:62] = True
    kept = one(np.zeros((300, 300, 3), np.uint8), mask)
    assert batches(kept, PLAIN.model_copy(update={"seek": 1.0}), size=32)[0].mask.flatten(1).any(dim=1).all()


def test_a_batch_follows_from_seed_epoch_and_index_alone() -> None:
    kept = one(*scene())
    first, again, other = (batches(kept, Augment(), epoch=e)[1] for e in (0, 0, 1))
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, other.image)


def test_processes_share_a_batch_without_gaps_or_doubles() -> None:
    kept = one(*scene())
    whole = batches(kept, PLAIN)[0]
    shares = [batches(kept, PLAIN, rank=rank, processes=2)[0] for rank in (0, 1)]
    assert torch.equal(torch.stack([s.image for s in shares], dim=1).flatten(0, 1), whole.image)


def test_a_gate_is_not_shown_crops_with_too_little_crack_to_call() -> None:
    mask = np.zeros((128, 128), np.bool_)
    mask[40, 40:45] = True  # 5 px, below the limit of 10
    faint = Picture(image_rgb=scene(128, 128)[0], mask=mask, cracked=True)
    wholly = Picture(image_rgb=np.zeros((64, 80, 3), np.uint8), mask=None, cracked=True)
    kept = pictures(faint, wholly)
    for index in range(3):
        batch = batches(kept, PLAIN.model_copy(update={"seek": 0.5}), task="gate")[index]
        assert len(batch.label) <= 8
        assert not batch.mask[batch.label == 0].any()
        assert not batch.masked[batch.label == 1].any(), "only the one labelled as a whole is crack"


def test_the_margin_beside_a_crack_is_ignored_and_the_crack_is_not() -> None:
    image, mask = scene(96, 96)
    batch = batches(one(image, mask, margin_px=2), PLAIN, size=96)[0]
    assert batch.ignore is not None
    ignored = batch.ignore[0, 0].numpy()
    grown = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))) > 0
    assert not (ignored & mask).any()
    assert (ignored == (grown & ~mask)).mean() > 0.99
    assert margin(mask, 0).sum() == 0


def test_a_centre_line_grows_to_the_crack_that_the_picture_shows() -> None:
    rng = np.random.default_rng(0)
    crack = np.zeros((128, 128), np.uint8)
    cv2.line(crack, (0, 20), (127, 100), 1, 5)
    image = np.clip(np.where(crack[..., None] > 0, 70, 160) + rng.normal(0, 6, (128, 128, 3)), 0, 255).astype(np.uint8)
    line = np.zeros((128, 128), np.uint8)
    cv2.line(line, (0, 20), (127, 100), 1, 1)
    grown = widened(image, line > 0, 4)
    overlap = (grown & (crack > 0)).sum() / (grown | (crack > 0)).sum()
    assert overlap > 0.85
    assert (line[crack > 0].sum() / crack.sum()) < 0.35, "the line alone is far from it"


def test_a_centre_line_stays_as_it_is_where_the_picture_shows_nothing() -> None:
    image = np.clip(np.random.default_rng(0).normal(150, 8, (96, 96, 3)), 0, 255).astype(np.uint8)
    line = np.zeros((96, 96), np.bool_)
    line[40] = True
    assert (widened(image, line, 3) ^ line).sum() <= 0.15 * line.sum()
    assert np.array_equal(widened(image, line, 0), line)


@pytest.mark.parametrize("quality", [40, 95])
def test_jpeg_costs_about_what_libjpeg_costs(quality: int) -> None:
    rng = np.random.default_rng(1)
    grey = cv2.GaussianBlur(rng.integers(0, 256, (64, 64), dtype=np.uint8), (0, 0), 1.0)
    image = np.repeat(grey[..., None], 3, axis=2)
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    wanted = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.float64)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    found = as_jpeg(tensor, np.array([quality]))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - wanted).mean() < 0.25 * np.abs(wanted - image).mean() + 0.3


def test_what_a_camera_does_keeps_everything_where_it_is() -> None:
    image, mask = scene()
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float().repeat(16, 1, 1, 1) / 255
    changed = photographed(np.random.default_rng(0), tensor, Augment(blur_px=1.0, jpeg=0.5))
    assert changed.shape == tensor.shape
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    inside, outside = changed[:, :, 28:36, 40:80].mean((1, 2, 3)), changed[:, :, 2:14].mean((1, 2, 3))
    assert (inside < outside - 30 / 255).all(), "the dark block is still the dark block"
    assert len({round(float(one), 4) for one in outside}) > 8, "each crop looks different"
    assert mask.any()


def test_hue_and_saturation_are_those_of_the_colour_circle() -> None:
    """Against colorsys, colour by colour; a turn and a factor for each crop."""
    image = torch.from_numpy(np.random.default_rng(0).random((2, 3, 4, 4))).float()
    image[0, :, 0, 0] = 0.5  # a grey has no hue
    turn, factor = torch.tensor([0.3, -0.45]).view(2, 1, 1), torch.tensor([1.6, 0.5]).view(2, 1, 1, 1)
    found = _tinted(image, turn, factor)
    for crop in range(2):
        for row, column in np.ndindex(4, 4):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[crop, :, row, column].tolist())
            wanted = colorsys.hsv_to_rgb((hue + float(turn[crop])) % 1, min(saturation * float(factor[crop]), 1), value)
            assert found[crop, :, row, column].tolist() == pytest.approx(wanted, abs=1e-5)


def test_a_resident_run_resumes_exactly(photos: Path, tmp_path: Path) -> None:
    def settings(out: Path) -> object:
        base = tiny_settings(
            photos, out, optimiser={"batch": 2, "epochs": 3, "steps_per_epoch": 20, "learning_rate": 0.01}
        )
        return base.model_copy(update={"data": base.data.model_copy(update={"resident": True})})

    fit(settings(tmp_path / "whole"))  # type: ignore[arg-type]
    stop_within_epoch(settings(tmp_path / "parts"), 1)  # type: ignore[arg-type]
    fit(settings(tmp_path / "parts"), resume=True)  # type: ignore[arg-type]
    assert equal(weights(tmp_path / "whole" / LAST), weights(tmp_path / "parts" / LAST))


def test_a_vertical_flip_alone_turns_crops_and_masks_upside_down_or_leaves_both() -> None:
    image, mask = scene(96, 96)
    alone = PLAIN.model_copy(update={"flip_vertical": True})
    made = batches(one(image, mask), alone, size=96, crops=20)[0]
    upturned = []
    for crop, truth in zip(made.image, made.mask, strict=True):
        upturned.append(not np.array_equal(truth[0].numpy() > 0, mask))
        shown, known = (image[::-1], mask[::-1]) if upturned[-1] else (image, mask)
        assert np.array_equal(truth[0].numpy() > 0, known)
        assert np.abs(crop.permute(1, 2, 0).numpy() * 255 - shown).max() < 1
    assert 2 <= sum(upturned) <= 18
