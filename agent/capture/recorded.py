"""A flight record, or a rendered flight, whose frames were kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from agent.capture.decode import decode_image
from agent.capture.fingerprint import fingerprint
from agent.contract.flight import FLIGHT_FILE, FRAMES_FILE, FlightHeader, FrameRow, SourceRef
from agent.contract.frame import Frame, Place, Pose, Scale, Sight, SkippedFrame
from agent.errors import InputError
from agent.record import quality_of, read_flight


class Recorded:
    """The frames of a flight record, with the names, times, scales and poses that it holds.

    Args:
        folder: the record.
        scale: takes the place of the recorded scale if given.

    Raises:
        InputError: no record, or one of another schema.
    """

    def __init__(self, folder: Path, *, scale: Scale | None = None) -> None:
        self._folder = folder
        self._scale = scale
        self._record = read_flight(folder)
        paths = [folder / FLIGHT_FILE, folder / FRAMES_FILE]
        self._ref = SourceRef(name=folder.resolve().name, fingerprint=fingerprint(paths, folder))

    @property
    def ref(self) -> SourceRef:
        """See `Source.ref`."""
        return self._ref

    @property
    def header(self) -> FlightHeader:
        """What was run on what."""
        return self._record.header

    @property
    def names(self) -> list[str]:
        """See `Source.names`."""
        return [row.name for row in self._record.frames()]

    @property
    def length(self) -> int | None:
        """See `Source.length`."""
        return self._record.header.frames or None

    def frames(self, start: int) -> Iterator[Frame | SkippedFrame]:
        """See `Source.frames`."""
        for index, row in enumerate(self._record.frames(), start):
            yield self._frame(index, row)

    def _frame(self, index: int, row: FrameRow) -> Frame | SkippedFrame:
        def skipped(reason: str) -> SkippedFrame:
            return SkippedFrame(
                index=index,
                name=row.name,
                source=row.source,
                camera=row.camera,
                reason=reason,
                captured_ms=row.captured_ms,
                quality=quality_of(row),
            )

        if row.file is None:
            return skipped(row.reason or "the record did not keep this frame")
        path = self._folder / row.file
        if not path.resolve().is_relative_to(self._folder.resolve()):
            return skipped(f"{row.file!r} lies outside the record")
        try:
            content = path.read_bytes()
            image = decode_image(content)
        except InputError as exc:
            return skipped(str(exc))
        except OSError as exc:
            return skipped(f"{row.file}: {exc.strerror}")
        # a camera's file is hashed as it is; a video frame, kept as PNG, by its pixels
        if row.sha256 not in {hashlib.sha256(content).hexdigest(), hashlib.sha256(image.data).hexdigest()}:
            return skipped(f"{row.file} is not the picture that was recorded (sha256 differs)")
        scale = self._scale or Scale(
            mm_per_px=row.scale_mm_px, source=row.scale_source, method=row.scale_method, error=row.scale_error
        )
        return Frame(
            index=index,
            name=row.name,
            source=row.source,
            camera=row.camera,
            image_rgb=image,
            sha256=row.sha256,
            media_time_ns=row.media_time_ns,
            encoded=content,
            suffix=path.suffix,
            scale=scale,
            place=Place(lat=row.lat, lon=row.lon, alt_m=row.alt_m, chainage_m=row.chainage_m, clock_deg=row.clock_deg),
            sight=Sight(**row.sight.model_dump()) if row.sight and self._scale is None else None,
            pose=Pose(**row.pose.model_dump()) if row.pose else None,
            captured_ms=row.captured_ms,
            quality=quality_of(row),
        )
