"""Frame to probability map: tiles, gate, segmentation, stitching."""

from agent.detect.detector import Detection, Detector

__all__ = ["Detection", "Detector"]
