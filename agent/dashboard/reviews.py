"""Where what people say on the page goes: into the record, by the code that commands use too."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from agent.contract.reports import AckReport
from agent.deliver.commands import Review
from agent.errors import CrackscoutError, InputError
from agent.record.reviews import Reviewed, Reviews

Keep: TypeAlias = Callable[[Path, Review], None]  # raises InputError if the review does not fit, else why it failed


def keep_in_record(folder: Path, said: Review) -> None:
    """Write a review into a record; nobody else is told.

    Raises:
        InputError: it does not fit the record.
        OutputError: it cannot be written.
    """
    reviews, crack_id = Reviews(folder), said.crack_id
    if said.verdict is not None:
        reviews.verdict(crack_id, said.verdict, reviewer=said.reviewer, note=said.note)
    elif said.merge_into is not None:
        reviews.merge(crack_id, into=said.merge_into, reviewer=said.reviewer, note=said.note)
    elif said.undo is not None:
        reviews.undo(said.undo, reviewer=said.reviewer, note=said.note)
    else:
        reviews.comment(crack_id, said.note or "", reviewer=said.reviewer)


def by_command(submit: Callable[[str, bytes], AckReport | None], *, safe_mode: Callable[[], bool]) -> Keep:
    """Return what gives reviews to a service as the command `review`, so that they are also told over MQTT.

    Args:
        submit: see `CommandDesk.submit`.
        safe_mode: whether commands cannot be done now; the record takes the review, and it is told when they can.
    """

    def keep(folder: Path, said: Review) -> None:
        if safe_mode():
            keep_in_record(folder, said)
            return
        command = {
            "id": str(uuid.uuid4()),
            "ts": time.time_ns() // 1_000_000,
            "args": said.model_dump(exclude_none=True),
        }
        ack = submit("review", json.dumps(command).encode())
        if ack is None or ack.status != "done":
            why = "the review was not taken" if ack is None or ack.error is None else ack.error
            raise (InputError if ack is not None and ack.code == "out_of_range" else CrackscoutError)(why)

    return keep


def as_json(said: Reviewed | None) -> dict[str, Any] | None:
    """Return what holds of a crack for the page's list; None where nothing does."""
    if said is None:
        return None
    newest = next(
        (row for row in reversed(said.standing) if row.verdict is not None or row.merge_into is not None), None
    )
    return {
        "verdict": said.verdict,
        "merged_into": said.merged_into,
        "merged": said.merged,
        "notes": sum(row.note is not None for row in said.standing),
        "reviewer": newest.reviewer if newest else None,
        "ts": newest.ts if newest else None,
    }
