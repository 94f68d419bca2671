"""Whether a folder can be written, found out by writing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from agent.errors import OutputError


def check_writable(folder: Path, setting: str) -> None:
    """Make the folder if it is not there, and write and remove a small file in it.

    Args:
        folder: to be written later.
        setting: which names it, for the message.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"crackscout")
            file.flush()
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written ({exc.strerror}); see {setting}") from exc
