"""The promises of `agent.infer.backend.Backend`; every runtime's test class inherits them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from agent.errors import InferenceError
from agent.infer.backend import Backend
from tests.support.bundles import expected_probability, golden_tile


class BackendContract:
    """Inherit it and give a fixture `backend` of the tiny bundle (64 px tiles, gate at 32 px)."""

    def test_one_map_per_tile(self, backend: Backend) -> None:
        maps = backend.infer(np.zeros((3, 64, 64, 3), np.uint8))
        assert maps.shape == (3, 64, 64)
        assert maps.dtype == np.uint8

    def test_the_map_is_the_formula_worked_out_by_hand(self, backend: Backend) -> None:
        tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        for picture in (tile, golden_tile(64)):
            got = backend.infer(picture[None])[0].astype(int)
            assert np.abs(got - expected_probability(picture)).max() <= 1

    def test_results_are_fresh_arrays(self, backend: Backend) -> None:
        first = backend.infer(golden_tile(64)[None])
        kept = first.copy()
        backend.infer(np.zeros((1, 64, 64, 3), np.uint8))
        assert np.array_equal(first, kept)

    def test_a_view_into_a_frame_gives_what_its_copy_gives(self, backend: Backend) -> None:
        frame = np.random.default_rng(1).integers(0, 256, (100, 120, 3), np.uint8)
        view = frame[7:71, 11:75]
        assert np.array_equal(backend.infer(view[None]), backend.infer(view.copy()[None]))

    def test_the_gate_gives_probability_and_margin_of_each_tile(self, backend: Backend) -> None:
        clean = np.full((32, 32, 3), 200, np.uint8)
        scores = backend.gate(np.stack([clean, golden_tile(32)]))
        assert scores.probability.shape == scores.margin.shape == (2,)
        assert scores.probability[0] < 0.1
        assert scores.probability[1] > 0.9
        assert scores.probability == pytest.approx(1 / (1 + np.exp(-scores.margin)), abs=1e-5)

    @pytest.mark.parametrize(
        "tiles",
        [
            pytest.param(np.zeros((1, 32, 64, 3), np.uint8), id="another size"),
            pytest.param(np.zeros((1, 64, 64, 1), np.uint8), id="grey"),
            pytest.param(np.zeros((1, 64, 64, 3), np.float32), id="float"),
            pytest.param(np.zeros((64, 64, 3), np.uint8), id="no batch axis"),
        ],
    )
    def test_tiles_of_another_kind_are_refused_by_name(self, backend: Backend, tiles: np.ndarray) -> None:
        with pytest.raises(InferenceError, match="takes uint8 tiles"):
            backend.infer(tiles)

    def test_threads_share_one_backend(self, backend: Backend) -> None:
        tiles = np.random.default_rng(2).integers(0, 256, (16, 64, 64, 3), np.uint8)
        with ThreadPoolExecutor(4) as pool:
            together = np.concatenate(list(pool.map(lambda tile: backend.infer(tile[None]), tiles)))
        assert np.array_equal(together, backend.infer(tiles))

    def test_it_names_itself(self, backend: Backend) -> None:
        assert backend.runtime
        assert backend.variant in {"fp32", "fp16", "int8"}
