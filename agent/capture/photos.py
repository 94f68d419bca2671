"""Photos: one, or a folder of them in natural order."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from agent.capture.decode import decode_image
from agent.capture.fingerprint import fingerprint
from agent.contract.flight import SourceRef
from agent.contract.frame import UNKNOWN_SCALE, Frame, Scale, SkippedFrame
from agent.errors import InputError

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})


class Photos:
    """A list of photo files.

    Args:
        paths: the files, in the order in which they are read.
        root: their common folder; names are relative to it.
        name: what the user called them.
        camera: the camera's name in the record.
        scale: of every photo.
        ignored: how many files beside them are no photos, by suffix.
    """

    def __init__(
        self,
        paths: list[Path],
        *,
        root: Path,
        name: str,
        camera: str,
        scale: Scale = UNKNOWN_SCALE,
        ignored: Mapping[str, int] | None = None,
    ) -> None:
        self._paths = paths
        self._root = root
        self._camera = camera
        self._scale = scale
        self._ref = SourceRef(name=name, fingerprint=fingerprint(paths, root), ignored=dict(ignored or {}))

    @property
    def ref(self) -> SourceRef:
        """See `Source.ref`."""
        return self._ref

    @property
    def names(self) -> list[str]:
        """See `Source.names`."""
        return [self._name(path) for path in self._paths]

    @property
    def length(self) -> int | None:
        """See `Source.length`."""
        return len(self._paths)

    def frames(self, start: int) -> Iterator[Frame | SkippedFrame]:
        """See `Source.frames`."""
        for index, path in enumerate(self._paths, start):
            source = path.relative_to(self._root).as_posix()
            try:
                content = path.read_bytes()
                image = decode_image(content)
            except (InputError, OSError) as exc:
                yield SkippedFrame(
                    index=index, name=self._name(path), source=source, camera=self._camera, reason=_reason(exc)
                )
                continue
            yield Frame(
                index=index,
                name=self._name(path),
                source=source,
                camera=self._camera,
                image_rgb=image,
                sha256=hashlib.sha256(content).hexdigest(),
                media_time_ns=None,
                encoded=content,
                suffix=path.suffix.lower(),
                scale=self._scale,
            )

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).with_suffix("").as_posix()


def find_photos(folder: Path, *, recursive: bool) -> tuple[list[Path], dict[str, int]]:
    """Return the photos of a folder in natural order (2.jpg before 10.jpg), and how many other files it has by suffix.

    Hidden files are no part of it; a link to a photo that is gone is, and will be a skipped frame.

    Raises:
        InputError: there are none.
    """
    everything = folder.rglob("*") if recursive else folder.iterdir()
    files = [path for path in everything if not path.is_dir() and not path.name.startswith(".")]
    photos = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not photos:
        deeper = "" if recursive else "; use --recursive for nested folders"
        raise InputError(f"{folder}: no photos ({', '.join(sorted(SUFFIXES))}) in this folder{deeper}")
    others = Counter(path.suffix.lower() or "none" for path in files if path.suffix.lower() not in SUFFIXES)
    photos.sort(key=lambda path: natural_key(path.relative_to(folder).as_posix()))
    return photos, dict(sorted(others.items()))


def natural_key(text: str) -> list[tuple[int, str]]:
    """Return a sort key that orders numbers by value and letters without case, the plain text breaking ties."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", text)]
    return [*parts, (-1, text)]


def _reason(exc: Exception) -> str:
    return exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)
