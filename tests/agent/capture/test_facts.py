"""What photo files say of themselves, written by other libraries: Pillow's EXIF, tifffile's GeoTIFF tags."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from agent.capture.facts import picture_facts
from tests.support.told import told

GPS, EXIF = 0x8825, 0x8769
DJI = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>
<rdf:Description {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>"""


def photo(
    *, gps: dict[int, Any] | None = None, exif: dict[int, Any] | None = None, first: dict[int, Any] | None = None,
    xmp: str | None = None, kind: str = "JPEG",
) -> bytes:  # fmt: skip
    tags = Image.Exif()
    tags.update(first or {})
    if gps:
        tags.get_ifd(GPS).update(gps)
    if exif:
        tags.get_ifd(EXIF).update(exif)
    if kind == "TIFF":  # EXIF is a TIFF structure; Pillow writes no directories below the first into TIFF files
        return tags.tobytes().removeprefix(b"Exif\0\0")
    file = io.BytesIO()
    options: dict[str, Any] = {"xmp": xmp.encode()} if xmp else {}
    Image.new("RGB", (16, 8)).save(file, kind, exif=tags, **options)
    return file.getvalue()


BERLIN = {1: "N", 2: (52.0, 30.0, 36.0), 3: "E", 4: (13.0, 24.0, 0.0), 5: b"\0", 6: 91.5}


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_exif_tells_place_time_camera_and_lens(kind: str) -> None:
    facts = picture_facts(
        photo(
            kind=kind,
            gps=BERLIN,
            first={0x010F: "DJI", 0x0110: "M3E"},
            exif={0x9003: "2024:05:06 09:08:09", 0x9011: "+02:00", 0x9291: "25", 0x920A: 12.29},
        )
    )
    assert facts.sample is not None
    assert told(facts.sample.lat, facts.sample.lon) == (pytest.approx(52.51), pytest.approx(13.4))
    assert facts.sample.alt_m == pytest.approx(91.5)
    assert facts.time_ns == 1_714_979_289_250_000_000
    assert told(facts.model, facts.focal_mm) == ("M3E", pytest.approx(12.29))


@pytest.mark.parametrize(("halves", "signs"), [(("S", "W"), (-1, -1)), (("N", "W"), (1, -1))])
def test_the_other_halves_of_the_earth_are_negative(halves: tuple[str, str], signs: tuple[int, int]) -> None:
    sample = picture_facts(photo(gps={**BERLIN, 1: halves[0], 3: halves[1]})).sample
    assert sample is not None
    assert told(sample.lat, sample.lon) == (pytest.approx(52.51 * signs[0]), pytest.approx(13.4 * signs[1]))


def test_a_height_below_the_sea_is_negative() -> None:
    sample = picture_facts(photo(gps={**BERLIN, 5: b"\1"})).sample
    assert sample is not None
    assert sample.alt_m == pytest.approx(-91.5)


@pytest.mark.parametrize("gps", [None, {1: "N", 2: (52.0, 30.0, 36.0)}, {**BERLIN, 2: (95.0, 0.0, 0.0)}, {6: 10.0}])
def test_exif_without_a_whole_position_gives_none(gps: dict[int, Any] | None) -> None:
    sample = picture_facts(photo(gps=gps, exif={0x9003: "2024:05:06 09:08:09"})).sample
    assert sample is None or sample.lat is None or sample.lon is None


@pytest.mark.parametrize("date", ["0000:00:00 00:00:00", "2024:13:40 25:61:61", "    :  :     :  :  ", "today"])
def test_a_date_that_cannot_be_is_none(date: str) -> None:
    assert picture_facts(photo(exif={0x9003: date})).time_ns is None


@pytest.mark.parametrize("longitude", ["GpsLongitude", "GpsLongtitude"])
@pytest.mark.parametrize("style", ["attributes", "elements"])
def test_dji_s_xmp_tells_place_gimbal_and_range(longitude: str, style: str) -> None:
    values = {
        "GpsLatitude": "+52.5", longitude: "+13.4", "AbsoluteAltitude": "+91.20", "GimbalYawDegree": "-12.30",
        "GimbalPitchDegree": "-30.00", "GimbalRollDegree": "+0.00", "LRFTargetDistance": "5.125",
        "CalibratedFocalLength": "3725.15", "RtkFlag": "50",
    }  # fmt: skip
    attributes = " ".join(f'drone-dji:{name}="{value}"' for name, value in values.items())
    elements = "".join(f"<drone-dji:{name}>{value}</drone-dji:{name}>" for name, value in values.items())
    xmp = DJI.format(**{"attributes": "", "elements": "", style: attributes if style == "attributes" else elements})
    facts = picture_facts(photo(gps=BERLIN, xmp=xmp))
    assert facts.sample is not None
    assert (facts.sample.lat, facts.sample.lon, facts.sample.alt_m) == (52.5, 13.4, 91.2)  # before EXIF's
    assert facts.sample.attitude_deg == (-12.3, -30, 0)
    assert (facts.sample.distance_m, facts.sample.method, facts.focal_px) == (5.125, "lrf", 3725.15)


def test_a_drone_without_a_fix_or_an_echo_tells_neither() -> None:
    xmp = DJI.format(
        elements="",
        attributes='drone-dji:GpsLatitude="1" drone-dji:GpsLongitude="2" drone-dji:RtkFlag="0" '
        'drone-dji:LRFTargetDistance="0.000" drone-dji:GimbalPitchDegree="-30"',
    )
    sample = picture_facts(photo(xmp=xmp)).sample
    assert sample is not None
    assert (sample.lat, sample.distance_m, sample.method, sample.pitch_deg) == (None, None, None, -30)


@given(st.data())
def test_damaged_files_tell_what_they_can_and_never_fail(data: st.DataObject) -> None:
    whole = bytearray(photo(gps=BERLIN, first={0x0110: "M3E"}, exif={0x920A: 12.29}, kind="TIFF"))
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=12)):
        whole[at] = data.draw(st.integers(0, 255))
    picture_facts(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def geotiff(path: Path, *, scale: float, tie: tuple[float, float], keys: dict[int, int]) -> bytes:
    directory = [1, 1, 0, len(keys), *(word for key, value in sorted(keys.items()) for word in (key, 0, 1, value))]
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info.tagtype |= {33550: 12, 33922: 12, 34735: 3}
    info[33550] = (scale, scale, 0.0)
    info[33922] = (0.0, 0.0, 0.0, *tie, 0.0)
    info[34735] = tuple(directory)
    Image.fromarray(np.zeros((200, 400, 3), np.uint8)).save(path, "TIFF", tiffinfo=info)
    return path.read_bytes()


def test_a_map_in_metres_tells_scale_and_middle(tmp_path: Path) -> None:
    content = geotiff(
        tmp_path / "a.tif", scale=0.002, tie=(630_084.0 - 0.4, 4_833_439.0 + 0.2), keys={1024: 1, 1025: 1, 3072: 32617}
    )
    facts = picture_facts(content)
    assert facts.map_mm_per_px == pytest.approx(2.0)
    assert facts.sample is not None
    assert told(facts.sample.lat, facts.sample.lon) == (
        pytest.approx(43.642567, abs=2e-5),
        pytest.approx(-79.387139, abs=2e-5),
    )


def test_a_map_in_degrees_tells_scale_and_middle(tmp_path: Path) -> None:
    step = 1e-8
    content = geotiff(
        tmp_path / "a.tif", scale=step, tie=(13.0 - 200 * step, 0.0 + 100 * step), keys={1024: 2, 1025: 1, 2048: 4326}
    )
    facts = picture_facts(content)
    assert facts.sample is not None
    assert told(facts.sample.lat, facts.sample.lon) == (pytest.approx(0.0, abs=1e-12), pytest.approx(13.0))
    # at the equator a degree is 111,319 m east and 110,574 m north
    assert facts.map_mm_per_px == pytest.approx(step * np.sqrt(111_319.49 * 110_574.28) * 1000, rel=1e-5)


@pytest.mark.parametrize(
    ("keys", "scale"),
    [
        pytest.param({1024: 1, 3072: 2263, 3076: 9003}, None, id="feet"),
        pytest.param({1024: 1, 3072: 31370}, 2.0, id="metres of a projection that is not read"),
        pytest.param({1024: 3}, None, id="geocentric"),
        pytest.param({}, None, id="no keys"),
    ],
)
def test_maps_that_are_not_read_give_no_place(tmp_path: Path, keys: dict[int, int], scale: float | None) -> None:
    facts = picture_facts(geotiff(tmp_path / "a.tif", scale=0.002, tie=(1000.0, 1000.0), keys=keys))
    assert facts.map_mm_per_px == (None if scale is None else pytest.approx(scale))
    assert facts.sample is None
