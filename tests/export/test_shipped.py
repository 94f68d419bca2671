"""The variants that ship, on photos that no network was trained on: held to the limits again, by the same route and by
another one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.bundles import shipped_bundles
from agent.contract.bundle import load_bundle
from agent.contract.certificate import LIMITS
from export.card import with_variants
from export.certify import certify
from export.pictures import validation
from export.settings import ExportSettings, PictureSettings, load
from export.verify import verify
from tests.support.commands import ROOT

BUNDLES = shipped_bundles()
PHOTOS = 24  # of each set


@pytest.mark.parametrize("name", BUNDLES)
def test_every_shipped_bundle_has_a_certificate_for_all_it_holds(name: str) -> None:
    bundle = load_bundle(BUNDLES[name])
    assert bundle.certificate is not None
    made = {"fp32", "fp16", "int8"}
    assert set(bundle.manifest.segmenter.variants) | set(bundle.certificate.left_out) == made
    for one in bundle.certificate.measured:
        assert one.passed is (one.reason is None)
        for figures in one.validation if one.passed else ():
            assert abs(figures.tolerance_f1_change or 0) <= {"fp32": 0.001, "fp16": 0.005, "int8": 0.01}[one.variant]


@pytest.mark.parametrize("name", BUNDLES)
def test_the_card_tells_what_the_certificate_holds(name: str) -> None:
    bundle = load_bundle(BUNDLES[name])
    card = bundle.read(bundle.manifest.card).decode()
    assert bundle.certificate is not None
    assert with_variants(card, bundle.certificate) == card


@pytest.mark.parametrize("name", BUNDLES)
def test_every_shipped_variant_answers_its_golden_tiles_here(name: str) -> None:
    found = verify(BUNDLES[name])
    assert {one.variant for one in found.answers} == set(found.bundle.manifest.segmenter.variants)
    assert all(one.passed for one in found.answers)


def test_what_int8_of_the_default_bundle_learned_from_is_free_for_commercial_use() -> None:
    certificate = load_bundle(BUNDLES["default"]).certificate
    assert certificate is not None
    assert {line.split(":")[0] for line in certificate.calibration} <= {"rendered", "uav315"}


def photos(shared_data: Path) -> ExportSettings:
    settings = load(ROOT / "configs" / "export" / "default.yaml")
    limited = tuple(one.model_copy(update={"limit": PHOTOS}) for one in settings.validation.photos)
    return settings.model_copy(
        update={"data_root": shared_data, "validation": PictureSettings(rendered=4, photos=limited)}
    )


@pytest.mark.slow
def test_no_variant_costs_more_than_its_limit_on_real_photos(shared_data: Path) -> None:
    bundle = load_bundle(BUNDLES["default"])
    sets = [one for one in validation(photos(shared_data)) if one.name != "rendered"]
    assert {one.name for one in sets} == {"uav315", "uav75", "cfd", "deepcrack256"}
    assert bundle.certificate is not None
    certificate = certify(bundle, None, sets, calibration=())
    for one in certificate.measured:
        if bundle.certificate.refusal(one.variant, one.runtime):
            continue  # the agent does not run it there
        for figures in one.validation:
            assert figures.tolerance_f1 is not None
            assert figures.tolerance_f1 > 0.4, "a net that finds nothing changes nothing"
            change = figures.tolerance_f1_change
            assert change is not None
            assert abs(change) <= LIMITS[one.variant].f1_change, (one.variant, one.runtime, figures.data)
