"""A TensorRT engine is a cache entry: built on the device, found by a key over everything that it depends on.

An engine runs only on the GPU, TensorRT and driver that it was built for, and answers as the weights that it was built
from. The key holds all of that, so that a retrained bundle or an updated system is another engine, never a stale one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from agent.contract.certificate import Precision, Sha256
from agent.contract.strict import Strict

BUILDER_VERSION: Final = 1  # of agent.infer.engine_build: raise it when the same inputs make another engine
ENGINE_SUFFIX: Final = ".engine"
RECORD_SUFFIX: Final = ".json"


class BatchProfile(Strict):
    """The batch sizes that an engine takes, and the one that it is tuned for."""

    smallest: int = Field(default=1, ge=1)
    tuned: int = Field(default=4, ge=1)
    largest: int = Field(default=8, ge=1, le=256)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.smallest <= self.tuned <= self.largest:
            raise ValueError(f"batch {self.smallest} <= {self.tuned} <= {self.largest} does not hold")
        return self


class BuildOptions(Strict):
    """What the builder is told, as far as it changes the engine."""

    workspace_mib: int = Field(default=1024, ge=16, description="Most scratch memory that a tactic may take, MiB.")
    optimization_level: int = Field(default=3, ge=0, le=5, description="0 builds fastest, 5 runs fastest.")


class Machine(Strict):
    """What an engine is bound to besides the network."""

    tensorrt: str = Field(min_length=1, description="Full version, for instance 10.3.0.")
    cuda: str = Field(pattern=r"^\d+\.\d+$", description="The newest CUDA that the driver runs, for instance 12.6.")
    gpu: str = Field(min_length=1, description="Its name as CUDA has it.")
    compute_capability: str = Field(pattern=r"^\d+\.\d+$")
    multiprocessors: int = Field(ge=1)
    board: str | None = Field(description="A Jetson's model, from the device tree; None elsewhere.")
    system: str = Field(min_length=1, description="Operating system and its version, for instance `ubuntu 22.04`.")
    architecture: str = Field(min_length=1, description="x86_64 or aarch64.")


class EngineKey(Strict):
    """Everything that an engine depends on. Two keys are equal exactly if one engine serves both."""

    schema_: Literal["engine/1"] = Field(default="engine/1", alias="schema")
    onnx_sha256: Sha256
    precision: Precision
    profile: BatchProfile
    options: BuildOptions
    machine: Machine
    dla_core: int | None = Field(default=None, ge=0, description="None: the GPU; builds for a DLA are not offered yet.")
    builder: int = Field(default=BUILDER_VERSION, ge=1)

    @property
    def digest(self) -> str:
        """sha256 over all fields, 64 hexadecimal digits: the cache entry's name."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class EngineGolden(Strict):
    """How a bundle on these engines answered its golden tiles, when they were loaded last on this device.

    Against torch's answers. Of a faulty engine too, whose figures may lie outside every range.
    """

    bundle: str = Field(description="Name and the first digits of its sha256: a network may be in several bundles.")
    passed: bool = Field(description="Within what the certificate's limits allow the variant.")
    tiles: int = Field(ge=1)
    max_difference: int = Field(description="Levels of 255.")
    flipped_share: float = Field(description="Of the pixels, that change sides of the threshold.")
    max_gate_difference: float | None = Field(description="Of the probability; None without a gate, or if no number.")


class EngineRecord(Strict):
    """`<key>.json`, beside `<key>.engine`: metadata in front of the plan would keep other tools from reading it."""

    key: EngineKey
    plan_sha256: Sha256 = Field(description="A plan is executable code: checked before it is given to TensorRT.")
    plan_bytes: int = Field(ge=1)
    build_seconds: float = Field(ge=0)
    golden: EngineGolden | None = Field(default=None, description="None until the engine was loaded once.")
