"""Reports from a flight record: page, PDF, GeoJSON, GeoPackage, CSV, COCO, DXF, overlays, video, probability maps.

Why all figures come from the record and only pictures from the stream: a report can be made again from any record, and
what it says can never differ from what was recorded. Pictures are drawn as frames pass and none is held back, but for
the few that the HTML page shows, which have a budget in bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.report.again import HandedOn, report_again
    from agent.report.writer import ReportWriter

__all__ = ["HandedOn", "ReportWriter", "report_again"]

__getattr__ = names_from(
    __name__,
    {
        "HandedOn": "again",
        "ReportWriter": "writer",
        "report_again": "again",
    },
)
