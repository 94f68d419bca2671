"""`--position none`: nothing that is handed on says where it was."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path

import pytest

from tests.hand_on.conftest import ALT, LAT, LON, Flown, pixels
from tests.support.commands import crack

NAMES = (b"Exif\0\0", b"ns.adobe.com/xap", b"drone-dji", b"GpsLatitude", b"taken at", b"eXIf")


def _marks(record: Path) -> dict[str, bytes]:
    """Every way in which a position of the record could stand in a file."""
    marks = {name.decode(errors="replace"): name for name in NAMES}
    for line in (record / "frames.jsonl").read_text().splitlines():
        row = json.loads(line)
        for key in ("lat", "lon"):
            if (value := row[key]) is not None:
                marks[f"{key} {value:.4f} as text"] = f"{value:.4f}".encode()[:-1]  # however the last digit is rounded
                for order in "<>":
                    marks[f"{key} {value} {order}"] = struct.pack(f"{order}d", value)
                    marks[f"{key} {value} {order}, rounded"] = struct.pack(f"{order}d", round(value, 8))
    marks["height"] = str(ALT).encode()
    for angle in (LAT, LON):
        seconds = round(angle % 1 * 60 % 1 * 60 * 1_000_000)
        for order in "<>":
            marks[f"seconds {seconds} {order}"] = struct.pack(f"{order}I", seconds)
    return marks


def _told(folder: Path, record: Path) -> list[str]:
    """Return the places in which a position stands: in the bytes of a file, or of a picture inside a page."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        contents = {path.name: path.read_bytes()}
        if path.suffix == ".html":
            uris = re.findall(rb"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", contents[path.name])
            contents |= {f"{path.name}, picture {n}": base64.b64decode(uri) for n, uri in enumerate(uris)}
            assert len(uris) > 1
            contents[path.name] = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", contents[path.name])
        if path.suffix == ".pdf":
            contents["text of the PDF"] = _text_of(path).encode()
        for name, content in contents.items():
            # eight bytes that look like a number may stand in any picture by chance; not so twice
            found += [f"{name}: {mark}" for mark, wanted in _marks(record).items() if wanted in content]
    return found


def _text_of(pdf: Path) -> str:
    pypdf = pytest.importorskip("pypdf")
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages)


@pytest.mark.parametrize("which", ["flown", "photographed"])
def test_no_file_says_where_it_was(
    which: str, tmp_path: Path, request: pytest.FixtureRequest, chromium: str, flown: Flown
) -> None:
    assert chromium
    record = flown.record if which == "flown" else request.getfixturevalue("photographed")
    for position in ("keep", "none"):
        options = ["--format", "all", "--position", position]
        done = crack("crack-agent", "report", record, "--out", tmp_path / position, *options)
        assert done.returncode == 0, done.stderr
    told = _told(tmp_path / "keep", record)
    for file in ("report.html", "cracks.geojson", "cracks.csv", "cracks.gpkg", "text of the PDF"):
        assert any(one.startswith(f"{file}: ") for one in told), f"the test cannot see a position in {file}"
    assert _told(tmp_path / "none", record) == []
    made = {path.relative_to(tmp_path / "none").as_posix() for path in (tmp_path / "none").rglob("*") if path.is_file()}
    assert {"report.html", "report.pdf", "cracks.geojson", "cracks.csv", "cracks.gpkg", "overlay.mp4"} <= made


def test_photos_lose_what_they_say_and_keep_their_pixels(photographed: Path, tmp_path: Path) -> None:
    for position in ("keep", "none"):
        options = ["--format", "coco", "--position", position]
        done = crack("crack-agent", "report", photographed, "--out", tmp_path / position, *options)
        assert done.returncode == 0, done.stderr
    images = sorted(path.name for path in (tmp_path / "none/coco/images").iterdir())
    assert images == ["a.jpg", "b.png", "c.png"]  # what lay on its side stands upright now, without loss
    for name in images:
        kept, bare = tmp_path / "keep/coco/images" / name, tmp_path / "none/coco/images" / name
        assert (pixels(kept) == pixels(bare)).all()
    assert any(name in (tmp_path / "keep/coco/images/a.jpg").read_bytes() for name in NAMES)


def test_lengths_widths_and_areas_stay(flown: Flown, tmp_path: Path) -> None:
    done = crack("crack-agent", "report", flown.record, "--out", tmp_path / "out", "--position", "none")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out/report.html").read_text()
    features = json.loads((tmp_path / "out/cracks.geojson").read_text())["features"]
    assert all(feature["geometry"] is None for feature in features)
    assert all(feature["properties"]["length_mm"] > 0 for feature in features)
    assert "m², each place once" in page
    assert "Along the flight" in page
    assert "The surface" not in page


def test_a_drawing_without_positions_is_refused(flown: Flown, tmp_path: Path) -> None:
    options = ["--format", "dxf", "--position", "none"]
    done = crack("crack-agent", "report", flown.record, "--out", tmp_path / "out", *options)
    assert done.returncode == 2
    assert "--format dxf is made of positions" in done.stderr
    assert not (tmp_path / "out").exists()
