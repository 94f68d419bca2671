"""The page: one file, no outside address, no script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from agent.record import FlightRecord
from agent.record.layout import partial
from agent.report import figures
from agent.report.pictures import Picture, Shelf
from agent.report.summary import MOST_ROWS, Summary
from agent.severity.standard import ADVICE, Category, Standard, all_standards

TEMPLATES: Final = Path(__file__).parent / "templates"


def write_html(record: FlightRecord, path: Path, *, cards: Shelf, crops: Shelf) -> None:
    """Write the page of a record.

    Args:
        record: all figures come from it.
        path: of the page.
        cards: pictures of frames, keyed by the frame's index.
        crops: pictures of cracks, keyed by the crack's own id, crack_id.

    Raises:
        InputError: the record was altered.
        OutputError: the file cannot be written.
    """
    shown = {int(picture.key): picture for picture in cards}
    summary = Summary.of(record, frozenset(shown))
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    rows = summary.worst
    page = _environment().get_template("report.html.j2")
    stream = page.stream(
        style=Markup(style),  # noqa: S704 - ours
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        header=record.header,
        summary=summary,
        settings=list(_flat(record.header.settings)),
        cited=_cited(record.header.settings),
        thresholds=[(key, value) for key, value in _flat(record.header.settings) if "threshold" in key],
        rows=rows,
        left_out=summary.header.cracks - len(rows),
        most_rows=MOST_ROWS,
        worst=[(seen, picture) for seen, picture in _with(rows, crops)],
        cards=[(*summary.cards[index], picture) for index, picture in shown.items() if index in summary.cards],
        frames_not_shown=summary.frames_with_cracks - len(shown),
    )
    with partial(path) as beside, beside.open("wb") as file:
        stream.dump(file, encoding="utf-8")


def _with(rows: list[Any], crops: Shelf) -> Iterator[tuple[Any, Picture]]:
    pictures = {picture.key: picture for picture in crops}
    for seen in rows:
        if picture := pictures.get(seen.crack.crack_id):
            yield seen, picture


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
    )
    return environment


def _shown(value: object) -> object:
    return figures.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _uri(picture: Picture) -> Markup:
    return Markup(picture.uri)  # noqa: S704 - base64


def _cited(settings: Mapping[str, Any]) -> tuple[Standard, Category, str] | None:
    """Return the standard and category that the run graded by, if these tables still have them, and the advice."""
    chosen = settings.get("severity") or {}
    known = all_standards().get(chosen.get("standard") or "")
    if known is None:
        return None
    category = known.categories.get(chosen.get("category") or next(iter(known.categories)))
    return None if category is None else (known, category, ADVICE[category.checked])


def _flat(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and values."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", json.dumps(value, ensure_ascii=False)
