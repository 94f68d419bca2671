from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic import Field, create_model

from agent.contract import schema_files
from agent.contract.reports import REPORTS, ConnectionReport, CrackReport, Topic

CRACK: dict[str, Any] = {
    "schema": "crack/1",
    "device": "cart",
    "ts": 1,
    "time": "1970-01-01T00:00:00.001Z",
    "id": "a",
    "seq": 1,
    "boot_id": "b",
    "mission_id": "m",
    "crack_id": "c",
    "event": "new",
    "revision": 0,
    "mode": "replay",
    "kind": "crack",
    "clock_synced": False,
    "camera": "crown",
    "frame": 3,
    "severity": "ungraded",
    "gradable": True,
    "not_gradable_reason": None,
    "confidence": 0.5,
    "width_mm": None,
    "width_p50_mm": None,
    "width_max_mm": None,
    "length_mm": None,
    "area_mm2": None,
    "orientation_deg": None,
    "width_px": 2.5,
    "length_px": 30.0,
    "scale_mm_px": None,
    "scale_source": "none",
    "bbox_x": 0,
    "bbox_y": 0,
    "bbox_w": 1,
    "bbox_h": 1,
    "bundle": "0123456789ab",
}


@pytest.fixture
def crack_schema() -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema_files.path("crack").read_text()))


@pytest.mark.parametrize("topic", REPORTS)
def test_the_shipped_file_is_the_models_schema(topic: Topic) -> None:
    shipped = schema_files.path(topic).read_text(encoding="utf-8")
    assert shipped == schema_files.text(topic), "write them again: python -m agent.contract.schema_files"


def test_no_other_file_is_shipped() -> None:
    assert {path.name for path in schema_files.FOLDER.iterdir()} == {f"{topic}.schema.json" for topic in REPORTS}


@pytest.mark.parametrize("topic", REPORTS)
def test_each_schema_is_valid_2020_12_and_names_its_version(topic: Topic) -> None:
    schema = schema_files.schema(topic)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:crackscout:schema:{topic}:1"
    assert schema["properties"]["schema"]["const"] == f"{topic}/1"
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("topic", REPORTS)
def test_payloads_are_flat_since_grafana_reads_top_level_keys_only(topic: Topic) -> None:
    for name, field in schema_files.schema(topic)["properties"].items():
        kinds = {field.get("type")} | {choice.get("type") for choice in field.get("anyOf", ())}
        assert "object" not in kinds, name
        assert "$ref" not in field, name


def test_a_crack_by_hand_is_valid(crack_schema: Draft202012Validator) -> None:
    crack_schema.validate(CRACK)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("schema", "crack/2", id="another version"),
        pytest.param("severity", "bad", id="no such severity"),
        pytest.param("width_mm", -1, id="a negative width"),
        pytest.param("confidence", 1.5, id="more than certain"),
        pytest.param("ts", "now", id="a time in words"),
        pytest.param("bbox_w", 0, id="an empty box"),
    ],
)
def test_a_crack_with_a_wrong_value_is_not(crack_schema: Draft202012Validator, field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        crack_schema.validate({**CRACK, field: value})


@pytest.mark.parametrize("field", ["schema", "id", "crack_id", "revision", "width_mm", "scale_source"])
def test_a_crack_without_a_required_field_is_not(crack_schema: Draft202012Validator, field: str) -> None:
    with pytest.raises(ValidationError):
        crack_schema.validate({name: value for name, value in CRACK.items() if name != field})


class TestLaterVersions:
    """Within version 1, fields may be added if they are optional."""

    @pytest.fixture
    def later(self) -> type[CrackReport]:
        """A crack report as a later agent may send it."""
        return create_model("CrackReport", __base__=CrackReport, depth_mm=(float | None, Field(default=None)))

    def test_todays_reader_survives_an_added_optional_field(
        self, crack_schema: Draft202012Validator, later: type[CrackReport]
    ) -> None:
        sent = later.model_validate({**CRACK, "depth_mm": 3.0}).model_dump(mode="json", by_alias=True)
        assert sent["depth_mm"] == 3.0
        crack_schema.validate(sent)
        assert CrackReport.model_validate(sent) == CrackReport.model_validate(CRACK)

    def test_a_later_reader_accepts_what_today_is_sent(self, later: type[CrackReport]) -> None:
        Draft202012Validator(later.model_json_schema(by_alias=True)).validate(CRACK)


def test_schemas_can_be_written_anywhere(tmp_path: Any) -> None:
    written = schema_files.write(tmp_path)
    assert [path.name for path in written] == [f"{topic}.schema.json" for topic in REPORTS]
    connection = json.loads((tmp_path / "connection.schema.json").read_text())
    Draft202012Validator(connection).validate(
        ConnectionReport(status="online", device="cart").model_dump(mode="json", by_alias=True)
    )
