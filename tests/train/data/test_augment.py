"""Image and mask move together; what the camera does to a picture moves nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.augment import pad, photometric, random_crop, resized
from train.settings import Augment

SCENE = np.zeros((96, 128), np.bool_)
SCENE[20:44, 30:90] = True  # blocks, so that resizing blurs few of their pixels
SCENE[60:90, 8:40] = True
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
    plain = Augment(
        scale=(1, 1), flip=False, rotate=False, seek=0, gamma=0, brightness=0, contrast=0, colour=0, grey=0,
        blur_px=0, noise=0, jpeg=0,
    )  # fmt: skip
    square = PHOTO[:, :96]
    image, mask = random_crop(np.random.default_rng(0), square, SCENE[:, :96], 96, plain)
    assert mask is not None
    assert np.array_equal(image, square)
    assert np.array_equal(mask, SCENE[:, :96])
    assert np.array_equal(photometric(np.random.default_rng(0), image, plain), square)
