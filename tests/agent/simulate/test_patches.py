"""Training pictures: same seed, same bytes; truth and picture agree."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from agent.simulate.distractors import DISTRACTORS
from agent.simulate.patches import Patch, render_patch
from agent.simulate.surface import Material, render_surface


def patch(seed: int, size: int = 96, **options: object) -> Patch:
    return render_patch(np.random.default_rng(seed), size, **options)  # type: ignore[arg-type]


def test_a_patch_has_the_size_and_types_promised() -> None:
    p = patch(0, 100)
    assert p.image_rgb.shape == (100, 100, 3)
    assert p.mask.shape == p.coverage.shape == (100, 100)
    assert [a.dtype.name for a in (p.image_rgb, p.mask, p.coverage)] == ["uint8", "bool", "float32"]
    assert 0 <= p.coverage.min() <= p.coverage.max() <= 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    for seed in range(8):
        a, b, other = patch(seed), patch(seed), patch(seed + 1000)
        assert a.image_rgb.tobytes() == b.image_rgb.tobytes()
        assert a.mask.tobytes() == b.mask.tobytes()
        assert a.image_rgb.tobytes() != other.image_rgb.tobytes()


def test_a_patch_without_a_crack_has_an_empty_mask() -> None:
    for seed in range(20):
        p = patch(seed, crack_share=0.0)
        assert not p.mask.any()
        assert not p.coverage.any()
        assert p.cracks == ()


def test_most_patches_with_a_crack_show_it() -> None:
    shown = [patch(seed, crack_share=1.0).mask.any() for seed in range(40)]
    assert np.mean(shown) > 0.8


def test_the_mask_is_darker_than_what_lies_beside_it() -> None:
    darker = []
    for seed in range(60):
        p = patch(seed, 128, crack_share=1.0, width_px=(1.5, 6.0))
        grey = p.image_rgb.mean(axis=2)
        core = p.coverage > 0.9
        near = cv2.dilate(p.mask.astype(np.uint8), np.ones((15, 15))) > 0
        beside = near & ~(cv2.dilate(p.mask.astype(np.uint8), np.ones((7, 7))) > 0)
        if core.sum() > 40 and beside.sum() > 40:
            darker.append(grey[core].mean() < grey[beside].mean())
    assert len(darker) > 30
    assert np.mean(darker) > 0.95


def test_the_cracks_lie_where_the_mask_is() -> None:
    for seed in range(10):
        p = patch(seed, 96, crack_share=1.0)
        for crack in p.cracks:
            points = np.floor(np.concatenate([b.line_xy for b in crack.branches]) + 0.5).astype(int)
            inside = points[((points >= 0) & (points < 96)).all(axis=1)]
            hit = p.mask[inside[:, 1], inside[:, 0]]
            assert hit.size == 0 or hit.mean() > 0.6  # a cable may hide a part


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (16, {}, "size_px=16"),
        (96, {"crack_share": 1.5}, "crack_share=1.5"),
        (96, {"width_px": (4.0, 2.0)}, r"width_px=\(4.0, 2.0\)"),
        (96, {"width_px": (0.0, 2.0)}, r"width_px=\(0.0, 2.0\)"),
    ],
)
def test_a_wrong_setting_is_named(size: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        patch(0, size, **options)


@pytest.mark.parametrize("material", ["concrete", "asphalt"])
def test_a_bare_surface_is_light_between_black_and_white(material: Material) -> None:
    for seed in range(10):
        rgb = render_surface(np.random.default_rng(seed), 64, 80, material=material)
        assert rgb.shape == (64, 80, 3)
        assert rgb.dtype == np.float32
        assert np.isfinite(rgb).all()
        assert 0.05 < rgb.mean() < 1.2


@pytest.mark.parametrize("name", list(DISTRACTORS))
def test_every_distractor_changes_the_surface_and_keeps_it_finite_and_positive(name: str) -> None:
    changed = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        before = render_surface(rng, 72, 96, material="concrete")
        after = before.copy()
        hidden = DISTRACTORS[name][0](rng, after)
        assert after.dtype == np.float32
        assert np.isfinite(after).all()
        assert after.min() > -0.05
        assert hidden is None or (hidden.shape == (72, 96) and 0 <= hidden.min() <= hidden.max() <= 1)
        changed.append(not np.array_equal(before, after))
    assert np.mean(changed) > 0.5  # the others fell beside the picture
