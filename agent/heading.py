"""What a run is called and says of itself: its mission's id, its record's header, its `info`."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agent.about import version
from agent.contract.bundle import Bundle
from agent.contract.flight import BundleUsed, FlightHeader, SourceRef
from agent.contract.ids import NAMESPACE
from agent.pipeline import Named
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Heading:
    """Of runs by these settings, this bundle, and what infers."""

    settings: Settings
    bundle: Bundle
    serving: Named

    def header(self, mission_id: str, mode: Literal["live", "replay"], sources: Sequence[SourceRef]) -> FlightHeader:
        """Return what the record of a run begins with."""
        return FlightHeader(
            mission_id=mission_id,
            mode=mode,
            device=self.settings.device,
            complete=False,
            sources=tuple(sources),
            bundle=BundleUsed(name=self.bundle.manifest.name, sha256=self.bundle.sha256),
            runtime=self.serving.runtime,
            variant=self.serving.variant,
            settings=self.settings.public(),
            version=version(),
            frames_kept=self.settings.record.frames,
            structure=self.settings.mission.structure,
            inspector=self.settings.mission.inspector,
            standard=self.settings.severity.name,
        )

    def replays_id(
        self, sources: Sequence[SourceRef], *, mm_per_px: float | None, replayed: FlightHeader | None
    ) -> str:
        """Return a replay's mission id, from what is replayed and how, so that a second one says the same.

        Args:
            sources: what is replayed.
            mm_per_px: as given for this replay.
            replayed: of the record, where one is replayed and nothing else: as it was flown, it is the same mission,
                and its cracks are the same cracks.
        """
        settings = self.settings.public()
        how = {
            "bundle": self.bundle.sha256,
            "runtime": [self.serving.runtime, self.serving.variant],
            "scale": mm_per_px,
            "detect": settings["detect"],
            "measure": settings["measure"],
            "severity": settings["severity"],
            "place": settings["place"],
            "track": settings["track"],
        }
        if replayed is not None and _how_flown(replayed) == how:
            return replayed.mission_id
        how["sources"] = [ref.model_dump() for ref in sources]
        return str(uuid.uuid5(NAMESPACE, json.dumps(how, sort_keys=True)))

    @property
    def segmenter_threshold(self) -> float:
        """On the probability of a pixel, as used."""
        chosen = self.settings.detect.segmenter_threshold
        return self.bundle.manifest.segmenter.threshold.value if chosen is None else chosen

    def info(self) -> dict[str, Any]:
        """Return what `Reporter.info` is told."""
        gate = self.bundle.manifest.gate if self.settings.detect.gate else None
        chosen = self.settings.detect.gate_threshold
        public = json.dumps(self.settings.public(), sort_keys=True)
        return {
            "config_sha256": hashlib.sha256(public.encode()).hexdigest(),
            "cameras": tuple(camera.name for camera in self.settings.cameras) or ("camera",),
            "segmenter_threshold": self.segmenter_threshold,
            "gate_threshold": None if gate is None else gate.threshold.value if chosen is None else chosen,
        }


def _how_flown(header: FlightHeader) -> dict[str, Any] | None:
    """Return how a record came to be, as `replays_id` says it; None where its pictures are not all there."""
    if header.bundle is None or header.frames_kept != "all":
        return None
    return {
        "bundle": header.bundle.sha256,
        "runtime": [header.runtime, header.variant],
        "scale": None,
        "detect": header.settings.get("detect"),
        "measure": header.settings.get("measure"),
        "severity": header.settings.get("severity"),
        "place": header.settings.get("place"),
        "track": header.settings.get("track"),
    }
