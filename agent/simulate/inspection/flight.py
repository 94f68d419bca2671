"""A rendered inspection: frames of a ring or a facade as a moving camera sees it, with the truth about the cracks.

The cracks are drawn into each frame from their geometry, through the same lens, shutter and motion as the wall: their
truth mask is exact. What hangs in front hides them, in the picture and in the truth alike.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from agent.contract.arrays import Float32, Float64, UInt8
from agent.contract.frame import Frame
from agent.simulate.camera import Camera, as_file, take_picture
from agent.simulate.cracks import CrackShape, draw, grow_crack, paint
from agent.simulate.flight import RenderedFrame
from agent.simulate.inspection import fixtures, telemetry
from agent.simulate.inspection.facade import Facade
from agent.simulate.inspection.lining import Lining
from agent.simulate.inspection.rig import Rig
from agent.simulate.inspection.settings import InspectionSettings
from agent.simulate.inspection.texture import SLOPE_UNIT, Relief, light_from, shaded
from agent.simulate.noise import as_float32, curve_noise, smoothstep

CAMERA_NAME: Final = "rendered"
SEEPING_SHARE: Final = 0.4  # of the cracks leak, on a wall of full efflorescence

_CRACKS, _FRAME, _LIGHT = 61, 62, 63  # what a generator is for, after the seed


class Wall:
    """What the camera looks at, made piece by piece as it comes to them.

    Args:
        settings: of the inspection.
        rig: of the same.
        cracks: on the wall, mm.
    """

    def __init__(self, settings: InspectionSettings, rig: Rig, cracks: tuple[CrackShape, ...]) -> None:
        self._mm = settings.camera.mm_per_px
        _, (self.top, bottom) = rig.reach()
        rng = np.random.default_rng([settings.seed, _LIGHT])
        leaking = [crack for crack in cracks if rng.random() < SEEPING_SHARE * settings.wear.efflorescence]
        seeps = [crack.branches[0].line_xy for crack in leaking]
        make = Lining if settings.kind == "tunnel" else Facade
        self._maker = make(settings, top_mm=self.top, height_px=math.ceil((bottom - self.top) / self._mm), seeps=seeps)
        self._pieces: dict[int, Relief] = {}

    def strip(self, left_mm: float, right_mm: float) -> tuple[Relief, float]:
        """Return the wall between two u, and u of its first column."""
        length = self._maker.piece_px
        left, right = math.floor(left_mm / self._mm), math.ceil(right_mm / self._mm)
        kept, first, last = self._pieces, left // length, (right - 1) // length
        self._pieces = {i: kept[i] if i in kept else self._maker.piece(i) for i in range(first, last + 1)}
        parts = []
        for i, piece in self._pieces.items():
            cut = slice(max(left - i * length, 0), min(right - i * length, length))
            parts.append((piece.albedo[:, cut], piece.slope[:, cut]))
        albedo, slope = (np.concatenate(some, axis=1) for some in zip(*parts, strict=True))
        return Relief(albedo, slope), left * self._mm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InspectionFlight:
    """An inspection that is rendered while it is read: iterate it, as often as needed; it holds no frame."""

    settings: InspectionSettings
    rig: Rig
    cracks: tuple[CrackShape, ...]  # on the wall, u and v, mm
    hung: tuple[fixtures.Fixture, ...]

    def __len__(self) -> int:
        return self.settings.frames

    def __iter__(self) -> Iterator[RenderedFrame]:
        """Yield the frames in their order."""
        return self.frames()

    def frames(self, start: int = 0) -> Iterator[RenderedFrame]:
        """Yield the frames from index `start` on."""
        wall = Wall(self.settings, self.rig, self.cracks)
        for index in range(start, len(self)):
            yield self._frame(wall, index)

    def seconds(self, index: int) -> float:
        """Return when a frame is taken."""
        return index / self.settings.fps

    def lines(self, index: int) -> list[tuple[int, float, list[Float64]]]:
        """Return the truth cracks that come near a frame: number, length in px, centre lines (K, 2) in px."""
        seconds, camera = self.seconds(index), self.settings.camera
        per_mm = self.settings.focal_px / self.rig.standoff
        found = []
        for number, crack in enumerate(self.cracks):
            lines = [self.rig.picture_of(seconds, branch.line_xy)[0] for branch in crack.branches]
            points = np.concatenate(lines)
            if ((points >= 0) & (points < (camera.width_px, camera.height_px))).all(axis=1).any():
                found.append((number, crack.length * per_mm, lines))
        return found

    def _frame(self, wall: Wall, index: int) -> RenderedFrame:
        s, optics, seconds = self.settings, self.settings.camera, self.seconds(index)
        rng = np.random.default_rng([s.seed, _FRAME, index])
        maps = self.rig.maps(seconds)
        albedo, slope = _seen(wall, maps, self.rig.along(seconds), optics.mm_per_px)
        light = self._light(maps, slope, seconds)
        cracks = self._projected(seconds)
        layer = draw(cracks, optics.height_px, optics.width_px)
        scene = paint(as_float32(albedo * light[..., None]), cracks, layer)
        hidden = np.zeros(light.shape, np.float32)
        for fixture in self.hung:
            found = fixtures.see(fixture, self.rig, seconds, light.shape)
            if found is None:
                continue
            flat = as_float32(cv2.GaussianBlur(light, (0, 0), 9))
            hidden = np.maximum(hidden, fixtures.lay(scene, flat, fixture, found))
            fixtures.brackets(scene, hidden, flat, fixture, self.rig, seconds)
        picture, encoded = self._picture(rng, scene, index)
        frame = Frame(
            index=index,
            name=f"{index:06d}",
            source=f"{s.kind}-{s.seed}",
            camera=CAMERA_NAME,
            image_rgb=picture,
            sha256=hashlib.sha256(encoded or picture.tobytes()).hexdigest(),
            media_time_ns=round(index * 1e9 / s.fps),
            encoded=encoded,
            suffix=".png" if encoded is None else ".jpg",
            pose=telemetry.local_pose(s, self.rig, index),
        )
        return RenderedFrame(
            frame=frame, mask=layer.mask & (hidden < 0.5), coverage=as_float32(layer.coverage * (1 - hidden))
        )

    def _light(self, maps: Float32, slope: Float32, seconds: float) -> Float32:
        """Return the light on every pixel, relief and shadows included, about 1 in the middle."""
        return self._lamps(maps, slope, seconds) if self.settings.kind == "tunnel" else self._sun(slope, seconds)

    def _lamps(self, maps: Float32, slope: Float32, seconds: float) -> Float32:
        """Two lamps on the cart, fore and aft of the camera, and what the lining throws back."""
        s, standoff = self.settings, self.rig.standoff
        rng = np.random.default_rng([s.seed, _LIGHT, 1])
        total = np.full(maps.shape[:2], 0.16, np.float32)
        for side in (-1.0, 1.0):
            lamp = np.array([side * s.tunnel.lamp_m * 1000, rng.uniform(-0.45, 0.45) * standoff, 0.5 * standoff])
            strength = rng.uniform(0.85, 1.15)
            to_lamp = np.stack(
                [lamp[0] - maps[..., 0], lamp[1] - maps[..., 1], np.full(maps.shape[:2], lamp[2], np.float32)], axis=2
            ).astype(np.float32)
            distance2 = (to_lamp**2).sum(axis=2)
            nearest = float(lamp[2] ** 2 + lamp[0] ** 2)
            level = as_float32(strength * 0.42 * (nearest / distance2) ** 1.5)  # inverse square, and a slanting surface
            level *= shaded(slope, to_lamp)
            place = lamp + np.array([self.rig.along(seconds), 0.0, 0.0])
            for fixture in self.hung:
                found = fixtures.see_shadow(fixture, self.rig, seconds, level.shape, place, far=False)
                if found is not None:
                    fixtures.cast(level, found, soft_px=1.5 + fixture.off_mm / 25, strength=0.85)
            total += level
        return total

    def _sun(self, slope: Float32, seconds: float) -> Float32:
        """The sun at a slant, its shadows, and the sky."""
        s = self.settings
        rng = np.random.default_rng([s.seed, _LIGHT, 2])
        sun = light_from(rng.uniform(-0.85, -0.15) * math.pi, math.radians(rng.uniform(35, 60)))
        level = as_float32(s.facade.sun_share * shaded(slope, sun))
        # what stands between sun and wall, out of view: a parapet's edge, railings
        every, extent = rng.uniform(1800, 3500), rng.uniform(0.05, 0.3)
        slant, soft = rng.uniform(-0.8, 0.8), rng.uniform(4, 30)
        maps = self.rig.maps(seconds)
        line = (maps[..., 0] + self.rig.along(seconds) + slant * maps[..., 1]) % every
        inside = smoothstep(as_float32(line), 0, 2 * soft) * smoothstep(as_float32(extent * every - line), 0, 2 * soft)
        level *= 1 - np.float32(0.85) * inside
        for fixture in self.hung:
            found = fixtures.see_shadow(fixture, self.rig, seconds, level.shape, np.asarray(sun, np.float64), far=True)
            if found is not None:
                fixtures.cast(level, found, soft_px=1 + fixture.off_mm / 60, strength=0.9)
        sky = as_float32((1 - s.facade.sun_share) * (1 - 0.35 * slope[..., 1]))  # the sky is above
        return as_float32(level + np.clip(sky, 0, 2))

    def _projected(self, seconds: float) -> list[CrackShape]:
        """Return the cracks that the frame shows, in px."""
        (left, right), (top, bottom) = self.rig.frame_reach(seconds)
        seen = []
        for crack in self.cracks:
            low_u, low_v, high_u, high_v = crack.bounds
            if high_u < left or low_u > right or high_v < top or low_v > bottom:
                continue
            branches = []
            for branch in crack.branches:
                xy, _ = self.rig.picture_of(seconds, branch.line_xy)
                width = branch.width * self._across(seconds, branch.line_xy, xy)
                branches.append(replace(branch, line_xy=xy, width=width))
            per_mm = self.settings.focal_px / self.rig.standoff
            spalls = tuple(
                replace(spall, outline_xy=self.rig.picture_of(seconds, spall.outline_xy)[0]) for spall in crack.spalls
            )
            seen.append(replace(crack, branches=tuple(branches), spalls=spalls, halo_reach=crack.halo_reach * per_mm))
        return seen

    def _across(self, seconds: float, line_uv: Float64, xy: Float64) -> Float64:
        """Return px of a mm across a line at each of its points: by points half a mm to both of its sides."""
        along = np.gradient(line_uv, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
        aside, _ = self.rig.picture_of(seconds, line_uv + 0.5 * normal)
        step = 2 * (aside - xy)
        course = np.gradient(xy, axis=0)
        course /= np.maximum(np.hypot(*course.T), 1e-9)[:, None]
        return np.asarray(np.abs(step[:, 0] * course[:, 1] - step[:, 1] * course[:, 0]), np.float64)

    def _picture(self, rng: np.random.Generator, scene: Float32, index: int) -> tuple[UInt8, bytes | None]:
        """Expose, blur, sense and compress a frame."""
        s, optics = self.settings, self.settings.camera
        steady = np.random.default_rng([s.seed, _LIGHT, 3])
        drift = curve_noise(steady, s.frames + 2, max(3 * s.fps, 2.0))[index]
        balance = steady.normal(1, 0.025, 3)
        motion = s.path.speed_m_s * 1000 * optics.exposure_s / optics.mm_per_px
        shake = 2 * math.pi * 20 * s.path.vibration_px * optics.exposure_s
        camera = Camera(
            blur_px=optics.blur_px * rng.uniform(0.7, 1.4),
            motion_px=math.hypot(motion, shake),
            motion_deg=math.degrees(math.atan2(shake * rng.normal(0, 0.7), motion)),
            exposure=float(math.exp(optics.exposure_wander * np.clip(drift, -2, 2))) * 1.08,
            balance=(float(balance[0]), float(balance[1]), float(balance[2])),
            noise=optics.noise,
        )
        lit = as_float32(scene * _vignette(optics.height_px, optics.width_px)[..., None])
        return as_file(take_picture(rng, _toned(lit), camera), optics.jpeg_quality)


def render_inspection(settings: InspectionSettings) -> InspectionFlight:
    """Return the flight along a wall with cracks; frames are rendered when it is iterated."""
    rig = Rig(settings)
    return InspectionFlight(
        settings=settings, rig=rig, cracks=_crack_wall(settings, rig), hung=fixtures.fixtures_of(settings, rig)
    )


def _crack_wall(s: InspectionSettings, rig: Rig) -> tuple[CrackShape, ...]:
    """Spread the cracks along the wall, each in a stretch of its own, within what frames show."""
    rng = np.random.default_rng([s.seed, _CRACKS, s.kind == "facade"])
    widths = rng.permutation(np.geomspace(*s.cracks.width_mm, max(s.cracks.count, 1)))[: s.cracks.count]
    mm = s.camera.mm_per_px
    half = s.camera.height_px * mm / 2 * 0.9
    ends = sorted((rig.along(0.0), rig.along((s.frames - 1) / s.fps)))
    reach = s.camera.width_px * mm / 2 * 0.9
    low, high = ends[0] - reach, ends[1] + reach
    stretch = (high - low) / max(s.cracks.count, 1)
    cracks = []
    for i, width in enumerate(widths):
        upright = rng.random() < (0.65 if s.kind == "facade" else 0.5)
        heading = rng.normal(math.pi / 2, 0.35) if upright else rng.normal(0, 0.35)
        span = abs(math.cos(heading)) * stretch + abs(math.sin(heading)) * 2 * half
        crack = grow_crack(
            rng,
            start_xy=(0.0, 0.0),
            heading_rad=heading,
            length=max(span * rng.uniform(0.6, 1.1), 6 * width),
            width=float(width),
            darkness=rng.uniform(0.5, 0.85),
            step=mm,
            branching=rng.uniform(0, 1.8),
        )
        cracks.append(crack.placed(rng, (low + (i + 0.05) * stretch, -half, low + (i + 0.95) * stretch, half)))
    return tuple(cracks)


def _seen(wall: Wall, maps: Float32, along_mm: float, mm_per_px: float) -> tuple[Float32, Float32]:
    """Return reflectance (H, W, 3) and slopes (H, W, 2) of the wall in the frame's pixels."""
    low, high = float(maps[..., 0].min()) + along_mm, float(maps[..., 0].max()) + along_mm
    piece, first = wall.strip(low - 3 * mm_per_px, high + 3 * mm_per_px)
    x = as_float32((maps[..., 0] + np.float32(along_mm - first)) / np.float32(mm_per_px) - np.float32(0.5))
    y = as_float32((maps[..., 1] - np.float32(wall.top)) / np.float32(mm_per_px) - np.float32(0.5))
    albedo, slope = (
        cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        for part in (piece.albedo, piece.slope)
    )
    return as_float32(albedo * np.float32(1 / 255)), as_float32(slope * np.float32(SLOPE_UNIT))


def _vignette(height: int, width: int) -> Float32:
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    return as_float32(1 - 0.09 * (x * x + y * y))


def _toned(scene: Float32) -> Float32:
    """Return the scene with its highlights rolled off, as cameras do: straight up to 0.75, towards 1 above."""
    over = np.maximum(scene - np.float32(0.75), 0)
    return as_float32(np.minimum(scene, 0.75) + np.float32(0.25) * (1 - np.exp(-over / np.float32(0.25))))
