"""The page: one file, no outside address, no script; on a screen and on paper."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from agent.contract.flight import FlightHeader
from agent.record import FlightRecord
from agent.record.layout import partial
from agent.record.reviews import Reviewed
from agent.report import charts, figures
from agent.report.developed import Developed
from agent.report.files import digests
from agent.report.gallery import Gallery, Picture
from agent.report.plan import Places
from agent.report.sheets import MOST_SHEETS, sheets_of
from agent.report.summary import Summary
from agent.severity.standard import ADVICE, Category, Standard, all_standards, span_of

TEMPLATES: Final = Path(__file__).parent / "templates"


def write_html(
    record: FlightRecord,
    path: Path,
    *,
    gallery: Gallery,
    developed: Developed,
    reviews: Mapping[str, Reviewed],
) -> None:
    """Write the page of a record.

    Args:
        record: all figures come from it.
        path: of the page.
        gallery: pictures of cracks.
        developed: the cracks on the surface.
        reviews: what people said, by crack id.

    Raises:
        InputError: the record was altered.
        OutputError: the file cannot be written.
    """
    summary = Summary.of(record)
    rows = summary.worst
    sheets = sheets_of(record, rows, gallery)
    places = Places([(seen.crack, turn) for turn, seen in enumerate(rows, start=1)])
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = _environment().get_template("report.html.j2")
    cited = _cited(record.header.settings)
    stream = page.stream(
        style=Markup(style),  # noqa: S704 - ours
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        header=record.header,
        summary=summary,
        title=_title(record.header),
        taken=_taken(summary),
        settings=list(_flat(record.header.settings)),
        cited=cited,
        classes=[] if cited is None else list(_classes(cited[1], summary)),
        thresholds=[(key, value) for key, value in _flat(record.header.settings) if "threshold" in key],
        plans=places.plans(record, developed, summary.coverage),
        rows=rows,
        left_out=summary.header.cracks - len(rows),
        sheets=sheets,
        most_sheets=MOST_SHEETS,
        with_pictures=sum(sheet.portrait is not None for sheet in sheets),
        reviews=reviews,
        reviewed=Counter(one.verdict for one in reviews.values() if one.verdict is not None),
        files=digests(record.folder),
    )
    with partial(path) as beside, beside.open("wb") as file:
        stream.dump(file, encoding="utf-8")


def _environment() -> jinja2.Environment:
    """Return templates that escape everything and show no disguised character, whatever they print."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(
        width=figures.width,
        interval=figures.interval,
        grade=figures.grade,
        length=figures.length,
        short_id=figures.short_id,
        number=figures.number,
        uri=_uri,
        drawn=_drawn,
        when=_when,
        COLOURED=("severe", "high", "moderate", "low", "none", "ungraded"),
        CHART=(charts.WIDTH, charts.HEIGHT, charts.LEFT, charts.RIGHT, charts.TOP, charts.BOTTOM),
    )
    return environment


def _shown(value: object) -> object:
    return figures.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _uri(picture: Picture) -> Markup:
    return Markup(picture.uri)  # noqa: S704 - base64


def _title(header: FlightHeader) -> str:
    """Return what the report is of: the structure, else the pictures, else the mission."""
    names = [source.name for source in header.sources]
    return header.structure or ", ".join(names[:2]) + (", ..." if len(names) > 2 else "") or header.mission_id


def _when(ms: int) -> str:
    """Return a time as people read it, UTC."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _taken(summary: Summary) -> str | None:
    """Return from when to when the frames were taken; None where they do not say."""
    if summary.first_ms is None or summary.last_ms is None:
        return None
    first, last = _when(summary.first_ms), _when(summary.last_ms)
    return first if first == last else f"{first} to {last}"


def _classes(category: Category, summary: Summary) -> Iterator[tuple[str, str, str, int, float]]:
    """Yield name, rank, range of widths, cracks and their length in mm for each class, the widest first."""
    for index, one in reversed(list(enumerate(category.classes))):
        yield one.name, one.rank, span_of(category, index), summary.classes[one.name], summary.class_length_mm[one.name]


def _cited(settings: Mapping[str, Any]) -> tuple[Standard, Category, str] | None:
    """Return the standard and category that the run graded by, if these tables still have them, and the advice."""
    chosen = settings.get("severity") or {}
    known = all_standards().get(chosen.get("standard") or "")
    if known is None:
        return None
    category = known.categories.get(chosen.get("category") or next(iter(known.categories)))
    return None if category is None else (known, category, ADVICE[category.checked])


def _drawn(points: str) -> Markup:
    """Return a drawing's points, however long: numbers and letters of ours, and no text to be shown."""
    return Markup(points)  # noqa: S704 - see above


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and values."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", json.dumps(value, ensure_ascii=False)
