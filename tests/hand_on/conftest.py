"""A rendered flight with a place on earth and a folder of photos that know theirs, replayed by our own command."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from agent.simulate.flight import RenderedFlight, render_flight
from agent.simulate.scene import SceneSettings
from agent.simulate.write import write_flight
from tests.support.commands import crack
from tests.support.needs import missing

SCENE = SceneSettings(kind="facade", seconds=1.6, fps=5, width_px=960, height_px=540, speed_mm_s=500, cracks=4, seed=5)
GRADED: dict[str, str] = {
    "CRACKSCOUT_SEVERITY__STANDARD": "aashto-mbei",
    "CRACKSCOUT_SEVERITY__CATEGORY": "reinforced",
    "CRACKSCOUT_RECORD__FRAMES": "all",
}
LAT, LON, ALT = 46.98765432, 7.43219876, 543.21  # of the first frame, or of the photo
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" '
    f'drone-dji:GpsLatitude="{LAT}" drone-dji:GpsLongitude="{LON}" drone-dji:AbsoluteAltitude="+{ALT}"/>'
    "</rdf:RDF></x:xmpmeta>"
)


@dataclass(frozen=True)
class Flown:
    """A record of ours, and the truth about it."""

    record: Path
    flight: RenderedFlight

    def place(self, frame: int) -> tuple[float, float]:
        """Where the camera was, (lat, lon): the truth that the telemetry was written from."""
        return LAT + 2e-5 * frame, LON + 3e-5 * frame


@pytest.fixture(scope="session")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Flown:
    folder = tmp_path_factory.mktemp("flown")
    flight = render_flight(SCENE)
    write_flight(flight, folder / "flight")
    found = Flown(folder / "record", flight)
    with (folder / "telemetry.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time_s", "lat", "lon", "alt_m"])
        for index in range(len(flight)):
            lat, lon = found.place(index)
            table.writerow([index / SCENE.fps, f"{lat:.8f}", f"{lon:.8f}", ALT])
    options = ["--telemetry", folder / "telemetry.csv", "--video"]
    done = crack("crack-agent", "replay", folder / "flight", "--out", found.record, *options, cwd=folder, **GRADED)
    assert done.returncode == 0, done.stderr
    assert json.loads((found.record / "flight.json").read_text())["cracks"] > 1
    return found


@pytest.fixture(scope="session")
def photographed(flown: Flown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of three photos that say in EXIF, XMP, a comment, an embedded preview and a PNG's text where they are.

    One lies on its side, as EXIF tells.
    """
    folder = tmp_path_factory.mktemp("photographed")
    (folder / "photos").mkdir()
    with Image.open(next((flown.record / "frames").rglob("*.jpg"))) as image:
        upright = image.convert("RGB")
    for name, turn in (("a.jpg", 1), ("b.jpg", 6)):
        exif = _exif(turn)
        shown = upright if turn == 1 else upright.transpose(Image.Transpose.ROTATE_90)
        place = f"taken at {LAT}, {LON}"
        shown.save(folder / "photos" / name, quality=92, exif=exif, xmp=XMP.encode(), comment=place)
        with (folder / "photos" / name).open("ab") as file:  # as cameras put previews behind the picture
            preview = folder / "preview.jpg"
            upright.resize((160, 90)).save(preview, exif=exif)
            file.write(preview.read_bytes())
    info = _png_text(f"{LAT}, {LON}")
    upright.save(folder / "photos" / "c.png", pnginfo=info, exif=_exif(1))
    done = crack("crack-agent", "replay", folder / "photos", "--out", folder / "record", cwd=folder, **GRADED)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "record/frames.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["inferred"] * 3
    assert rows[0]["lat"] == pytest.approx(LAT, abs=1e-6)  # else nothing would be there to be removed
    assert rows[1]["lat"] == pytest.approx(LAT, abs=1e-6)
    return folder / "record"


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or missing("no Chromium: apt-get install chromium")


@pytest.fixture(scope="session")
def ogrinfo() -> str:
    return shutil.which("ogrinfo") or missing("no ogrinfo: apt-get install gdal-bin")


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "DJI"
    exif.get_ifd(0x8825).update(
        {1: "N", 2: _angle(LAT), 3: "E", 4: _angle(LON), 5: b"\0", 6: TiffImagePlugin.IFDRational(54321, 100)}
    )
    return exif


def _angle(degrees: float) -> tuple[TiffImagePlugin.IFDRational, ...]:
    minutes = degrees % 1 * 60
    parts = (int(degrees), int(minutes))
    seconds = TiffImagePlugin.IFDRational(round(minutes % 1 * 60 * 1_000_000), 1_000_000)
    return (*(TiffImagePlugin.IFDRational(part, 1) for part in parts), seconds)


def _png_text(text: str) -> object:
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text)
    info.add_itxt("XML:com.adobe.xmp", XMP)
    return info


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture's pixels by a second library, EXIF's turn left undone as pycocotools' users do."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
