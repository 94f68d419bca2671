"""A rendered pool follows from its seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.data.rendered import Kind, RenderedPool


def test_a_longer_pool_begins_like_a_shorter_one_and_another_seed_gives_another() -> None:
    seen: list[int] = []
    short = RenderedPool("r", count=2, size_px=48, seed=1, on_progress=seen.append)
    long = RenderedPool("r", count=3, size_px=48, seed=1)
    other = RenderedPool("r", count=2, size_px=48, seed=2)
    assert seen == [1, 2]
    for index in range(2):
        one, same = short.load(index), long.load(index)
        assert np.array_equal(one.image_rgb, same.image_rgb)
        assert one.mask is not None
        assert same.mask is not None
        assert np.array_equal(one.mask, same.mask)
    assert short.sha256() == RenderedPool("r", count=2, size_px=48, seed=1).sha256() != other.sha256()


def test_each_kind_is_a_pool_of_its_own_in_files_of_its_own(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("close_ups", "rendered", "views")
    pools = {RenderedPool("r", count=2, size_px=64, seed=1, kind=kind, cache=tmp_path).sha256() for kind in kinds}
    assert pools == {RenderedPool("r", count=2, size_px=64, seed=1, kind=kind).sha256() for kind in kinds}
    assert len(pools) == 3
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == list(kinds)


def test_a_patch_is_cracked_where_its_mask_says_so() -> None:
    pool = RenderedPool("r", count=12, size_px=48, seed=3)
    pictures = [pool.load(index) for index in range(len(pool))]
    assert {picture.cracked for picture in pictures} == {True, False}
    for picture in pictures:
        assert picture.mask is not None
        assert picture.cracked == bool(picture.mask.any())


def test_a_kept_pool_is_the_pool_and_a_file_cut_short_is_rendered_again(tmp_path: Path) -> None:
    plain = RenderedPool("r", count=2, size_px=48, seed=1)
    assert RenderedPool("r", count=2, size_px=48, seed=1, cache=tmp_path).sha256() == plain.sha256()
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    assert RenderedPool("r", count=2, size_px=48, seed=1, cache=tmp_path).sha256() == plain.sha256()
    assert kept.stat().st_mtime_ns == written, "read, not rendered"
    kept.write_bytes(kept.read_bytes()[:1000])
    assert RenderedPool("r", count=2, size_px=48, seed=1, cache=tmp_path).sha256() == plain.sha256()
    assert kept.stat().st_size > 1000
