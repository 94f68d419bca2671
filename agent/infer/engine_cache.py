"""The folder of engines: `<key>.engine` with `<key>.json` beside it.

Writers hold a lock of the key and rename when everything is on the disk, so a reader sees a whole entry or none. What
does not fit its record is moved into `quarantine/`, where it can be looked at, and is never loaded again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from agent.contract.engine import ENGINE_SUFFIX, RECORD_SUFFIX, EngineGolden, EngineKey, EngineRecord
from agent.errors import EngineError

QUARANTINE: Final = "quarantine"
QUARANTINE_KEEPS: Final = 4  # faulty engines; older ones are removed, a disk is not to fill up with them
LOCK_POLL_S: Final = 0.2


@dataclass(frozen=True)
class EngineCache:
    """Engines in `folder`, which is made when the first one is written."""

    folder: Path

    def path(self, key: EngineKey) -> Path:
        """Return where the plan of a key lies, or would."""
        return self.folder / f"{key.digest}{ENGINE_SUFFIX}"

    def record_path(self, key: EngineKey) -> Path:
        """Return where the record beside the plan lies, or would."""
        return self.folder / f"{key.digest}{RECORD_SUFFIX}"

    def holds(self, key: EngineKey) -> bool:
        """Say whether there is an entry; `read` says whether it is good."""
        return self.path(key).is_file() or self.record_path(key).is_file()

    def read(self, key: EngineKey) -> bytes:
        """Return the plan, once its record names this key and its sha256.

        Raises:
            EngineError: there is none, or it is not what its record says.
        """
        path = self.path(key)
        record = self.record(key)
        try:
            plan = path.read_bytes()
        except OSError as exc:
            raise EngineError(f"{exc.filename}: the engine cannot be read ({exc.strerror})") from exc
        if record.key != key:
            differing = sorted(
                name for name in EngineKey.model_fields if getattr(record.key, name) != getattr(key, name)
            )
            raise EngineError(f"{path}: built for another key ({', '.join(differing)} differ)")
        got = hashlib.sha256(plan).hexdigest()
        if got != record.plan_sha256:
            raise EngineError(
                f"{path}: sha256 {got[:8]} of {len(plan)} bytes is not the record's {record.plan_sha256[:8]} "
                f"of {record.plan_bytes}"
            )
        return plan

    def record(self, key: EngineKey) -> EngineRecord:
        """Return what is written beside the plan; `read` says whether the plan fits it.

        Raises:
            EngineError: there is none, or it is no record.
        """
        path = self.record_path(key)
        try:
            return EngineRecord.model_validate_json(path.read_bytes())
        except OSError as exc:
            raise EngineError(f"{path}: the engine's record cannot be read ({exc.strerror})") from exc
        except ValidationError as exc:
            raise EngineError(f"{path}: not an engine's record ({exc.error_count()} faults)") from exc

    def note(self, key: EngineKey, golden: EngineGolden) -> None:
        """Write into the record how the golden tiles were answered; nothing is written where it says so already.

        Raises:
            EngineError: there is no record, another process writes this key, or the folder cannot be written.
        """
        if self.record(key).golden == golden:
            return
        with self.lock(key, timeout_s=0):
            self._write_record(self.record(key).model_copy(update={"golden": golden}))

    def write(self, key: EngineKey, plan: bytes, *, build_seconds: float) -> None:
        """Keep a plan, whole or not at all. The caller holds the key's lock.

        Raises:
            EngineError: the disk is full or the folder cannot be written.
        """
        record = EngineRecord(
            key=key,
            plan_sha256=hashlib.sha256(plan).hexdigest(),
            plan_bytes=len(plan),
            build_seconds=round(build_seconds, 3),
        )
        # the plan first: a record without a plan says that something is missing, a plan without a record is not loaded
        self.write_file(self.path(key), plan)
        self._write_record(record)

    def write_file(self, path: Path, content: bytes) -> None:
        """Put a file into the cache by an atomic rename.

        Raises:
            EngineError: the disk is full or the folder cannot be written.
        """
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as exc:
            with suppress(OSError):
                unfinished.unlink()
            raise self._unwritable(exc) from exc

    def quarantine(self, key: EngineKey) -> None:
        """Move a faulty entry out of the way. The caller holds the key's lock; see `reject`.

        Raises:
            EngineError: the folder cannot be written.
        """
        place = self.folder / QUARANTINE
        try:
            place.mkdir(exist_ok=True)
            stamp = time.time_ns()
            for path in (self.path(key), self.record_path(key)):
                if path.is_file():
                    path.replace(place / f"{stamp}-{path.name}")
            kept = sorted({path.name.split("-")[0] for path in place.iterdir()})
            for path in place.iterdir():
                if path.name.split("-")[0] in kept[:-QUARANTINE_KEEPS]:
                    path.unlink()
        except OSError as exc:
            raise self._unwritable(exc) from exc

    def reject(self, key: EngineKey, plan_sha256: str | None) -> None:
        """Put an entry that was found faulty into quarantine, unless another process has replaced it since.

        Args:
            key: of the entry.
            plan_sha256: of the plan that was loaded; None where the entry did not fit its record.

        Raises:
            EngineError: another process is writing this key, or the folder cannot be written.
        """
        with self.lock(key, timeout_s=0):
            try:
                replaced = hashlib.sha256(self.read(key)).hexdigest() != plan_sha256
            except EngineError:
                replaced = False
            if not replaced:
                self.quarantine(key)

    def check_writable(self) -> None:
        """Find out now, and not after a build of ten minutes, that the folder can be written.

        Raises:
            EngineError: it cannot.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".writable.{os.getpid()}"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()
        except OSError as exc:
            raise self._unwritable(exc) from exc

    @contextmanager
    def lock(self, key: EngineKey, *, timeout_s: float) -> Iterator[None]:
        """Hold the right to write a key. A process that ends, however it ends, gives its lock back.

        Raises:
            EngineError: another process has held it for `timeout_s`, or the folder cannot be written.
        """
        deadline = time.monotonic() + timeout_s
        try:
            file = (self.folder / f".{key.digest}.lock").open("w")
        except OSError as exc:
            raise self._unwritable(exc) from exc
        with file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as exc:
                    if exc.errno not in {errno.EAGAIN, errno.EACCES}:
                        raise self._unwritable(exc) from exc
                else:
                    break
                if time.monotonic() >= deadline:
                    raise EngineError(f"{file.name}: another build has held this lock for {timeout_s:.0f} s")
                time.sleep(LOCK_POLL_S)
            self._sweep(key)
            yield

    def _write_record(self, record: EngineRecord) -> None:
        text = record.model_dump_json(by_alias=True, indent=2) + "\n"
        self.write_file(self.record_path(record.key), text.encode())

    def _sweep(self, key: EngineKey) -> None:
        """Remove what a killed build of this key left: nobody else writes it while we hold the lock."""
        for path in self.folder.glob(f".{key.digest}.*"):
            if not path.name.endswith(".lock"):
                path.unlink(missing_ok=True)

    def _unwritable(self, exc: OSError) -> EngineError:
        return EngineError(
            f"{self.folder}: engines cannot be kept here ({exc.strerror}); free space or set runtime.engine.cache"
        )
