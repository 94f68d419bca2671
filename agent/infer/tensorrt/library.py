"""The TensorRT library: found, of a version that we know, and with a logger that keeps what it says.

Only names that are in 10.3, 10.13, 10.16 and 11.4 are used in this folder and in `agent.infer.engine_build`; a test
reads them from the code and looks for each in the real bindings. So that it can, every TensorRT object is annotated.
"""

from __future__ import annotations

import platform
from collections import deque
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from agent.contract.engine import Machine
from agent.errors import RuntimeUnavailableError
from agent.infer.cuda.probe import probe

if TYPE_CHECKING:
    import tensorrt as trt

OLDEST: Final = (10, 3)
BOARD_FILE: Final = Path("/proc/device-tree/model")
LOG_LINES: Final = 50  # of the newest, in an error's text


def find_tensorrt() -> ModuleType:
    """Import TensorRT once the GPU has answered: without one its next call would end the process.

    Raises:
        RuntimeUnavailableError: no GPU, no TensorRT, or one that is too old.
    """
    probe()
    try:
        library = import_module("tensorrt")
    except ImportError as exc:
        raise RuntimeUnavailableError(
            f"TensorRT is not installed for this Python ({exc}); on a Jetson it comes with JetPack: "
            "make the virtual environment with --system-site-packages"
        ) from exc
    version = tuple(int(part) for part in library.__version__.split(".")[:2])
    if version < OLDEST:
        raise RuntimeUnavailableError(
            f"TensorRT {library.__version__} is too old, {OLDEST[0]}.{OLDEST[1]} or newer is needed; update JetPack"
        )
    return library


def this_machine(tensorrt_version: str) -> Machine:
    """Return what engines are bound to on this machine.

    Raises:
        RuntimeUnavailableError: no GPU.
    """
    gpu = probe()
    try:
        release = platform.freedesktop_os_release()
        system = f"{release['ID']} {release.get('VERSION_ID', '')}".strip()
    except OSError:
        system = f"{platform.system()} {platform.release()}".lower()
    try:
        board = BOARD_FILE.read_text(encoding="utf-8").rstrip("\0\n") or None
    except (OSError, UnicodeDecodeError):
        board = None
    return Machine(
        tensorrt=tensorrt_version,
        cuda=".".join(map(str, gpu.cuda)),
        gpu=gpu.name,
        compute_capability=".".join(map(str, gpu.compute_capability)),
        multiprocessors=gpu.multiprocessors,
        board=board,
        system=system,
        architecture=platform.machine(),
    )


class Log:
    """What TensorRT said: it gives None where it fails, and tells the reason only to its logger."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self.logger: trt.ILogger = _capturing_logger(self.lines)

    @property
    def reason(self) -> str:
        """The newest lines, on one line."""
        return "; ".join(list(self.lines)[-3:]) or "TensorRT gave no reason"


def _capturing_logger(lines: deque[str]) -> Any:  # noqa: ANN401 - a class that exists only where TensorRT does
    import tensorrt as trt  # noqa: PLC0415 - only where it was found

    class Capturing(trt.ILogger):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, text: str) -> None:
            if severity in {trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR}:
                lines.append(text.strip())

    return Capturing()
