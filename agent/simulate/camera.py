"""From light to picture: illumination, blur, exposure, sensor noise, JPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from agent.contract.arrays import Float32, UInt8
from agent.simulate.noise import as_float32, log_uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """How one picture is taken."""

    blur_px: float = 0.0  # standard deviation of the optics' blur
    motion_px: float = 0.0  # length of the path during the exposure
    motion_deg: float = 0.0  # its direction, from x towards y
    exposure: float = 1.0  # factor on the light
    gamma: float = 1.0  # contrast curve: picture = light ** gamma
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factors on R, G, B
    noise: float = 0.0  # standard deviation at mid grey, share of full scale; shot noise, so it grows with the light
    sharpening: float = 0.0  # unsharp mask of the camera's own processing
    jpeg_quality: int | None = None  # 1 to 100; None: no compression


def random_camera(rng: np.random.Generator, brightness: float) -> Camera:
    """Return a camera drawn from what inspection photos look like; it exposes for a scene of mean `brightness`."""
    return Camera(
        blur_px=rng.uniform(0, 1.5) if rng.random() < 0.7 else 0.0,
        motion_px=rng.uniform(1, 5) if rng.random() < 0.15 else 0.0,
        motion_deg=rng.uniform(0, 180),
        exposure=float(np.clip(rng.normal(0.5, 0.12), 0.15, 0.8)) / max(brightness, 0.02),
        gamma=log_uniform(rng, 0.75, 1.4),
        balance=(1 + rng.normal(0, 0.04), 1.0, 1 + rng.normal(0, 0.055)),
        noise=log_uniform(rng, 0.001, 0.03),
        sharpening=rng.uniform(0.2, 1.2) if rng.random() < 0.3 else 0.0,
        jpeg_quality=int(rng.integers(45, 98)) if rng.random() < 0.7 else None,
    )


def take_picture(rng: np.random.Generator, light: Float32, camera: Camera) -> UInt8:
    """Return the (H, W, 3) picture of the light (H, W, 3), where 1.0 is full scale at exposure 1."""
    seen: Float32 = light
    if camera.blur_px > 0.15:
        seen = as_float32(cv2.GaussianBlur(seen, (0, 0), camera.blur_px))
    if camera.motion_px > 1:
        seen = as_float32(cv2.filter2D(seen, -1, motion_kernel(camera.motion_px, camera.motion_deg)))
    seen = np.clip(seen * (camera.exposure * np.asarray(camera.balance, np.float32)), 0, 1)
    if camera.gamma != 1.0:
        seen = as_float32(cv2.pow(seen, camera.gamma))
    if camera.sharpening > 0:
        seen = as_float32(seen + camera.sharpening * (seen - cv2.GaussianBlur(seen, (0, 0), 1.0)))
    if camera.noise > 0:
        shot = rng.standard_normal(seen.shape, dtype=np.float32)
        shot *= np.float32(camera.noise) * np.sqrt(np.clip(2 * seen[..., 1:2], 0.05, 2))
        shot += seen
        seen = shot
    picture: UInt8 = np.clip(seen * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
    return as_file(picture, camera.jpeg_quality)[0]


def lamp_light(rng: np.random.Generator, height: int, width: int, fall_off: float) -> Float32:
    """Return (H, W) light: 1 near the middle, fallen by `fall_off` in the corners, slightly off centre."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(rng.normal(0, 0.25))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] - np.float32(rng.normal(0, 0.25))
    return np.asarray(1 - np.float32(fall_off) * np.minimum((x * x + y * y) / 2, 1.2), np.float32)


def motion_kernel(length_px: float, angle_deg: float) -> Float32:
    """Return the normalised kernel of a straight motion of `length_px`."""
    radius = math.ceil(length_px / 2)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    along, across = np.abs(x * cos + y * sin), np.abs(y * cos - x * sin)
    kernel = np.clip(length_px / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def as_file(picture_rgb: UInt8, quality: int | None) -> tuple[UInt8, bytes | None]:
    """Return the picture as read back from the camera's JPEG, and that file; as it is and None without a quality."""
    if quality is None:
        return picture_rgb, None
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1]), data.tobytes()
