"""The checker on the rows that PAPERS.md names in the CIRL paper's tables 2 and 3."""

from __future__ import annotations

import numpy as np
import pytest

from train.metrics.consistency import PrintedRow, excess_f1, inconsistent

TABLE_2 = [
    PrintedRow(name="CIRL CrackTree200", precision=87.62, recall=83.92, f1=86.53),
    PrintedRow(name="CIRL DRIVE", precision=84.57, recall=82.95, f1=84.32),
    PrintedRow(name="Crackformer CrackTree200", precision=84.13, recall=81.93, f1=83.42),
    PrintedRow(name="Crackformer DRIVE", precision=83.05, recall=81.19, f1=83.25),
    PrintedRow(name="JTFN CrackTree200", precision=85.87, recall=82.58, f1=84.19),
    PrintedRow(name="JTFN DRIVE", precision=82.71, recall=83.40, f1=82.81),
    PrintedRow(name="CIRL Crack500", precision=70.32, recall=69.93, f1=67.62),
    PrintedRow(name="UNet CrackSeg5K", precision=61.49, recall=57.19, f1=56.28),
]


def test_the_rows_of_the_cirl_paper_above_their_harmonic_mean_are_flagged_and_no_others() -> None:
    assert [row.name for row in inconsistent(TABLE_2)] == [row.name for row in TABLE_2[:4]]


@pytest.mark.parametrize(
    ("row", "harmonic"),
    list(zip(TABLE_2[:4], [85.73, 83.75, 83.02, 82.11], strict=True)),
    ids=[row.name for row in TABLE_2[:4]],
)
def test_the_excess_is_that_over_the_harmonic_mean_less_the_rounding(row: PrintedRow, harmonic: float) -> None:
    assert excess_f1(row) == pytest.approx(row.f1 - harmonic, abs=0.02)


def test_what_rounding_alone_can_do_is_not_flagged() -> None:
    rng = np.random.default_rng(0)
    for precision, recall in rng.uniform(0.01, 1, (2000, 2)):
        f1 = 2 * precision * recall / (precision + recall)
        for decimals in (1, 2, 3):
            p, r, f = (round(value, decimals) for value in (precision, recall, f1))
            assert excess_f1(PrintedRow(name="", precision=p, recall=r, f1=f, decimals=decimals)) < 1e-12
            above = PrintedRow(name="", precision=p, recall=r, f1=f + 3 * 10.0**-decimals, decimals=decimals)
            assert excess_f1(above) > 0


def test_means_over_images_are_never_flagged() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        precision, recall = rng.uniform(0.01, 1, (2, 20))
        f1 = 2 * precision * recall / (precision + recall)
        row = PrintedRow(name="", precision=precision.mean(), recall=recall.mean(), f1=f1.mean(), decimals=9)
        assert excess_f1(row) == 0
