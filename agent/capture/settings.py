"""What a user may set about cameras."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator, model_validator
from typing_extensions import Self

from agent.contract.ids import SEGMENT_PATTERN
from agent.contract.strict import Section
from agent.place.settings import PlaceSettings
from agent.redact import without_passwords

KINDS: Final = {
    "rtsp": "rtsp://user:password@host/path",
    "rtsps": "rtsps://user:password@host/path",
    "v4l2": "v4l2:///dev/video0 (or /dev/video0 alone)",
    "csi": "csi://0, a Jetson's CSI camera by its number",
    "gst": "gst:PIPELINE, GStreamer's elements without a sink",
    "rendered": "rendered://tunnel?seconds=60&seed=1",
}
Kind = Literal["rtsp", "v4l2", "csi", "gst", "rendered", "files"]
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://|(gst):", re.IGNORECASE)


class CameraSettings(Section):
    """One camera."""

    name: Annotated[str, Field(pattern=SEGMENT_PATTERN)] = Field(
        description="As reports call it: a-z, 0-9, _ and -, at most 64."
    )
    source: str = Field(
        min_length=1,
        repr=False,
        description=f"A photo, folder, video or flight record, or a live camera: {'; '.join(KINDS.values())}.",
    )
    mm_per_px: float | None = Field(
        default=None,
        gt=0,
        description="Size of a pixel on the surface; null: unknown. Holds for the size of picture that the camera "
        "begins with: should it change in flight, the scale is unknown until it is as before.",
    )
    place: PlaceSettings | None = Field(
        default=None, description="Its own scale, lens and place; null: as the section `place` says."
    )
    width_px: int | None = Field(default=None, ge=16, le=16384, description="Asked of v4l2 and csi; null: its own.")
    height_px: int | None = Field(default=None, ge=16, le=16384, description="Asked of v4l2 and csi; null: its own.")
    fps: float | None = Field(default=None, gt=0, le=1000, description="Asked of v4l2 and csi; null: its own.")
    encoding: Literal["raw", "mjpeg"] = Field(
        default="raw", description="Of v4l2: mjpeg passes the camera's own JPEG through to the record."
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="Of rtsp: udp loses pictures where tcp waits.")
    decode: Literal["software", "auto"] = Field(
        default="software",
        description="Of rtsp: auto tries a Jetson's decoder through GStreamer and falls back to software.",
    )

    @property
    def kind(self) -> Kind:
        """What `source` names."""
        scheme = _scheme(self.source)
        match scheme:
            case "rtsp" | "rtsps":
                return "rtsp"
            case "v4l2" | "csi" | "gst" | "rendered":
                return scheme
        return "v4l2" if re.match(r"/dev/(video|v4l/)", self.source) else "files"

    @property
    def shown(self) -> str:
        """The source without its password, for people, records and logs."""
        return without_passwords(self.source)

    @property
    def identity(self) -> str:
        """The same for two cameras that would open the same device, stream or folder."""
        if self.kind in {"v4l2", "files"} and "\0" not in self.source:
            return str(Path(self.source.removeprefix("v4l2://")).resolve())
        return self.source

    @field_serializer("source")
    def _without_its_password(self, source: str) -> str:  # noqa: ARG002 - `shown` reads it
        return self.shown

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        scheme = _scheme(source)
        if scheme is None:
            return source
        if scheme not in KINDS:
            raise ValueError(f"{scheme}: is no kind of camera; give a path, or one of {'; '.join(KINDS.values())}")
        if scheme in {"rtsp", "rtsps"}:
            try:
                host = urlsplit(source).hostname
                _ = urlsplit(source).port
            except ValueError as exc:
                raise ValueError(f"not an address ({exc}); give {KINDS[scheme]}") from None
            if not host:
                raise ValueError(f"names no host; give {KINDS[scheme]}")
        elif scheme == "csi" and not re.fullmatch(r"csi://\d{1,2}", source):
            raise ValueError(f"give {KINDS['csi']}")
        elif scheme == "v4l2" and not re.fullmatch(r"v4l2:///.+", source):
            raise ValueError(f"give {KINDS['v4l2']}")
        elif scheme == "gst" and not source.removeprefix("gst:").strip():
            raise ValueError(f"give {KINDS['gst']}")
        return source

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.width_px is None) != (self.height_px is None):
            raise ValueError(f"width_px={self.width_px} and height_px={self.height_px}: set both, or neither")
        return self


class QualitySettings(Section):
    """Which pictures are not worth the network's time."""

    blurred_below: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="While a camera gives more pictures than can be inferred, one less sharp than this share of its "
        "own recent median is passed over for the next; 0: none is.",
    )
    most_skipped: int = Field(default=3, ge=1, le=100, description="Blurred pictures passed over in a row, at most.")
    clipped_above: float = Field(
        default=0.98, gt=0, le=1, description="A picture of which more than this share is black or white is skipped."
    )


class CaptureSettings(Section):
    """How live cameras are watched and brought back."""

    first_frame_s: float = Field(
        default=10, gt=0, le=300, description="A camera that gives no picture this long after it was opened is lost."
    )
    stall_s: float = Field(default=3, gt=0, le=300, description="One that falls silent this long is lost.")
    frozen_s: float | None = Field(
        default=10, gt=0, le=3600, description="One that repeats the same picture this long is lost; null: never."
    )
    retry_s: float = Field(default=0.5, gt=0, le=60, description="First pause before a lost camera is opened again.")
    retry_max_s: float = Field(default=30, gt=0, le=3600, description="The pause doubles up to this.")
    max_fps: float | None = Field(
        default=None, gt=0, le=1000, description="Most frames a second that are inferred, all cameras together."
    )
    quality: QualitySettings = QualitySettings()

    @model_validator(mode="after")
    def _pauses_grow(self) -> Self:
        if self.retry_max_s < self.retry_s:
            raise ValueError(f"retry_max_s={self.retry_max_s} must be at least retry_s={self.retry_s}")
        return self


def _scheme(source: str) -> str | None:
    found = _SCHEME.match(source)
    return (found[1] or found[2]).lower() if found else None
