"""The flight record: the folder that live runs and replays write alike, and that reports and replays read again.

Why lines and not one document: a run that is killed leaves every finished frame readable. A frame's cracks are written
before its own line, so a frame that has its line has all its cracks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.record.ledger import BestSightings, Ledger
    from agent.record.reader import FlightRecord, read_flight
    from agent.record.recorder import FlightRecorder
    from agent.record.rows import crack_row, frame_row, quality_of, skipped_row

__all__ = [
    "BestSightings",
    "FlightRecord",
    "FlightRecorder",
    "Ledger",
    "crack_row",
    "frame_row",
    "quality_of",
    "read_flight",
    "skipped_row",
]

__getattr__ = names_from(
    __name__,
    {
        "BestSightings": "ledger",
        "FlightRecord": "reader",
        "FlightRecorder": "recorder",
        "Ledger": "ledger",
        "crack_row": "rows",
        "frame_row": "rows",
        "quality_of": "rows",
        "read_flight": "reader",
        "skipped_row": "rows",
    },
)
