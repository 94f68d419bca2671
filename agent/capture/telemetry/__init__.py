"""Telemetry beside the pictures: one file per kind, all into `Sample`s, laid beside frames by a `Track`."""

from agent.capture.telemetry.open import open_telemetry
from agent.capture.telemetry.sample import Sample
from agent.capture.telemetry.track import Track

__all__ = ["Sample", "Track", "open_telemetry"]
