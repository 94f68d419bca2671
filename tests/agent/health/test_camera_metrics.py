"""What Prometheus sees of cameras, heat and power."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from agent.capture.cameras import Cameras
from agent.capture.feed import LiveFeed
from agent.capture.settings import CaptureSettings
from agent.health.camera_metrics import device_metrics
from agent.health.device import DeviceState
from agent.health.governor import Governor
from agent.health.readings import Readings
from agent.health.settings import HeatSettings
from tests.support.cameras import ScriptedCamera, noise, wait_until


class Page(Collector):
    def __init__(self, device: DeviceState | None) -> None:
        self.device = device

    def collect(self) -> Iterator[Metric]:
        return device_metrics(self.device)

    def lines(self) -> list[str]:
        registry = CollectorRegistry()
        registry.register(self)
        return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_before_the_first_mission_there_are_no_figures() -> None:
    assert Page(None).lines() == []


def test_every_camera_is_told_apart_and_heat_is_there() -> None:
    settings = CaptureSettings(first_frame_s=30, stall_s=30, retry_s=0.01, retry_max_s=0.01)
    news = threading.Condition()
    scripts = {"belly": [noise(0), noise(1), noise(1), None], "nose": itertools.repeat(OSError("off"))}
    feeds = [
        LiveFeed(name, kind="test", camera=ScriptedCamera(script), settings=settings, news=news)
        for name, script in scripts.items()
    ]
    governor = Governor(HeatSettings(), lambda: Readings(temperatures_c={"tj": 91.5}), clock=time.monotonic)
    with Cameras(feeds, settings=settings, news=news, pace=governor) as cameras:
        device = DeviceState(cameras, governor, not_kept=lambda: 7)
        governor.limit()
        wait_until(lambda: cameras.status()[0].state == "ended" and cameras.status()[1].failed)
        assert device.word() == "degraded"
        lines = Page(device).lines()
    assert 'camera_up{camera="belly"} 0.0' in lines  # it has come to its end
    assert 'pictures_total{camera="belly",fate="dropped"} 1.0' in lines
    assert 'pictures_total{camera="belly",fate="repeated"} 1.0' in lines
    assert 'pictures_total{camera="nose",fate="taken"} 0.0' in lines
    assert "temperature_c 91.5" in lines
    assert "pace_limited 1.0" in lines
    assert "pictures_not_kept_total 7.0" in lines
    assert not any(line.startswith("power_w") for line in lines)  # nothing measures it
