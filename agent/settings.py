"""The device's settings: one YAML file, the environment, the command line.

Precedence: command line > environment (`CRACKSCOUT_MQTT__HOST`) > file > default. Every fault is reported at once, each
with the place it stands at: `device.yaml:5:3: mqtt.qso: not a setting; did you mean 'qos'?`. Passwords never become
settings, so no dump, record or log can hold one: see `mqtt_password`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from agent import strict_yaml
from agent.capture.settings import CameraSettings, CaptureSettings
from agent.contract.bundle import Precision
from agent.contract.ids import SEGMENT_PATTERN
from agent.contract.strict import Section
from agent.dashboard.settings import DashboardSettings
from agent.deliver.settings import DeliverySettings, MissionSettings
from agent.detect.settings import PreGateSettings
from agent.errors import ConfigError
from agent.health.settings import HeatSettings, MetricsSettings
from agent.infer.backend import RuntimeName
from agent.infer.settings import EngineSettings
from agent.measure.settings import MeasureSettings
from agent.place.settings import PlaceSettings
from agent.record.settings import RecordSettings
from agent.settings_faults import origin_of, section_of, text_of
from agent.severity.settings import SeveritySettings, severity_of
from agent.strict_yaml import Keys, Place
from agent.track.settings import CoverageSettings, TrackSettings

ENVIRONMENT_PREFIX: Final = "CRACKSCOUT_"
PASSWORD_VARIABLE: Final = "CRACKSCOUT_MQTT__PASSWORD"  # noqa: S105 - a variable's name
TOKEN_VARIABLE: Final = "CRACKSCOUT_DASHBOARD__TOKEN"  # noqa: S105 - a variable's name
SECRET_VARIABLES: Final = {PASSWORD_VARIABLE, TOKEN_VARIABLE}
SECRETS: Final[dict[Keys, str]] = {
    ("mqtt", "password"): f"a password does not belong here; use mqtt.password_file or ${PASSWORD_VARIABLE}",
    ("dashboard", "token"): f"a token does not belong here; use dashboard.token_file or ${TOKEN_VARIABLE}",
}
CREDENTIAL_NAME: Final = "mqtt_password"

Segment = Annotated[str, Field(pattern=SEGMENT_PATTERN)]
Unit = Annotated[float, Field(ge=0, le=1)]


def _resolvable(host: str) -> str:
    """Refuse what the resolver would stumble over later, in a thread that nobody watches."""
    try:
        host.encode("idna")
    except UnicodeError:
        host = ""
    if not re.fullmatch(r"[^\s/\x00-\x20\x7f]+", host):
        raise ValueError("must be the name or address of a host, without port or path")
    return host


class RuntimeSettings(Section):
    """What the networks run on."""

    name: RuntimeName = Field(
        default="onnxruntime",
        description=f"The runtime that infers: {', '.join(get_args(RuntimeName))}; "
        "auto is tensorrt where it is installed, else onnxruntime.",
    )
    variant: Precision = Field(default="fp32", description="Which variant of the bundle's networks.")
    workers: int | None = Field(
        default=None, ge=1, le=64, description="Tiles inferred at the same time; null: one per CPU core."
    )
    engine: EngineSettings = EngineSettings()


class DetectSettings(Section):
    """How a frame becomes a probability map."""

    gate: bool = Field(default=True, description="Skip tiles in which the bundle's gate sees no crack.")
    gate_threshold: Unit | None = Field(default=None, description="On the gate's probability; null: the bundle's.")
    segmenter_threshold: Unit | None = Field(
        default=None, description="On the probability of a pixel; null: the bundle's."
    )
    pre_gate: PreGateSettings = PreGateSettings()
    memory_mb: int = Field(
        default=2048,
        ge=64,
        description="Memory of the frames in work, all cameras together, MiB, the networks' own not counted; "
        "a frame that needs more alone is skipped and counted.",
    )


class TlsSettings(Section):
    """Encryption on the way to the broker."""

    enabled: bool = Field(default=False, description="Encrypt, and check the broker's certificate and name.")
    ca_file: Path | None = Field(
        default=None, description="Who signs the broker's certificate; null: the system's list."
    )
    cert_file: Path | None = Field(default=None, description="Our own certificate, where the broker asks for one.")
    key_file: Path | None = Field(default=None, description="Its key, without a passphrase.")

    @model_validator(mode="after")
    def _a_pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together; set both or none")
        return self


class MqttSettings(Section):
    """Where reports go. The password is no setting: see `mqtt_password`."""

    host: Annotated[str, AfterValidator(_resolvable)] | None = Field(
        default=None, description="The broker; null: reports are kept in the outbox only."
    )
    port: int = Field(default=1883, ge=1, le=65535, description="1883, or 8883 with TLS.")
    prefix: str = Field(
        default="crackscout",
        max_length=256,
        pattern=f"{SEGMENT_PATTERN[:-1]}(/{SEGMENT_PATTERN[1:-1]})*$",
        description="Topics are <prefix>/v1/<device>/...",
    )
    protocol: Literal["5", "3.1.1"] = Field(
        default="5", description="MQTT version. Under 3.1.1 a topic that the broker forbids is lost without a word."
    )
    transport: Literal["tcp", "websockets"] = Field(default="tcp", description="What MQTT goes over.")
    websocket_path: str = Field(default="/mqtt", pattern=r"^/[!-~]*$", max_length=256, description="Of websockets.")
    qos: Literal[1] = Field(default=1, description="Reports arrive at least once.")
    home_assistant: bool = Field(default=False, description="Let Home Assistant find the device.")
    home_assistant_prefix: Annotated[str, Field(pattern=SEGMENT_PATTERN)] = Field(
        default="homeassistant", description="Where it looks for devices."
    )
    keepalive: int = Field(default=15, ge=5, le=3600, description="Seconds of silence after which to probe the broker.")
    username: str | None = Field(default=None, min_length=1, max_length=1024, description="null: anonymous.")
    password_file: Path | None = Field(
        default=None,
        description=f"Holds the password alone; ${PASSWORD_VARIABLE} goes before, "
        f"$CREDENTIALS_DIRECTORY/{CREDENTIAL_NAME} after it.",
    )
    tls: TlsSettings = TlsSettings()

    @field_validator("protocol", mode="before")
    @classmethod
    def _a_version_may_look_like_a_number(cls, value: object) -> object:
        return "5" if value == 5 and not isinstance(value, bool) else value


class LoggingSettings(Section):
    """What the agent says about itself, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is said.")
    format: Literal["text", "json"] = Field(default="text", description="One line of text or one JSON object each.")


class Settings(Section):
    """All settings of a device."""

    version: Literal[1] = Field(default=1, description="Of this file's layout.")
    device: Segment = Field(default="crackscout", description="As topics call it: a-z, 0-9, _ and -, at most 64.")
    bundle: str = Field(default="default", min_length=1, description="A shipped bundle's name, or a bundle's folder.")
    runtime: RuntimeSettings = RuntimeSettings()
    cameras: tuple[CameraSettings, ...] = Field(default=(), description="What `run` watches.")
    capture: CaptureSettings = CaptureSettings()
    heat: HeatSettings = HeatSettings()
    detect: DetectSettings = DetectSettings()
    measure: MeasureSettings = MeasureSettings()
    severity: SeveritySettings = SeveritySettings()
    place: PlaceSettings = PlaceSettings()
    track: TrackSettings = TrackSettings()
    coverage: CoverageSettings = CoverageSettings()
    record: RecordSettings = RecordSettings()
    mqtt: MqttSettings = MqttSettings()
    delivery: DeliverySettings = DeliverySettings()
    mission: MissionSettings = MissionSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    dashboard: DashboardSettings = DashboardSettings()

    @model_validator(mode="after")
    def _a_mission_is_graded_by_its_standard(self) -> Self:
        if self.mission.standard is not None:
            object.__setattr__(self, "severity", severity_of(self.mission.standard))  # not to be changed later
        return self

    @model_validator(mode="after")
    def _cameras_differ(self) -> Self:
        names = [camera.name for camera in self.cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"cameras: the name {twice[0]!r} is given twice; reports could not tell them apart")
        first: dict[str, str] = {}
        for camera in self.cameras:
            other = first.setdefault(camera.identity, camera.name)
            if other != camera.name:
                raise ValueError(
                    f"cameras: {other!r} and {camera.name!r} have one source, {camera.shown}; "
                    "it would be seen twice, and a device can be opened once only"
                )
        return self

    def public(self) -> dict[str, Any]:
        """Return everything as JSON types, without secrets: for records, hashes and prints."""
        return self.model_dump(mode="json")


def load(
    path: Path | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Read the settings. Relative paths in them are relative to the current folder.

    Args:
        path: the YAML file; None takes the defaults.
        environment: the process's environment; only variables that begin with CRACKSCOUT_ are looked at. `__` parts the
            levels; an empty value is null.
        overrides: from the command line, by dotted name: `{"mqtt.host": "broker.local"}`.

    Raises:
        ConfigError: everything that does not fit, one line each.
    """
    file = strict_yaml.read(path) if path else None
    values = file.values if file else {}
    faults: list[tuple[Place | str, str]] = [*file.faults] if file else []
    if file and "version" not in values:
        faults.append((Place(str(path), 1, 1), "version: missing; begin the file with 'version: 1'"))
    origins: dict[Keys, str] = {}
    for keys, value, origin in (*_from_environment(environment or {}), *_from_overrides(overrides or {})):
        _put(values, keys, value)
        origins[keys] = origin
    try:
        settings = Settings.model_validate(_without_empty_sections(values, Settings))
    except ValidationError as exc:
        told = {place for place, _ in faults}
        found = [
            (origin_of(error["loc"], error["type"], file, origins), text_of(error, Settings, secrets=SECRETS))
            for error in exc.errors()
        ]
        faults += [fault for fault in found if fault[0] not in told]
    if faults:
        faults.sort(key=lambda fault: (isinstance(fault[0], str), fault[0]))
        raise ConfigError("\n".join(f"{origin}: {text}" for origin, text in faults))
    return settings


def load_usable(path: Path, *, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, and of a file that does not fit what can be used: the sections that are fine by themselves.

    For what a service in safe mode says, and for the commands that it hears: they must not be lost over a fault
    elsewhere. Nothing else may run on what this returns. Never raises because of what the file holds.
    """
    try:
        return load(path, environment=environment)
    except ConfigError:
        pass
    try:
        values = strict_yaml.read(path).values
    except ConfigError:
        values = {}
    for keys, value, _ in _from_environment(environment or {}):
        _put(values, keys, value)
    usable: dict[str, Any] = {}
    # who we are, the broker and the outbox belong together: half of them would speak under another name
    for names in (("logging",), ("metrics",), ("dashboard",), ("record",), ("device", "mqtt", "delivery")):
        part = _without_empty_sections({name: values[name] for name in names if name in values}, Settings)
        try:
            Settings.model_validate(part)
        except ValidationError:
            continue
        usable |= part
    return Settings.model_validate(usable)


def mqtt_password(mqtt: MqttSettings, environment: Mapping[str, str]) -> SecretStr | None:
    """Return the broker's password: from the environment, else `mqtt.password_file`, else systemd's credentials.

    Raises:
        ConfigError: the file cannot be read, or is not one line of text.
    """
    if environment.get(PASSWORD_VARIABLE):
        return SecretStr(environment[PASSWORD_VARIABLE])
    path = mqtt.password_file
    if path is None:
        credentials = environment.get("CREDENTIALS_DIRECTORY")
        path = Path(credentials, CREDENTIAL_NAME) if credentials else None
        if path is None or not path.is_file():
            return None
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: the broker's password cannot be read ({why}); see mqtt.password_file") from exc
    if not text or not text.isprintable():
        raise ConfigError(f"{path}: must hold the broker's password alone, on one line")
    return SecretStr(text)


def dump(settings: Settings) -> str:
    """Return the settings as a YAML file that `load` reads, each below its meaning; without secrets."""
    return strict_yaml.explained(settings, settings.public())


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[Keys, str | None, str]]:
    for name, value in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in SECRET_VARIABLES:
            keys = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
            yield keys, value or None, f"environment {name}"


def _from_overrides(overrides: Mapping[str, object]) -> Iterator[tuple[Keys, object, str]]:
    for name, value in overrides.items():
        yield tuple(name.split(".")), value, "command line"


def _put(values: dict[str, Any], keys: Keys, value: object) -> None:
    """Set a value; where the file has no mapping in its way, the file's own fault will be told."""
    *parents, last = keys
    for key in parents:
        if values.get(str(key)) is None:
            values[str(key)] = {}
        values = values[str(key)]
        if not isinstance(values, dict):
            return
    values[str(last)] = value


def _without_empty_sections(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Take a section of which only the name is left (`mqtt:`) for absent."""
    kept = {}
    for name, value in values.items():
        section = section_of(model, name)
        if section and isinstance(value, dict):
            kept[name] = _without_empty_sections(value, section)
        elif not section or value is not None:
            kept[name] = value
    return kept
