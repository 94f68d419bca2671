"""Cracks as a drawing: the developed view in mm, lines as wide as the cracks, a layer per severity."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from agent.contract.flight import CrackRow
from agent.errors import ConfigError
from agent.record import FlightRecord
from agent.record.layout import partial
from agent.report import figures
from agent.report.developed import Developed, Stretch

if TYPE_CHECKING:
    from ezdxf.layouts import Modelspace

MILLIMETRES: Final = 4  # of $INSUNITS
COVERAGE_RGB: Final = {"inspected": (90, 160, 110), "not_gradable": (200, 140, 40), "never_seen": (190, 60, 60)}
TEXT_MM: Final = 20.0  # height of letters, at least
_OF_EXTENT: Final = 1 / 300  # height of letters as a share of the drawing's width


def needs_ezdxf() -> None:
    """Say what to install if drawings cannot be written here.

    Raises:
        ConfigError: the extra is missing.
    """
    try:
        import ezdxf  # noqa: F401, PLC0415 - an extra
    except ImportError as exc:
        raise ConfigError("--format dxf needs ezdxf: pip install 'crackscout[dxf]'") from exc


def write_dxf(record: FlightRecord, path: Path, *, developed: Developed) -> None:
    """Write a drawing (DXF R2010, millimetres): x to the right or along the tunnel, y up or along the arc.

    Layers: `CRACK_<severity>`, `OTHER_<kind>`, `COVERAGE_<state>`, `LABELS`, `TITLE`. A crack's polylines have its
    width at each point, 0 where none was measured. Cracks without a place on the surface are counted in the title.

    Raises:
        ConfigError: the extra `dxf` is missing.
        InputError: the record was altered.
        OutputError: the file cannot be written.
    """
    needs_ezdxf()
    import ezdxf  # noqa: PLC0415
    from ezdxf import units  # noqa: PLC0415

    ezdxf.options.write_fixed_meta_data_for_testing = True  # equal records give equal bytes: no time of writing
    drawing = ezdxf.new("R2010", units=units.MM)
    drawing.header["$MEASUREMENT"] = 1
    for severity, rgb in figures.SEVERITY_RGB.items():
        drawing.layers.add(f"CRACK_{severity.upper()}").rgb = rgb
    for kind, rgb in figures.KIND_RGB.items():
        drawing.layers.add(f"OTHER_{kind.upper()}").rgb = rgb
    for state, rgb in COVERAGE_RGB.items():
        drawing.layers.add(f"COVERAGE_{state.upper()}").rgb = rgb
    for name in ("LABELS", "TITLE"):
        drawing.layers.add(name)
    space = drawing.modelspace()
    _add_coverage(space, record, developed)
    height = _letter_height(developed)
    drawn, missing = Counter[str](), 0
    for _, crack in record.whole_cracks():
        found = developed.stretches.get(crack.crack_id)
        if not found:
            missing += crack.kind == "crack"
            continue
        drawn[crack.kind] += 1
        _add_crack(space, crack, found, height)
    _add_title(space, record, developed, drawn["crack"], missing, height)
    with partial(path) as beside, beside.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        drawing.write(file)


def _letter_height(developed: Developed) -> float:
    points = [stretch.xy_mm for found in developed.stretches.values() for stretch in found]
    extent = float(np.ptp(np.concatenate(points)[:, 0])) if points else 0.0
    return max(TEXT_MM, extent * _OF_EXTENT)


def _add_coverage(space: Modelspace, record: FlightRecord, developed: Developed) -> None:
    for area in developed.areas(record.coverage()):
        for outline in area.outlines_mm:
            layer = {"layer": f"COVERAGE_{area.state.upper()}"}
            space.add_lwpolyline([(x, -y) for x, y in outline], close=True, dxfattribs=layer)


def _add_crack(space: Modelspace, crack: CrackRow, found: list[Stretch], height: float) -> None:
    real = crack.kind == "crack"
    layer = f"CRACK_{crack.severity.upper()}" if real else f"OTHER_{crack.kind.upper()}"
    for stretch in found:
        if len(stretch.xy_mm) < 2:
            space.add_point(tuple(stretch.xy_mm[0].tolist()), dxfattribs={"layer": layer})
            continue
        widths = np.nan_to_num(stretch.width_mm)
        ends = np.append(widths[1:], widths[-1])
        vertices = np.column_stack([stretch.xy_mm, widths, ends])
        space.add_lwpolyline(map(tuple, vertices.tolist()), format="xyse", dxfattribs={"layer": layer})
    if real:
        ends_of = f" ({figures.interval(crack)})" if figures.interval(crack) else ""
        text = f"{figures.short_id(crack)}  W {figures.width(crack)}{ends_of}  L {figures.length(crack)}"
        x, y = found[0].xy_mm[0].tolist()
        space.add_text(text, height=height, dxfattribs={"layer": "LABELS"}).set_placement((x, y + height / 2))


def _add_title(
    space: Modelspace, record: FlightRecord, developed: Developed, drawn: int, missing: int, height: float
) -> None:
    surface = "wall plane, x to the right, y up"
    if developed.radius_mm is not None:
        surface = (
            f"tunnel lining unrolled at radius {developed.radius_mm / 1000:g} m: x chainage, y arc from the crown, "
            "positive to the right looking up the chainage"
        )
    lines = [
        f"Crackscout {record.header.version}: cracks, developed view; units: mm",
        f"Mission {figures.plain(record.header.mission_id)}, device {figures.plain(record.header.device)}",
        surface,
        f"{drawn} cracks drawn, {missing} without a place on the surface not drawn",
        *([f"{developed.cut_points} points beyond the limit not drawn"] if developed.cut_points else []),
    ]
    points = [stretch.xy_mm for found in developed.stretches.values() for stretch in found]
    left, top = (0.0, 0.0)
    if points:
        every = np.concatenate(points)
        left, top = float(every[:, 0].min()), float(every[:, 1].max())
    for number, line in enumerate(lines):
        at = (left, top + height * (4 + 2 * (len(lines) - number)))
        space.add_text(line, height=height * 1.2, dxfattribs={"layer": "TITLE"}).set_placement(at)
