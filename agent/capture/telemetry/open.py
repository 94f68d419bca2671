"""What the user named -> the track that it holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from agent.capture.telemetry import mavlink
from agent.capture.telemetry.dji_srt import read_dji_srt
from agent.capture.telemetry.json_lines import read_json_lines
from agent.capture.telemetry.mavlink import read_mavlink
from agent.capture.telemetry.sample import Sample
from agent.capture.telemetry.table import read_csv
from agent.capture.telemetry.track import Track
from agent.capture.telemetry.tunnel import with_chainage
from agent.errors import InputError
from agent.place.settings import PlaceSettings

TEXT: Final = {".srt": read_dji_srt, ".csv": read_csv, ".tsv": read_csv, ".txt": read_csv, ".jsonl": read_json_lines,
               ".ndjson": read_json_lines, ".json": read_json_lines}  # fmt: skip


def open_telemetry(path: Path, settings: PlaceSettings) -> Track:
    """Read a telemetry file of any kind; the kind is told from its suffix.

    Args:
        path: .srt (DJI), .csv, .jsonl, .tlog or .bin (MAVLink).
        settings: gaps, jumps, and the encoder of a tunnel cart.

    Raises:
        InputError: not there, of no known kind, or nothing in it.
        ConfigError: MAVLink without pymavlink.
    """
    faults: Counter[str] = Counter()
    samples = with_chainage(_samples(path, faults), settings.tunnel, faults)
    told = settings.telemetry
    return Track.of(samples, max_gap_s=told.max_gap_s, max_speed_m_s=told.max_speed_m_s, faults=faults)


def _samples(path: Path, faults: Counter[str]) -> list[Sample]:
    suffix = path.suffix.lower()
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such telemetry file")
        if suffix in mavlink.SUFFIXES:
            return read_mavlink(path, faults)
        if suffix in TEXT:
            return TEXT[suffix](path, path.read_text(encoding="utf-8", errors="replace"), faults)
    except OSError as exc:
        raise InputError(f"{path}: the telemetry cannot be read ({exc.strerror})") from exc
    kinds = ", ".join(sorted({*TEXT, *mavlink.SUFFIXES}))
    raise InputError(f"{path}: {suffix or 'no'} suffix; telemetry is {kinds}")
