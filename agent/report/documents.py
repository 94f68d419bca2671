"""Writes what a record says, in the forms that are asked for; the pictures were drawn before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from agent.record import FlightRecord
from agent.record.layout import COVERAGE_GEOJSON_FILE, CSV_FILE, GEOJSON_FILE, HTML_FILE
from agent.record.reviews import Reviewed
from agent.report.coco import CocoWriter
from agent.report.developed import Developed
from agent.report.dxf import write_dxf
from agent.report.formats import Format
from agent.report.gallery import Gallery
from agent.report.geojson import write_coverage, write_geojson
from agent.report.geopackage import write_geopackage
from agent.report.html import write_html
from agent.report.pdf import print_pdf
from agent.report.table import write_csv

GEOPACKAGE_FILE: Final = "cracks.gpkg"
DXF_FILE: Final = "cracks.dxf"
PDF_FILE: Final = "report.pdf"
COCO_FOLDER: Final = "coco"
NAMES: Final[dict[Format, tuple[str, ...]]] = {
    "html": (HTML_FILE,),
    "pdf": (HTML_FILE, PDF_FILE),
    "geojson": (GEOJSON_FILE, COVERAGE_GEOJSON_FILE),
    "gpkg": (GEOPACKAGE_FILE,),
    "csv": (CSV_FILE,),
    "coco": (COCO_FOLDER,),
    "dxf": (DXF_FILE,),
}


def write_documents(
    record: FlightRecord,
    folder: Path,
    formats: Collection[Format],
    *,
    gallery: Gallery,
    reviews: Mapping[str, Reviewed],
    bare: bool = False,
) -> list[str]:
    """Write documents into a folder, and return what there is to tell about them.

    Args:
        record: all figures come from it.
        folder: is there.
        formats: those that are no documents are passed over.
        gallery: the page's pictures.
        reviews: what people said, by crack id.
        bare: take place, time and previews out of the pictures that are copied.

    Raises:
        ConfigError: something is missing on this machine that a format needs.
        InputError: the record was altered.
        OutputError: the disk is full or gone.
    """
    told = []
    wanted = frozenset(formats)
    verdicts = {crack_id: one.verdict for crack_id, one in reviews.items() if one.verdict is not None}
    developed = Developed.of(record) if wanted & {"html", "pdf", "gpkg", "dxf"} else Developed()
    if "geojson" in wanted:
        write_geojson(record, folder / GEOJSON_FILE, reviews=verdicts)
        write_coverage(record, folder / COVERAGE_GEOJSON_FILE)
    if "csv" in wanted:
        write_csv(record, folder / CSV_FILE, reviews=verdicts)
    if wanted & {"html", "pdf"}:
        write_html(record, folder / HTML_FILE, gallery=gallery, developed=developed, reviews=reviews)
    if "gpkg" in wanted:
        write_geopackage(record, folder / GEOPACKAGE_FILE, developed=developed, reviews=verdicts)
    if "dxf" in wanted:
        write_dxf(record, folder / DXF_FILE, developed=developed)
    if "coco" in wanted:
        coco = CocoWriter(record, folder / COCO_FOLDER, verdicts, bare=bare)
        coco.write()
        told += [f"coco: {count} x {reason}" for reason, count in coco.left_out.items()]
    if "pdf" in wanted:
        print_pdf(folder / HTML_FILE, folder / PDF_FILE)
    return told
