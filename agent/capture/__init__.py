"""Sources of frames: one file per kind."""

from agent.capture.sources import open_sources

__all__ = ["open_sources"]
