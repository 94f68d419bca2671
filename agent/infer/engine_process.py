"""Starts `agent.infer.engine_build` as a process of its own, listens to its progress, and tells how it ended."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.contract.bundle import Precision
from agent.contract.engine import BatchProfile, BuildOptions
from agent.errors import EngineError, RuntimeUnavailableError
from agent.infer.engine_cache import EngineCache

GRACE_S: Final = 10.0  # the process ends itself at its timeout; what said its last word and does not end is killed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EngineBuild:
    """One engine to be built."""

    onnx: Path
    cache: EngineCache
    precision: Precision
    profile: BatchProfile
    options: BuildOptions
    timeout_s: float

    def command(self) -> list[str]:
        """Return the words of the call."""
        return [
            sys.executable, "-m", "agent.infer.engine_build", str(self.onnx.resolve()),
            "--cache", str(self.cache.folder.resolve()),
            "--precision", self.precision,
            "--batch", str(self.profile.tuned), str(self.profile.largest),
            "--workspace-mib", str(self.options.workspace_mib),
            "--optimization-level", str(self.options.optimization_level),
            "--timeout", str(self.timeout_s),
        ]  # fmt: skip


class Builder:
    """Runs builds one after the other; `stop` may come from another thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def run(self, build: EngineBuild, tell: Callable[[dict[str, Any]], None]) -> None:
        """Build one engine, or find that the cache has it; hear of progress.

        Raises:
            RuntimeUnavailableError: no GPU or no TensorRT.
            EngineError: the build failed, was killed, took too long or was stopped.
        """
        # from an empty folder: `-m` puts the current one first on the path
        with tempfile.TemporaryDirectory(prefix="engine-") as empty, tempfile.TemporaryFile("w+") as faults:
            process = subprocess.Popen(  # noqa: S603 - our own module
                build.command(), cwd=empty, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=faults, text=True
            )
            self._process = process
            first_to_go(process.pid)
            if self._stopped:
                process.kill()
            try:
                for line in process.stdout or ():
                    if line.startswith("{"):  # TensorRT itself may print something else
                        tell(json.loads(line))
                code = process.wait(GRACE_S)  # it has said its last word
            except subprocess.TimeoutExpired:
                code = -signal.SIGALRM
            finally:
                process.kill()
                process.wait()
                if process.stdout:
                    process.stdout.close()
                self._process = None
            faults.seek(0)
            said = faults.read().strip().removeprefix("engine_build: ")
        if code == 0:
            return
        if self._stopped:
            raise EngineError("the engine's build was stopped")
        if code == RuntimeUnavailableError.exit_code:
            raise RuntimeUnavailableError(said)
        raise EngineError(_ending(code, said, build.timeout_s))

    def stop(self) -> None:
        """End the build that runs, and begin no other."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()


def log_progress(event: dict[str, Any]) -> None:
    """Log the progress of a build: a silent one looks like a crash."""
    if event["stage"] == "build" and "done" not in event:
        logger.warning("building TensorRT's engine of %s; this takes minutes", event.get("network"))
    elif event["stage"] in {"built", "rebuild", "quarantine"}:
        logger.info("engine: %s", ", ".join(f"{name} {value}" for name, value in event.items()))
    else:
        logger.debug("engine: %s", event)


def first_to_go(pid: int) -> None:
    """Let the kernel end this process first when memory runs out: a build can be repeated, a flight cannot."""
    with suppress(OSError):  # it is over already
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def _ending(code: int, said: str, timeout_s: float) -> str:
    if code == -signal.SIGALRM:
        return f"the engine's build took longer than {timeout_s:.0f} s and was ended; raise runtime.engine.timeout_s"
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the system ran out of memory, lower runtime.engine.workspace_mib" if name == "SIGKILL" else ""
        return f"the engine's build was ended by {name}{hint} {said[-500:]}".rstrip()
    return said[-2000:] or f"the engine's build ended with code {code}"
