"""Tell one flight's files from another's without reading terabytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HEAD_BYTES: Final = 1 << 20


def fingerprint(paths: Sequence[Path], root: Path) -> str:
    """Return a sha256 over each file's name below `root`, its size and its first MiB, in the order given.

    A file that cannot be read counts as such, for it will be a skipped frame. The sum names a flight, so that the same
    photos get the same mission id; it is no seal: frames carry their own sha256.
    """
    digest = hashlib.sha256()
    for path in paths:
        name = os.fsencode(path.relative_to(root).as_posix())
        digest.update(b"%d:%s:%s\n" % (len(name), name, _size_and_head(path).encode()))
    return digest.hexdigest()


def _size_and_head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
        return f"{path.stat().st_size}:{head}"
    except OSError:
        return "unreadable"
