from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agent import settings
from agent.capture.settings import CameraSettings
from agent.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parents[2] / "configs" / "agent" / "device.yaml"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return tmp_path / "device.yaml"


def faults(path: Path, text: str, environment: Mapping[str, str] | None = None, **overrides: object) -> list[str]:
    """The faults of a file, each without the folder."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings.load(path, environment=environment, overrides=overrides)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def test_the_example_loads_and_names_every_camera() -> None:
    loaded = settings.load(EXAMPLE)
    assert [camera.name for camera in loaded.cameras] == ["crown"]
    assert loaded.mqtt.host is None


def test_without_a_file_the_defaults_hold_and_nothing_is_published() -> None:
    assert settings.load() == settings.Settings()
    assert settings.load().mqtt.host is None


def test_an_empty_section_is_the_default_one(device: Path) -> None:
    device.write_text("version: 1\nmqtt:\ncameras:\nruntime:\n  workers:\n")
    assert settings.load(device) == settings.Settings()


def test_the_command_line_goes_before_the_environment_before_the_file_before_the_default(device: Path) -> None:
    device.write_text("version: 1\nmqtt: {host: file, port: 1, keepalive: 20}\n")
    environment = {"CRACKSCOUT_MQTT__HOST": "environment", "CRACKSCOUT_MQTT__PORT": "2", "HOME": "/"}
    loaded = settings.load(device, environment=environment, overrides={"mqtt.host": "option"}).mqtt
    assert (loaded.host, loaded.port, loaded.keepalive, loaded.prefix) == ("option", 2, 20, "crackscout")


def test_an_empty_variable_is_null(device: Path) -> None:
    device.write_text("version: 1\nmqtt: {host: file}\n")
    assert settings.load(device, environment={"CRACKSCOUT_MQTT__HOST": ""}).mqtt.host is None


def test_an_unknown_setting_names_its_place_and_the_one_that_was_meant(device: Path) -> None:
    text = "version: 1\ncameras: []\nmqtt:\n  host: h\n  qso: 1\n"
    assert faults(device, text) == ["device.yaml:5:3: mqtt.qso: not a setting; did you mean 'qos'?"]


def test_an_unknown_setting_unlike_any_other_lists_what_there_is(device: Path) -> None:
    (fault,) = faults(device, "version: 1\nlogging:\n  zzz: 1\n")
    assert fault == "device.yaml:3:3: logging.zzz: not a setting; there are level, format"


def test_all_faults_are_told_at_once_in_the_order_of_the_file_then_of_the_other_sources(device: Path) -> None:
    text = "version: 1\ndevice: no\nmqtt:\n  port: 70000\nbundel: x\n"
    assert faults(device, text, {"CRACKSCOUT_LOGGING__FORMAT": "xml"}, **{"record.frames": "some"}) == [
        "device.yaml:2:9: device: readers of YAML differ on no; write true or false, or 'no' in quotes for text",
        "device.yaml:4:9: mqtt.port: 70000 does not fit: it should be less than or equal to 65535",
        "device.yaml:5:1: bundel: not a setting; did you mean 'bundle'?",
        "command line: record.frames: 'some' does not fit: it should be 'none', 'evidence' or 'all'",
        "environment CRACKSCOUT_LOGGING__FORMAT: logging.format: 'xml' does not fit: it should be 'text' or 'json'",
    ]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("mqtt: {host: no}", id="Norway: a switch in YAML 1.1"),
        pytest.param("mqtt: {host: On}", id="another switch"),
        pytest.param("detect: {gate: yes}", id="a switch that YAML 1.2 reads as text"),
        pytest.param("mqtt: {port: 0o17}", id="octal in YAML 1.2, text in 1.1"),
        pytest.param("mqtt: {port: 017}", id="octal in YAML 1.1, 17 in 1.2"),
        pytest.param("mqtt: {port: 1_883}", id="a number in YAML 1.1 only"),
        pytest.param("mqtt: {port: 12:30}", id="sexagesimal, 750 in YAML 1.1"),
        pytest.param("mqtt: {username: 2024-01-01}", id="a date in YAML 1.1"),
        pytest.param("mqtt: {username: !!binary aGk=}", id="a tag"),
    ],
)
def test_what_yaml_readers_differ_on_is_a_fault_and_told_once(device: Path, line: str) -> None:
    (fault,) = faults(device, f"version: 1\n{line}\n")
    assert "readers of YAML differ on" in fault


def test_quotes_settle_what_is_text(device: Path) -> None:
    device.write_text("version: 1\ndevice: 'no'\nmqtt: {username: '017', host: \"12:30\"}\n")
    loaded = settings.load(device)
    assert (loaded.device, loaded.mqtt.username, loaded.mqtt.host) == ("no", "017", "12:30")


def test_a_number_with_an_exponent_is_a_number(device: Path) -> None:
    device.write_text("version: 1\ndetect: {gate_threshold: 1e-3}\n")
    assert settings.load(device).detect.gate_threshold == 1e-3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "version: 1\nmqtt:\n  port: 1\n  port: 2\n", "device.yaml:4:3: mqtt.port: given twice", id="twice"
        ),
        pytest.param(
            "mqtt: {}\n", "device.yaml:1:1: version: missing; begin the file with 'version: 1'", id="unversioned"
        ),
        pytest.param("version: 2\n", "device.yaml:1:10: version: 2 does not fit: it should be 1", id="a later version"),
        pytest.param(
            "version: 1\n5: x\n", "device.yaml:2:1: the name of a setting must be a word", id="a number as name"
        ),
        pytest.param("version: 1\nmqtt: 5\n", "device.yaml:2:7: mqtt: 5 does not fit: ", id="no section"),
        pytest.param(
            "version: 1\nmqtt: {port: true}\n", "device.yaml:2:14: mqtt.port: true is a switch", id="no number"
        ),
        pytest.param(
            "version: 1\nmqtt: {host: 'a..b'}\n", "device.yaml:2:14: mqtt.host: must be the name", id="empty label"
        ),
        pytest.param(
            "version: 1\nmqtt: {host: 'a b'}\n", "device.yaml:2:14: mqtt.host: must be the name", id="no host"
        ),
        pytest.param(
            'version: 1\nmqtt: {username: "\\ud800"}\n', "device.yaml:2:18: mqtt.username: ", id="lone surrogate"
        ),
        pytest.param(
            "version: 1\nmqtt: {prefix: /a}\n", "device.yaml:2:16: mqtt.prefix: '/a' does not fit", id="slash"
        ),
        pytest.param("version: 1\nmqtt: {prefix: 'a/#'}\n", "device.yaml:2:16: mqtt.prefix: 'a/#' does", id="wildcard"),
        pytest.param('version: 1\ndevice: "a\\n"\n', "device.yaml:2:9: device: 'a\\n' does not fit", id="line feed"),
        pytest.param(
            "version: 1\nmqtt: &m {port: 1}\nlogging: *m\n",
            "device.yaml:2:7: logging: repeated by an alias",
            id="alias",
        ),
        pytest.param(
            "version: 1\nmqtt: &m {a: *m}\n", "device.yaml:2:7: mqtt.a: repeated by an alias", id="endless alias"
        ),
        pytest.param(
            "version: 1\ncameras: [{name: a, source: x}, {name: a, source: y}]\n",
            "device.yaml:1:1: cameras: the name 'a' is given twice",
            id="two cameras of one name",
        ),
        pytest.param("version: 1\ncameras: [{name: a}]\n", "device.yaml:2:11: cameras[0].source: missing", id="a lack"),
        pytest.param("version: 1\nmqtt: {host: \n", "device.yaml:3:1: not YAML: ", id="cut off"),
        pytest.param("version: 1\n---\nversion: 1\n", "device.yaml:2:1: not YAML: ", id="two documents"),
        pytest.param("[" * 1500, "device.yaml: not YAML: nested too deeply", id="nested without end"),
        pytest.param("", "device.yaml:1:1: must be a mapping", id="empty"),
        pytest.param("- 1\n", "device.yaml:1:1: must be a mapping", id="a list"),
    ],
)
def test_a_file_that_does_not_fit_says_where_and_what(device: Path, text: str, expected: str) -> None:
    assert faults(device, text)[0].startswith(expected)


def test_a_file_that_is_not_text_says_so(device: Path) -> None:
    device.write_bytes(b"version: 1\ndevice: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        settings.load(device)


def test_a_file_that_is_not_there_says_so(device: Path) -> None:
    with pytest.raises(ConfigError, match=r"device.yaml: cannot be read \(No such file or directory\)"):
        settings.load(device)


def test_an_unknown_variable_or_option_is_a_fault(device: Path) -> None:
    assert faults(device, "version: 1\n", {"CRACKSCOUT_MQTT__PROT": "1"}, **{"runtime.thraeds": 1}) == [
        "command line: runtime.thraeds: not a setting; there are name, variant, workers, engine",
        "environment CRACKSCOUT_MQTT__PROT: mqtt.prot: not a setting; did you mean 'port'?",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("aci-224r humid", ("aci-224r", "humid"), id="with its category"),
        pytest.param("  aci-224r   humid ", ("aci-224r", "humid"), id="carelessly typed"),
        pytest.param("mlit-tunnel", ("mlit-tunnel", None), id="of which there is one only"),
        pytest.param("mlit-tunnel crown", ("mlit-tunnel", "crown"), id="of which there is one only, named"),
    ],
)
def test_a_missions_standard_grades_its_cracks_whatever_severity_says(
    device: Path, name: str, expected: tuple[str, str | None]
) -> None:
    device.write_text(
        f"version: 1\nseverity: {{standard: mlit-bridge, category: reinforced}}\nmission: {{standard: {name}}}"
    )
    loaded = settings.load(device)
    assert (loaded.severity.standard, loaded.severity.category) == expected
    assert loaded.mission.standard == loaded.severity.name
    assert settings.load(device, overrides={"mission.standard": None}).severity.name == "mlit-bridge reinforced"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ACI 224", "2:21: mission.standard: 'ACI' is no standard; there are aashto-mbei, aci-224r, "),
        ("aci-224r", "2:21: mission.standard: 'aci-224r' is no category of aci-224r; there are aci-224r dry-air, "),
        (
            "aci-224r dry",
            "2:21: mission.standard: 'aci-224r dry' is no category of aci-224r; there are aci-224r dry-air",
        ),
    ],
)
def test_an_unknown_standard_is_named_with_those_that_there_are(device: Path, name: str, expected: str) -> None:
    (fault,) = faults(device, f"version: 1\nmission: {{standard: {name}}}\n")
    assert fault.startswith(f"device.yaml:{expected}")


class TestSecrets:
    @pytest.fixture
    def mqtt(self) -> settings.MqttSettings:
        return settings.MqttSettings(host="h")

    def test_a_password_in_the_file_is_refused_and_not_repeated(self, device: Path) -> None:
        (fault,) = faults(device, "version: 1\nmqtt:\n  password: hunter2\n")
        assert fault.startswith("device.yaml:3:3: mqtt.password: a password does not belong here")
        assert "hunter2" not in fault

    def test_the_environment_goes_before_the_file_before_the_credentials(self, tmp_path: Path) -> None:
        (tmp_path / "own").write_text("from the file\n")
        (tmp_path / "mqtt_password").write_text("from systemd\n")
        mqtt = settings.MqttSettings(host="h", password_file=tmp_path / "own")
        credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        given = credentials | {settings.PASSWORD_VARIABLE: "from the environment"}
        for setting, environment, expected in (
            (mqtt, given, "from the environment"),
            (mqtt, credentials, "from the file"),
            (settings.MqttSettings(host="h"), credentials, "from systemd"),
        ):
            password = settings.mqtt_password(setting, environment)
            assert password is not None
            assert password.get_secret_value() == expected
            assert expected not in repr(password)

    def test_a_credential_that_systemd_did_not_bring_is_no_fault(
        self, mqtt: settings.MqttSettings, tmp_path: Path
    ) -> None:
        assert settings.mqtt_password(mqtt, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
        assert settings.mqtt_password(mqtt, {}) is None

    def test_a_password_file_that_is_named_but_absent_is_a_fault(self, tmp_path: Path) -> None:
        mqtt = settings.MqttSettings(host="h", password_file=tmp_path / "absent")
        with pytest.raises(ConfigError, match=r"absent: the broker's password cannot be read"):
            settings.mqtt_password(mqtt, {})

    @pytest.mark.parametrize("content", ["", "two\nlines\n", "nul\0"])
    def test_a_password_file_holds_the_password_alone(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "own").write_text(content)
        with pytest.raises(ConfigError, match="must hold the broker's password alone"):
            settings.mqtt_password(settings.MqttSettings(host="h", password_file=tmp_path / "own"), {})

    def test_the_password_in_a_cameras_url_is_in_no_dump_record_or_repr(self, device: Path) -> None:
        device.write_text("version: 1\ncameras: [{name: a, source: 'rtsp://user:hunter2@10.0.0.1/live'}]\n")
        loaded = settings.load(device, environment={settings.PASSWORD_VARIABLE: "hunter2"})
        assert loaded.cameras[0].source == "rtsp://user:hunter2@10.0.0.1/live"
        shown = settings.dump(loaded) + repr(loaded) + repr(loaded.public())
        assert "rtsp://user:***@10.0.0.1/live" in shown
        assert "hunter2" not in shown


class TestDump:
    def test_every_setting_is_there_with_its_meaning(self) -> None:
        text = settings.dump(settings.Settings())
        assert yaml.safe_load(text) == settings.Settings().public()
        assert '  # Which variant of the bundle\'s networks.\n  variant: "fp32"\n' in text

    @given(
        username=st.text(min_size=1, max_size=20),
        source=st.text(min_size=1, max_size=20).filter(lambda text: "://" not in text),
        scale=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        port=st.integers(1, 65535),
    )
    @hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_what_was_dumped_loads_again(
        self, device: Path, username: str, source: str, scale: float, port: int
    ) -> None:
        before = settings.Settings(
            mqtt=settings.MqttSettings(host="h", username=username, port=port),
            cameras=(CameraSettings(name="a", source=source, mm_per_px=scale),),
        )
        device.write_text(settings.dump(before), encoding="utf-8")
        assert settings.load(device) == before
