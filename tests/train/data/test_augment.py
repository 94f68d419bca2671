"""Image and mask move together; what the camera does to a picture moves nothing."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.augment import pad, photometric, random_crop, resized
from train.settings import Augment, Border

SCENE = np.zeros((96, 128), np.bool_)
SCENE[20:44, 30:90] = True  # blocks, so that resizing blurs few of their pixels
SCENE[60:90, 8:40] = True
PLAIN = Augment(
    scale=(1, 1), flip=False, rotate=False, seek=0, gamma=0, brightness=0, contrast=0, colour=0, grey=0, blur_px=0,
    noise=0, jpeg=0,
)  # fmt: skip
PHOTO = np.where(SCENE[..., None], np.uint8(20), np.uint8(220)).repeat(3, axis=2)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([32, 64]))
def test_image_and_mask_move_together(seed: int, size: int) -> None:
    image, mask = random_crop(np.random.default_rng(seed), PHOTO, SCENE, size, Augment())
    assert image.shape == (size, size, 3)
    assert mask is not None
    assert mask.shape == (size, size)
    dark = image[..., 0] < 120
    edge = (image[..., 0] > 30) & (image[..., 0] < 210)  # where resizing mixed both
    assert np.array_equal(dark[~edge], mask[~edge])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), border=st.sampled_from(["reflect", "nearest"]))
def test_image_and_mask_move_together_when_they_are_turned_sheared_and_shifted(seed: int, border: Border) -> None:
    changed = Augment(turn_deg=180, shear_deg=20, shift=0.3, border=border)
    image, mask = random_crop(np.random.default_rng(seed), PHOTO, SCENE, 64, changed)
    assert mask is not None
    dark = image[..., 0] < 120
    edge = (image[..., 0] > 30) & (image[..., 0] < 210)
    assert np.array_equal(dark[~edge], mask[~edge])


def test_a_turned_and_sheared_crop_shows_each_place_by_turn_and_shear_alone() -> None:
    """Of a picture whose colours are its coordinates, where linear sampling is exact."""
    y, x = np.mgrid[:256, :256]
    photo = np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)
    alone = PLAIN.model_copy(update={"turn_deg": 40.0, "shear_deg": 15.0})
    turns, leans = [], []
    rows = np.column_stack([np.tile(np.arange(48), 48), np.repeat(np.arange(48), 48), np.ones(48 * 48)])
    for seed in range(30):
        image, _ = random_crop(np.random.default_rng(seed), photo, None, 48, alone)
        shown = image[..., :2].reshape(-1, 2).astype(float)
        if shown.min() < 3 or shown.max() > 252:
            continue  # it may reach beyond the picture
        found, *_ = np.linalg.lstsq(rows, shown, rcond=None)
        across, down = found[0], found[1]  # a step to the right and a step down, in x and y of the picture
        assert np.abs(rows @ found - shown).max() < 1.1, "grey levels are whole"
        assert np.hypot(*across) == pytest.approx(1, abs=0.02), "no change of size"
        assert across[0] * down[1] - across[1] * down[0] == pytest.approx(1, abs=0.02), "nor of area, nor a mirror"
        turns.append(math.degrees(math.atan2(across[1], across[0])))
        leans.append(math.degrees(math.atan(across @ down)))
    assert len(turns) > 15
    assert 20 < max(map(abs, turns)) < 41
    assert 7 < max(map(abs, leans)) < 16
    assert min(turns) < 0 < max(turns)
    assert min(leans) < 0 < max(leans)


@pytest.mark.parametrize("border", ["reflect", "nearest"])
def test_beyond_the_picture_lie_its_nearest_pixels_or_its_mirror_image(border: Border) -> None:
    """A picture that brightens to the right, with a crack along its right edge, shown whole and shifted."""
    photo = np.repeat(np.repeat((np.arange(64) * 3)[None, :, None], 64, axis=0), 3, axis=2).astype(np.uint8)
    scene = np.zeros((64, 64), np.bool_)
    scene[:, -4:] = True
    alone, beyond = PLAIN.model_copy(update={"shift": 0.5, "border": border}), 0
    for seed in range(20):
        image, mask = random_crop(np.random.default_rng(seed), photo, scene, 64, alone)
        assert mask is not None
        row, crack = image[32, :, 0].astype(int), mask[32]
        rises = (np.diff(row) >= 0).all()
        if row[0] > 20:  # it reaches beyond the right edge
            beyond += 1
            assert rises == (border == "nearest")
            assert crack[-1] == (border == "nearest"), "the edge's crack goes on, or is mirrored and ends"
    assert beyond > 4


def test_a_picture_labelled_as_a_whole_is_not_shifted() -> None:
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[0, 0] = photo[-1, -1] = 255
    image, _ = random_crop(
        np.random.default_rng(0), photo, None, 64, PLAIN.model_copy(update={"shift": 0.5}), whole=True
    )
    assert np.array_equal(image, photo)


def test_hue_and_saturation_are_those_of_the_colour_circle() -> None:
    """Against colorsys, colour by colour: of the whole crop at once, by one turn and one factor."""
    rng = np.random.default_rng(3)
    photo = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    alone = PLAIN.model_copy(update={"hue": 0.5, "saturation": 1.0})
    for seed in range(5):
        changed = photometric(np.random.default_rng(seed), photo, alone)
        drawn = np.random.default_rng(seed)
        photometric_draws(drawn)
        turn, factor = drawn.uniform(-1, 1) * 0.5, 1 + drawn.uniform(-1, 1)
        for colour, found in zip(photo.reshape(-1, 3), changed.reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*(colour / 255))
            wanted = np.array(colorsys.hsv_to_rgb((hue + turn) % 1, min(saturation * factor, 1), value)) * 255
            assert np.abs(found - wanted).max() < 1.5


def photometric_draws(rng: np.random.Generator) -> None:
    """Draw what comes before the hue: gamma, contrast, brightness, and the gains of three channels."""
    for count in (None, None, None, 3):
        rng.uniform(-1, 1, count)


def test_a_vertical_flip_alone_turns_image_and_mask_upside_down_or_leaves_both() -> None:
    photo, scene = PHOTO[:96, :96], SCENE[:96, :96]
    alone = Augment(scale=(1, 1), seek=0, rotate=False, flip=False, flip_vertical=True)
    upturned = []
    for seed in range(40):
        image, mask = random_crop(np.random.default_rng(seed), photo, scene, 96, alone)
        assert mask is not None
        upturned.append(not np.array_equal(image, photo))
        assert np.array_equal(image, photo[::-1] if upturned[-1] else photo)
        assert np.array_equal(mask, scene[::-1] if upturned[-1] else scene)
    assert 8 <= sum(upturned) <= 32


def test_a_picture_labelled_as_a_whole_stays_in_sight_as_a_whole() -> None:
    photo = np.full((80, 100, 3), 200, np.uint8)
    photo[:3, :3] = photo[-3:, -3:] = 0  # two corners
    for seed in range(10):
        image, mask = random_crop(
            np.random.default_rng(seed),
            photo,
            None,
            64,
            Augment(scale=(1.9, 2.0), rotate=False, flip=False),
            whole=True,
        )
        assert mask is None
        assert (image[:4, :4] < 150).any()
        assert (image[40:] < 150).any()


def test_a_seeking_crop_holds_a_crack_where_there_is_one() -> None:
    mask = np.zeros((200, 200), np.bool_)
    mask[150, 60] = True
    image = np.zeros((200, 200, 3), np.uint8)
    seeking = Augment(seek=1.0, scale=(1.0, 1.0))
    for seed in range(20):
        _, truth = random_crop(np.random.default_rng(seed), image, mask, 32, seeking)
        assert truth is not None
        assert truth.any()


def test_a_one_pixel_crack_survives_halving() -> None:
    mask = np.zeros((64, 64), np.bool_)
    mask[31] = True
    _, half = resized(np.zeros((64, 64, 3), np.uint8), mask, 32, 32)
    assert half is not None
    assert half[15].all()
    assert half.sum() == 32


def test_padding_reflects_image_and_mask_without_repeating_the_edge() -> None:
    image, mask = pad(PHOTO, SCENE, 120, 200)
    assert mask is not None
    assert image.shape == (120, 200, 3)
    assert np.array_equal(image[96:], image[71:95][::-1])
    assert np.array_equal(mask[:, 128:], mask[:, 55:127][:, ::-1])


@pytest.mark.parametrize("seed", range(8))
def test_photometric_changes_keep_everything_where_it_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    changed = photometric(rng, PHOTO, Augment(blur_px=0.5))
    assert changed.shape == PHOTO.shape
    assert changed.dtype == np.uint8
    inside, outside = changed[28:36, 40:80].mean(), changed[2:16].mean()
    assert inside < outside - 30, "the dark block is still the dark block"


def test_no_augmentation_gives_the_picture_itself() -> None:
    square = PHOTO[:, :96]
    image, mask = random_crop(np.random.default_rng(0), square, SCENE[:, :96], 96, PLAIN)
    assert mask is not None
    assert np.array_equal(image, square)
    assert np.array_equal(mask, SCENE[:, :96])
    assert np.array_equal(photometric(np.random.default_rng(0), image, PLAIN), square)
