"""What a user may set about TensorRT engines."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agent.contract.strict import Strict


class EngineSettings(Strict):
    """TensorRT engines: built on this device, kept in a folder. Of no effect on other runtimes."""

    cache: Path = Field(default=Path("engines"), description="Where engines are kept; must be writable to build one.")
    workspace_mib: int = Field(
        default=1024, ge=16, le=65536, description="Most scratch memory of a tactic while building, MiB."
    )
    optimization_level: int = Field(default=3, ge=0, le=5, description="0 builds fastest, 5 gives the fastest engine.")
    timeout_s: float = Field(default=3600, ge=10, description="A build that takes longer is ended, s.")
    frame_on_gpu: bool = Field(
        default=True,
        description="Cut, reduce and stitch on the GPU: one upload and one download per frame. Needs NVRTC.",
    )
    cuda_graph: bool = Field(
        default=False, description="Where frame_on_gpu is off: record the network's launches once, replay them."
    )
