"""Cracks over frames: which sightings are one crack, what it is, and what of the surface was inspected at all.

Why points and not boxes: cracks are long, thin and cross each other, so boxes of two cracks overlap more than those of
one crack in two frames. Why lines side by side are never joined: two parallel cracks counted as one would hide one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.lazy import names_from

if TYPE_CHECKING:
    from agent.track.survey import Survey
    from agent.track.tracker import Followed
    from agent.track.untangle import untangling

__all__ = ["Followed", "Survey", "untangling"]

__getattr__ = names_from(
    __name__,
    {
        "Followed": "tracker",
        "Survey": "survey",
        "untangling": "untangle",
    },
)
