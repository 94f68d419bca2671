"""A light agent around the real delivery; it only says that it sees: `python -m tests.support.talker FOLDER JSON`.

FOLDER holds the outbox and `said`, to which each id is added once `publish` has returned: from then on the report must
arrive, or a gap must tell of it. The JSON object gives `mqtt` and `delivery` settings, and how much is said:

    frames     how many, None for ever          reports    cracks in each
    pause_s    after each frame                  pictures   every so many cracks have one; 0: none
    long       every so many cracks are this many bytes long: {"every": 7, "bytes": 5000}
    severities are taken in turn                flush_s    how long the end waits; exit 0 only if nothing is left
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from agent.contract.reports import CrackReport
from agent.deliver import Delivery, Evidence
from agent.deliver.reporter import clock_stamp, rfc3339
from agent.deliver.settings import DeliverySettings
from agent.settings import MqttSettings

DEFAULTS: dict[str, Any] = {
    "device": "cart", "mqtt": {}, "delivery": {}, "frames": None, "reports": 5, "pause_s": 0.02, "pictures": 0,
    "long": None, "severities": ["low", "moderate", "high", "ungraded"], "flush_s": 60, "client_id": None,
}  # fmt: skip


def crack(number: int, boot_id: str, device: str, *, severity: str = "ungraded", filler: int = 0) -> CrackReport:
    """Return a report as a live agent makes it, about 1.3 KB."""
    stamp = clock_stamp()
    id_ = str(uuid.uuid4())
    return CrackReport.model_validate(
        {
            "id": id_, "crack_id": id_, "seq": number, "boot_id": boot_id, "mission_id": boot_id, "event": "new",
            "revision": 0, "mode": "live", "kind": "crack", "clock_synced": stamp.clock_synced,
            "mono_ns": stamp.mono_ns, "camera": "crown", "frame": number, "severity": severity, "gradable": True,
            "not_gradable_reason": "x" * filler or None, "confidence": 0.75, "width_mm": 0.4, "width_p50_mm": 0.3,
            "width_max_mm": 0.6, "length_mm": 120.5, "area_mm2": 40.2, "orientation_deg": 12.5, "width_px": 2.5,
            "length_px": 301.0, "scale_mm_px": 0.4, "scale_source": "setting", "bbox_x": 10, "bbox_y": 20,
            "bbox_w": 300, "bbox_h": 40, "bundle": "0123456789ab", "device": device, "ts": stamp.ts_ms,
            "time": rfc3339(stamp.ts_ms),
        }
    )  # fmt: skip


def main() -> int:
    """Say what is asked for; return how many reports are not acknowledged, at most 1."""
    folder, asked = Path(sys.argv[1]), {**DEFAULTS, **json.loads(sys.argv[2])}
    delivery = Delivery(
        MqttSettings.model_validate(asked["mqtt"]),
        device=asked["device"],
        limits=DeliverySettings.model_validate({"min_free_mb": 0, "ballast_mb": 0, **asked["delivery"]}),
        folder=folder / "outbox",
        client_id=asked["client_id"],
    )
    boot_id = str(uuid.uuid4())
    number = 0
    with (folder / "said").open("a", encoding="utf-8") as said:
        frames = itertools.count() if asked["frames"] is None else range(asked["frames"])
        for _ in frames:
            reports: list[CrackReport | Evidence] = []
            for _ in range(asked["reports"]):
                number += 1
                is_long = asked["long"] and number % asked["long"]["every"] == 0
                filler = asked["long"]["bytes"] if is_long else 0
                severity = asked["severities"][number % len(asked["severities"])]
                reports.append(crack(number, boot_id, asked["device"], severity=severity, filler=filler))
                if asked["pictures"] and number % asked["pictures"] == 0:
                    id_ = reports[-1].crack_id
                    jpeg = b"\xff\xd8" + os.urandom(4000 + number % 7 * 3000)
                    reports.append(Evidence(crack_id=id_, report_id=id_, jpeg=jpeg))
            delivery.publish(*reports)
            said.writelines(f"{name(report)}\n" for report in reports)
            said.flush()
            time.sleep(asked["pause_s"])
    left = delivery.flush(asked["flush_s"])
    status = delivery.status
    figures = {name: getattr(status, name) for name in status.__dataclass_fields__}
    (folder / "status.json").write_text(json.dumps(figures, default=dict), encoding="utf-8")
    delivery.close()
    return min(left, 1)


def name(report: CrackReport | Evidence) -> str:
    """Return what the report is known by on both sides."""
    return f"{report.report_id}-evidence" if isinstance(report, Evidence) else report.id


if __name__ == "__main__":
    sys.exit(main())
