"""Writes the flight record, a frame at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import cv2
from typing_extensions import Self

from agent.contract.flight import (
    COVERAGE_FILE,
    CRACKS_FILE,
    FLIGHT_FILE,
    FRAMES_FILE,
    FRAMES_FOLDER,
    TRACKS_FILE,
    Coverage,
    CrackRow,
    FlightHeader,
    FrameRow,
    TrackRow,
)
from agent.contract.frame import Frame
from agent.errors import InputError
from agent.record import jsonl
from agent.record.claim import claim
from agent.record.layout import inside, write_atomically, writing
from agent.record.ledger import Ledger
from agent.record.room import Room


class FlightRecorder:
    """Appends frames and their cracks to a record.

    Leaving the `with` block closes the record: complete if the block ended by itself, incomplete if by an exception.
    """

    def __init__(self, folder: Path, header: FlightHeader, *, room: Room | None = None) -> None:
        self.folder = folder
        self._room = room
        self._ledger = Ledger()
        counts = {"frames": 0, "skipped": 0, **self._ledger.counts}
        self.header = header.model_copy(update={"complete": False, **counts})
        self._write_header()
        self._frames = _Journal(folder / FRAMES_FILE)
        self._cracks = _Journal(folder / CRACKS_FILE)
        self._tracks = _Journal(folder / TRACKS_FILE)
        self._closed = False

    @classmethod
    def open(cls, folder: Path, header: FlightHeader, *, overwrite: bool = False, room: Room | None = None) -> Self:
        """Make the folder ready and write `flight.json`, not yet complete.

        Args:
            folder: is made if it is not there.
            header: what is run on what; its counts and `complete` are the recorder's business.
            overwrite: remove the files of the run that is there, and nothing else.
            room: says whether there is room for pictures; None: always.

        Raises:
            OutputError: the folder cannot be written to, or holds a run or anything else.
        """
        claim(folder, overwrite=overwrite)
        return cls(folder, header, room=room)

    def keep_frame(self, frame: Frame, *, evidence: bool) -> str | None:
        """Keep the picture as far as the header's `frames_kept` says, and return where it lies in the record.

        Args:
            frame: the camera's own bytes are passed through where they are at hand; else the picture becomes a PNG.
            evidence: whether a crack was found in it.

        Raises:
            InputError: the run already has a picture of this name.
            OutputError: it cannot be written.
        """
        kept = self.header.frames_kept
        if kept == "none" or (kept == "evidence" and not evidence):
            return None
        if self._room is not None and not self._room.keep():
            return None
        content, suffix = (frame.encoded, frame.suffix) if frame.encoded is not None else (_png(frame), ".png")
        file = f"{FRAMES_FOLDER}/{frame.name}{suffix}"
        path = inside(self.folder, file)
        if path.exists():
            raise InputError(f"{frame.source}: a picture named {frame.name!r} is already kept in {self.folder}")
        write_atomically(path, content)
        return file

    def add(self, frame: FrameRow, cracks: Sequence[CrackRow] = (), tracks: Sequence[TrackRow] = ()) -> None:
        """Append a frame, its cracks and what happened to tracks; when this returns, they survive a kill.

        Args:
            frame: its line.
            cracks: seen in it.
            tracks: what this frame told about them.

        Raises:
            ValueError: the cracks are not the frame's, or not as many as it says.
            OutputError: the disk is full or gone; the record stays as it was before.
        """
        if frame.cracks != len(cracks) or any(crack.frame != frame.index for crack in cracks):
            raise ValueError(
                f"frame {frame.index} says {frame.cracks} cracks, got {[c.frame for c in cracks]} by frame"
            )
        # A frame's line stands for all of its cracks, so it comes last.
        before, tracks_before = self._cracks.size, self._tracks.size
        try:
            self._cracks.append(b"".join(map(jsonl.line, cracks)))
            self._tracks.append(b"".join(map(jsonl.line, tracks)))
            self._frames.append(jsonl.line(frame))
        except BaseException:
            self._cracks.cut(before)
            self._tracks.cut(tracks_before)
            raise
        skipped = frame.status == "skipped"
        self.header = self.header.model_copy(
            update={
                "frames": self.header.frames + (not skipped),
                "skipped": self.header.skipped + skipped,
            }
        )
        self._count(tracks, cracks)

    def end_tracks(self, tracks: Sequence[TrackRow]) -> None:
        """Append the last word on tracks, after the last frame.

        Raises:
            OutputError: the disk is full or gone.
        """
        self._tracks.append(b"".join(map(jsonl.line, tracks)))
        self._count(tracks)

    def write_coverage(self, coverage: Coverage) -> None:
        """Write `coverage.json`.

        Raises:
            OutputError: the disk is full or gone.
        """
        write_atomically(self.folder / COVERAGE_FILE, jsonl.document(coverage))

    def _count(self, tracks: Sequence[TrackRow], cracks: Sequence[CrackRow] = ()) -> None:
        for track in tracks:
            self._ledger.note(track)
        for crack in cracks:
            self._ledger.see(crack)
        self.header = self.header.model_copy(update=self._ledger.counts)

    def close(self, *, complete: bool) -> FlightHeader:
        """Write the counts into `flight.json` and return it; a second call changes nothing.

        Args:
            complete: whether the run came to its end.

        Raises:
            OutputError: the disk is full or gone.
        """
        if not self._closed:
            self._closed = True
            self._cracks.close()
            self._tracks.close()
            self._frames.close()
            self.header = self.header.model_copy(update={"complete": complete})
            self._write_header()
        return self.header

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)

    def _write_header(self) -> None:
        write_atomically(self.folder / FLIGHT_FILE, jsonl.document(self.header), durable=True)


class _Journal:
    """A file that only grows by whole pieces: a piece that does not fit on the disk is taken back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._file = path.open("xb", buffering=0)
        self.size = 0  # bytes

    def append(self, piece: bytes) -> None:
        with writing(self._path):
            try:
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except BaseException:
                self.cut(self.size)
                raise
        self.size += len(piece)

    def cut(self, size: int) -> None:
        with suppress(OSError):
            self._file.truncate(size)
            self._file.seek(size)
            self.size = size

    def close(self) -> None:
        with writing(self._path), self._file:
            os.fsync(self._file.fileno())


def _png(frame: Frame) -> bytes:
    done, encoded = cv2.imencode(".png", cv2.cvtColor(frame.image_rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise InputError(f"{frame.source}: frame {frame.index} cannot be kept as a PNG")
    return encoded.tobytes()
