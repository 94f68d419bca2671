"""Figures of cameras, heat and power for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agent.health.device import DeviceState

FATES: Final = ("taken", "dropped", "repeated", "damaged")


def device_metrics(device: DeviceState | None) -> Iterator[Metric]:
    """Return every figure as it is now; none where no mission was begun. Counters begin at 0 with each mission."""
    if device is None:
        return
    up = GaugeMetricFamily("camera_up", "1 while the camera gives pictures.", labels=["camera"])
    pictures = CounterMetricFamily("pictures", "Pictures, by what became of them.", labels=["camera", "fate"])
    poor = CounterMetricFamily("pictures_poor", "Of those taken: blurred, black or white.", labels=["camera"])
    losses = CounterMetricFamily("camera_losses", "Times that the camera was lost.", labels=["camera"])
    hangs = CounterMetricFamily("camera_hangs", "Times that its driver did not come back.", labels=["camera"])
    for status in device.cameras:
        up.add_metric([status.name], float(status.state == "live"))
        for fate in FATES:
            pictures.add_metric([status.name, fate], getattr(status, fate))
        poor.add_metric([status.name], status.skipped)
        losses.add_metric([status.name], status.losses)
        hangs.add_metric([status.name], status.hangs)
    yield from (up, pictures, poor, losses, hangs)
    fields = device.fields()
    yield CounterMetricFamily(
        "pictures_not_kept", "The record had no room for them.", value=fields["pictures_not_kept"]
    )
    for name, text in (("temperature_c", "Of the hottest zone."), ("power_w", "Of the whole board.")):
        if fields[name] is not None:
            yield GaugeMetricFamily(name, text, value=fields[name])
    yield GaugeMetricFamily(
        "pace_limited", "1 while heat or power slow it down.", value=float(fields["pace"] != "full")
    )
