from __future__ import annotations

import pytest

from agent.contract.reports import Severity
from agent.severity.standard import ADVICE, Category, SeverityClass, all_standards, listing, standard

HARMLESS_FIRST: tuple[Severity, ...] = ("none", "low", "moderate", "high", "severe")


def test_the_standards_that_are_promised_ship() -> None:
    promised = {"aci-224r", "en-1992-1-1", "aashto-mbei", "astm-d6433", "fhwa-ltpp", "mlit-bridge", "mlit-tunnel"}
    assert promised == set(all_standards())
    assert all(one.id == name for name, one in all_standards().items())


@pytest.mark.parametrize("name", all_standards())
def test_wider_is_never_milder_and_every_value_has_its_source(name: str) -> None:
    for category in standard(name).categories.values():
        ranks = [HARMLESS_FIRST.index(one.rank) for one in category.classes]
        assert ranks == sorted(ranks)
        assert any(character.isdigit() for character in category.citation)
        assert category.checked in ADVICE


@pytest.mark.parametrize(
    ("name", "category", "bounds", "checked"),
    [
        pytest.param("aci-224r", "dry-air", [0.41], "source", id="ACI, dry air"),
        pytest.param("aci-224r", "humid", [0.30], "source", id="ACI, humid"),
        pytest.param("aci-224r", "de-icing", [0.18], "source", id="ACI, de-icing"),
        pytest.param("aci-224r", "seawater", [0.15], "source", id="ACI, seawater"),
        pytest.param("aci-224r", "water-retaining", [0.10], "source", id="ACI, water"),
        pytest.param("en-1992-1-1", "reinforced-x0-xc1", [0.4], "from memory", id="EN, dry"),
        pytest.param("en-1992-1-1", "reinforced-xc2-xs3", [0.3], "from memory", id="EN, wet"),
        pytest.param("en-1992-1-1", "prestressed-x0-xc4", [0.2], "from memory", id="EN, prestressed"),
        pytest.param("aashto-mbei", "reinforced", [0.30, 1.27], "from memory", id="AASHTO 1130"),
        pytest.param("aashto-mbei", "prestressed", [0.10, 0.23], "from memory", id="AASHTO 1110"),
        pytest.param("astm-d6433", "concrete-slab", [13, 50], "source", id="ASTM, slabs"),
        pytest.param("astm-d6433", "asphalt", [10, 75], "from memory", id="ASTM, asphalt"),
        pytest.param("fhwa-ltpp", "asphalt", [6, 19], "from memory", id="LTPP, asphalt"),
        pytest.param("fhwa-ltpp", "jointed-concrete", [3, 6], "from memory", id="LTPP, concrete"),
        pytest.param("mlit-bridge", "reinforced", [0.2, 0.3], "from memory", id="MLIT, reinforced"),
        pytest.param("mlit-bridge", "prestressed", [0.1, 0.2], "from memory", id="MLIT, prestressed"),
        pytest.param("mlit-tunnel", "crown", [3], "secondary page", id="MLIT, tunnel"),
    ],
)
def test_the_values_are_those_of_the_fact_sheet(name: str, category: str, bounds: list[float], checked: str) -> None:
    table = standard(name).categories[category]
    assert [one.below_mm for one in table.classes] == [*bounds, None]
    assert table.checked == checked


def test_eurocode_is_said_to_be_a_design_limit_and_no_inspection_grade() -> None:
    one = standard("en-1992-1-1")
    assert one.nature == "design limit"
    assert "no inspection grade" in one.note


def test_the_listing_names_every_category_and_says_what_is_from_memory() -> None:
    text = listing()
    for one in all_standards().values():
        assert one.title in text
        assert all(f"    {name}: " in text for name in one.categories)
    assert text.count("from memory, check before quoting") == 10
    assert "intervention: 3 mm and wider, 5 m and longer (rank high)" in text
    assert "CS2: 0.3 to 1.27 mm (rank moderate)" in text


def test_an_unknown_standard_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'aci' is no standard; there are aashto-mbei, aci-224r"):
        standard("aci")


@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param((0.3, 0.2, None), id="falling"),
        pytest.param((0.3, None, None), id="open in the middle"),
        pytest.param((0.3, 0.4), id="closed at the end"),
        pytest.param((0.3, 0.3, None), id="an empty class"),
    ],
)
def test_tables_with_gaps_are_refused(bounds: tuple[float | None, ...]) -> None:
    classes = tuple(SeverityClass(name="x", rank="low", below_mm=bound) for bound in bounds)
    with pytest.raises(ValueError, match="must rise from class to class"):
        Category(title="t", clause="c", citation="1", checked="source", classes=classes)
