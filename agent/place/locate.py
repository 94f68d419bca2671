"""Gives each frame its scale, its place and the part that is not looked at, from all that is known about it.

Scale, in this order: what the user gave; the picture's own map scale (GeoTIFF); a distance measured with the frame
(laser range finder, lidar, depth) through the lens; laser dots; the tunnel's radius or a set standoff
through the lens. A recorded frame keeps what was measured with it, slant and lens included, unless its distance is told
again; what was set then goes by the settings of now, if there are any. Where one was asked for and none can be had, the
frame says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from agent.capture.facts import PictureFacts, picture_facts
from agent.capture.telemetry.sample import Sample, merged
from agent.capture.telemetry.track import Track
from agent.contract.arrays import Bool
from agent.contract.frame import Frame, Place, Scale, ScaleMethod, ScaleSource, Sight
from agent.errors import ConfigError
from agent.place.lasers import laser_scale
from agent.place.lens import Lens, find_camera, read_calibration
from agent.place.settings import PlaceSettings, Polygon
from agent.place.surface import Cylinder, Plane, View, middle_scale

LRF_LEAST_M: Final = 3.0  # DJI's laser range finder starts there
_NO_FACTS: Final = PictureFacts()


@dataclass(frozen=True, slots=True)
class _Distance:
    metres: float
    method: ScaleMethod
    source: ScaleSource
    error_m: float  # standard error; 0: nobody told


class Locator:
    """Adds scale, place and geometry to frames.

    Args:
        settings: of the camera.
        track: recorded telemetry on its own clock, if there is any.
        live: gives what a live link has told so far, on this computer's clock.

    Raises:
        ConfigError: a calibration that cannot be read, a camera that is not in the table.
    """

    def __init__(
        self,
        settings: PlaceSettings,
        *,
        track: Track | None = None,
        live: Callable[[], Track] | None = None,
    ) -> None:
        self._settings = settings
        self._track = track
        self._live = live
        self._calibration = read_calibration(settings.calibration) if settings.calibration else None
        if settings.camera_model is not None and find_camera(settings.camera_model) is None:
            raise ConfigError(
                f"place.camera_model: {settings.camera_model!r} is not in the camera table (crack-agent cameras lists "
                "it); set place.pixel_pitch_um and place.focal_mm instead"
            )
        # whether anybody said anything about this run's scale: if not, a record is replayed as it was
        self._asked = bool(track or live or settings.model_copy(update={"ignore": ()}) != PlaceSettings())
        self.missing: Counter[str] = Counter()  # why frames have no scale or no place, by reason
        self.faults: Counter[str] = Counter() if track is None else track.faults  # of the telemetry, by reason

    def __call__(self, frame: Frame) -> Frame:
        """Return the frame with what is known about its scale and place."""
        facts = picture_facts(frame.encoded) if frame.encoded is not None else _NO_FACTS
        time_ns = frame.media_time_ns if frame.media_time_ns is not None else facts.time_ns
        sample = merged(facts.sample, self._at(frame, time_ns))
        place = self._place(frame, sample)
        scale, view, reason = self._recorded(frame, sample, place) or self._scale(frame, facts, sample, place)
        if scale.mm_per_px is None and frame.sight is not None:  # what is set now tells none, but the record does
            scale, view, reason = self._again(frame, frame.sight, place)
        if reason is not None:
            self.missing[reason] += 1
        return replace(
            frame,
            media_time_ns=time_ns,
            scale=scale if view is None else replace(scale, geometry=view),
            scale_reason=reason,
            place=place,
            ignored=ignored_mask(self._settings.ignore, frame.height, frame.width),
        )

    def _at(self, frame: Frame, time_ns: int | None) -> Sample | None:
        track = self._track
        if self._live is not None:
            track, time_ns = self._live(), None if frame.captured_ms is None else frame.captured_ms * 1_000_000
        if track is None:
            return None
        if time_ns is None:
            self.missing["the picture has no time, so that telemetry cannot be laid beside it"] += 1
            return None
        found = track.at(time_ns + round(self._settings.telemetry.clock_offset_s * 1e9))
        if found is None:
            self.missing["no telemetry at the frame's time"] += 1
        return found

    def _place(self, frame: Frame, sample: Sample | None) -> Place | None:
        tunnel = self._settings.tunnel
        if sample is None:
            if tunnel.clock_deg is None:
                return frame.place
            sample = Sample(time_ns=0)
        before = frame.place or Place()
        clock = sample.clock_deg if sample.clock_deg is not None else tunnel.clock_deg
        known = sample.lat is not None and sample.lon is not None
        return Place(
            lat=sample.lat if known else before.lat,
            lon=sample.lon if known else before.lon,
            alt_m=sample.alt_m if sample.alt_m is not None else before.alt_m,
            chainage_m=sample.chainage_m if sample.chainage_m is not None else before.chainage_m,
            clock_deg=clock if clock is not None else before.clock_deg,
        )

    def _recorded(
        self, frame: Frame, sample: Sample | None, place: Place | None
    ) -> tuple[Scale, View | None, None] | None:
        """Return the scale of the record, where nothing that is known now goes before it."""
        if frame.sight is None:
            return None
        if not self._asked:
            return self._again(frame, frame.sight, place)
        measured = sample is not None and sample.distance_m is not None
        return None if measured or frame.scale.source != "telemetry" else self._again(frame, frame.sight, place)

    def _again(self, frame: Frame, sight: Sight, place: Place | None) -> tuple[Scale, View, None]:
        view = View.of(sight, place or Place(), width=frame.width, height=frame.height)
        return frame.scale, view, None

    def _scale(
        self, frame: Frame, facts: PictureFacts, sample: Sample | None, place: Place | None
    ) -> tuple[Scale, View | None, str | None]:
        """Return the scale, the geometry if there is one, and why there is no scale if one was to be had."""
        if frame.scale.mm_per_px is not None and frame.scale.method in {None, "given"}:  # the user's, or rendered
            return frame.scale, None, None
        if facts.map_mm_per_px is not None:
            return Scale(mm_per_px=facts.map_mm_per_px, source="telemetry", method="geotiff"), None, None
        distance, reason = self._distance(sample)
        if distance is not None:
            lens, why_not = self._lens(frame, facts)
            if lens is not None:
                return self._through(lens, distance, sample, place)
            reason = why_not
        lasers = self._settings.lasers
        if lasers.spacing_mm is not None and (distance is None or distance.source == "setting" or reason is not None):
            mm, why_not = laser_scale(frame.image_rgb, spacing_mm=lasers.spacing_mm, colour=lasers.colour)
            if mm is not None:
                error = lasers.spacing_error_mm / lasers.spacing_mm
                return Scale(mm_per_px=mm, source="telemetry", method="lasers", error=error), None, None
            reason = why_not
        return frame.scale, None, reason

    def _distance(self, sample: Sample | None) -> tuple[_Distance | None, str | None]:
        settings, reason = self._settings, None
        if sample is not None and sample.distance_m is not None:
            method: ScaleMethod = sample.method or "lidar"
            if method == "lrf" and sample.distance_m < LRF_LEAST_M:
                reason = f"the laser range finder's {sample.distance_m:.2f} m lie below its {LRF_LEAST_M:g} m"
            else:
                return _Distance(sample.distance_m, method, "telemetry", settings.distance_error_m), None
        if settings.lasers.spacing_mm is not None:
            return None, reason  # measured in the picture: better than what was set beforehand
        if settings.standoff_m is not None:
            return _Distance(settings.standoff_m, "standoff", "setting", settings.distance_error_m), None
        if settings.tunnel.radius_m is not None:
            return _Distance(settings.tunnel.radius_m, "radius", "setting", settings.tunnel.radius_error_m), None
        return None, reason

    def _through(
        self, lens: Lens, distance: _Distance, sample: Sample | None, place: Place | None
    ) -> tuple[Scale, View | None, str | None]:
        shape, reason = self._shape(distance.metres * 1000, sample)
        if shape is None:
            return Scale(mm_per_px=None, source="none"), None, reason
        view = View(
            lens=lens,
            shape=shape,
            camera=place or Place(),
            attitude_deg=None if sample is None else sample.attitude_deg,
            sense=-1 if self._settings.tunnel.reverse else 1,
        )
        mm = middle_scale(view)
        if mm is None:
            return Scale(mm_per_px=None, source="none"), None, "the middle of the picture misses the surface"
        error = distance.error_m / distance.metres  # the scale grows as the distance does
        return Scale(mm_per_px=mm, source=distance.source, method=distance.method, error=error), view, None

    def _shape(self, distance_mm: float, sample: Sample | None) -> tuple[Plane | Cylinder | None, str | None]:
        settings = self._settings
        if settings.tunnel.radius_m is not None:
            radius = settings.tunnel.radius_m * 1000
            if distance_mm > 2 * radius:
                return None, f"the wall is {distance_mm / 1000:.2f} m away in a tunnel of {radius / 1000:g} m radius"
            return Cylinder(radius_mm=radius, distance_mm=distance_mm, along=settings.tunnel.along), None
        if settings.surface == "facing":
            tilt, toward = settings.tilt_deg, settings.tilt_toward_deg
        else:
            if sample is None or sample.pitch_deg is None:
                return None, f"place.surface is {settings.surface}, but nothing tells the camera's pitch"
            # upwards is negative towards: a camera that looks down at a wall sees it recede at its lower side
            slant = sample.pitch_deg if settings.surface == "wall" else sample.pitch_deg + 90
            tilt, up = abs(slant), slant > 0
            toward = (90.0 if up else 270.0) + (sample.roll_deg or 0.0)
        if tilt > 85:
            return None, f"the surface is seen at {tilt:.0f} degrees from its normal, which tells no scale"
        return Plane(distance_mm=distance_mm, tilt_deg=tilt, toward_deg=toward), None

    def _lens(self, frame: Frame, facts: PictureFacts) -> tuple[Lens | None, str | None]:
        settings = self._settings
        try:
            if self._calibration is not None:
                return self._calibration.of_size(frame.width, frame.height), None
        except ConfigError as exc:
            return None, str(exc)
        if settings.focal_px is not None:
            return Lens.simple(settings.focal_px, frame.width, frame.height), None
        name = settings.camera_model or facts.model
        model = find_camera(name) if name else None
        pitch = settings.pixel_pitch_um or (model.pixel_pitch_um if model else None)
        focal = settings.focal_mm or (model.focal_mm if model else None) or facts.focal_mm
        if pitch is not None and focal is not None:
            # a picture narrower than the sensor is taken for a reduced one, not for a cut-out
            reduced = model.width_px / frame.width if model and settings.pixel_pitch_um is None else 1.0
            return Lens.simple(focal * 1000 / (pitch * reduced), frame.width, frame.height), None
        if facts.focal_px is not None:
            return Lens.simple(facts.focal_px, frame.width, frame.height), None
        what = f"camera {name!r} is not in the camera table" if name and not model else "the lens is not known"
        return None, f"a distance is known, but {what}: set place.calibration, focal_px, or focal_mm and pixel_pitch_um"


@lru_cache(maxsize=16)
def ignored_mask(polygons: tuple[Polygon, ...], height: int, width: int) -> Bool | None:
    """Return (height, width), True inside any of the polygons; None where there are none.

    Args:
        polygons: corners as shares of width and height.
        height: px.
        width: px.
    """
    if not polygons:
        return None
    mask = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = [[math.floor(x * (width - 1) + 0.5), math.floor(y * (height - 1) + 0.5)] for x, y in polygon]
        cv2.fillPoly(mask, [np.array(corners, np.int32)], (1,))
    ignored = mask.astype(np.bool_)
    ignored.setflags(write=False)
    return ignored
