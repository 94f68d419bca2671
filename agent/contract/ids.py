"""Names: what devices and cameras may be called; of cracks and reports uuid5 of what they stand for.

So that they are the same in every replay.
"""

from __future__ import annotations

import uuid
from typing import Final

SEGMENT_PATTERN: Final = "^[a-z0-9][a-z0-9_-]{0,63}$"  # of a topic: device, camera, command id
NAMESPACE: Final = uuid.UUID("01a30a63-9019-4ad3-8d34-e22611d27ea2")  # ours, for ever


def crack_id(mission_id: str, camera: str, frame: int, number: int) -> str:
    """Return a crack's name, from where it was seen first.

    Args:
        mission_id: of the run.
        camera: by name.
        frame: index of the frame.
        number: the sighting's place in the frame, from 0.
    """
    return str(uuid.uuid5(_mission(mission_id), f"{camera}|{frame}|{number}"))


def report_id(mission_id: str, camera: str, frame: int, crack: str, revision: int) -> str:
    """Return the name of one revision of what is known about a crack.

    Args:
        mission_id: of the run.
        camera: by name.
        frame: index of the frame that it comes from.
        crack: the crack's id.
        revision: from 0.
    """
    return str(uuid.uuid5(_mission(mission_id), f"{camera}|{frame}|{crack}|{revision}"))


def sighting_id(mission_id: str, camera: str, frame: int, number: int) -> str:
    """Return the name of a crack's sighting in one frame, whichever crack it turns out to be of."""
    return report_id(mission_id, camera, frame, crack_id(mission_id, camera, frame, number), 0)


def review_report_id(mission_id: str, review: str, crack: str) -> str:
    """Return the name of the report that tells a review of a crack.

    Args:
        mission_id: of the run.
        review: the review's id.
        crack: the crack's id: a merge is told of two.
    """
    return str(uuid.uuid5(_mission(mission_id), f"review|{review}|{crack}"))


def _mission(mission_id: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, mission_id)
