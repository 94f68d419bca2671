"""What the user named -> the sources that read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agent.capture import video
from agent.capture.photos import SUFFIXES, Photos, find_photos
from agent.capture.recorded import Recorded
from agent.capture.source import Source
from agent.capture.video import Video
from agent.contract.flight import FLIGHT_FILE
from agent.contract.frame import UNKNOWN_SCALE, Scale
from agent.errors import InputError


def open_sources(
    paths: Sequence[Path], *, camera: str, scale: Scale | None = None, recursive: bool = False
) -> list[Source]:
    """Return one source per path: a photo, a folder of photos, a video, or a flight record.

    Args:
        paths: what the user named.
        camera: the name of the camera in the record (a flight record brings its own).
        scale: of every frame; None leaves photos and videos without, and flight records with their own.
        recursive: also read the photos in nested folders.

    Raises:
        InputError: a path that is none of these, or two frames that would have the same name.
    """
    sources = [_open(path, camera=camera, scale=scale, recursive=recursive) for path in paths]
    counts = Counter(name for source in sources for name in source.names)
    double = sorted(name for name, count in counts.items() if count > 1)
    if double:
        raise InputError(
            f"the frame name {double[0]!r} occurs {counts[double[0]]} times in this run ({len(double)} names do); "
            "outputs carry the file's stem: rename one or replay them apart"
        )
    return sources


def _open(path: Path, *, camera: str, scale: Scale | None, recursive: bool) -> Source:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    try:
        return _of_kind(path, camera=camera, scale=scale, recursive=recursive)
    except OSError as exc:
        raise InputError(f"{exc.filename or path}: {exc.strerror}") from exc


def _of_kind(path: Path, *, camera: str, scale: Scale | None, recursive: bool) -> Source:
    known = scale or UNKNOWN_SCALE
    if path.is_dir():
        if (path / FLIGHT_FILE).is_file():
            return Recorded(path, scale=scale)
        photos, ignored = find_photos(path, recursive=recursive)
        return Photos(photos, root=path, name=path.resolve().name, camera=camera, scale=known, ignored=ignored)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return Photos([path], root=path.parent, name=path.name, camera=camera, scale=known)
    if suffix in video.SUFFIXES:
        return Video(path, camera=camera, scale=known)
    raise InputError(
        f"{path}: {suffix or 'no'} suffix; give a photo ({', '.join(sorted(SUFFIXES))}), "
        f"a video ({', '.join(sorted(video.SUFFIXES))}), a folder of photos or a flight record"
    )
