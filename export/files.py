"""The files of a bundle on their way to the disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from agent.contract.bundle import MANIFEST_NAME, FileRef, Manifest
from agent.errors import OutputError


class BundleFiles:
    """What will be in the folder, in memory until it is complete."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    def add(self, name: str, content: bytes) -> FileRef:
        """Take a file and return its line in the manifest."""
        self._content[name] = content
        return FileRef(file=name, sha256=hashlib.sha256(content).hexdigest())

    def content(self, ref: FileRef) -> bytes:
        """Return a file's bytes."""
        return self._content[ref.file]

    def drop(self, refs: Iterable[FileRef]) -> None:
        """Leave files out."""
        for ref in refs:
            self._content.pop(ref.file, None)

    def write(self, folder: Path, manifest: Manifest) -> None:
        """Write the bundle; the folder appears whole or not at all, and replaces what it holds.

        Raises:
            OutputError: it cannot be written.
        """
        text = json.dumps(manifest.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
        beside = _beside(folder)
        try:
            shutil.rmtree(beside, ignore_errors=True)
            for name, content in {**self._content, MANIFEST_NAME: f"{text}\n".encode()}.items():
                path = beside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            if folder.exists():
                shutil.rmtree(folder)
            beside.rename(folder)
        except OSError as exc:
            shutil.rmtree(beside, ignore_errors=True)
            raise OutputError(f"{folder}: cannot be written ({exc.strerror}); choose another --out") from exc


def check_out(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder before the minutes of work that would be lost with it.

    Raises:
        OutputError: it exists and may not be replaced, or no folder can be made beside it.
    """
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder}: exists; choose another --out, or replace it with --overwrite")
    beside = _beside(folder)
    try:
        beside.mkdir(parents=True, exist_ok=True)
        beside.rmdir()
        if folder.exists():
            probe = folder / ".part"
            probe.touch()
            probe.unlink()
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written ({exc.strerror}); choose another --out") from exc


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")
