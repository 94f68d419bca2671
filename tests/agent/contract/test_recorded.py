"""Today's readers read what the first agent of each schema version wrote; see `tests/recorded`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from agent import settings
from agent.contract import schema_files
from agent.contract.bundle import BUNDLE_SCHEMA, load_bundle
from agent.contract.certificate import Certificate
from agent.contract.flight import Coverage, FlightHeader
from agent.contract.reports import REPORTS, Topic
from agent.record import read_flight
from agent.record.reviews import Reviews
from tests.support.commands import crack

RECORDED = Path(__file__).resolve().parents[2] / "recorded"
VERSIONS = sorted(path for path in RECORDED.iterdir() if path.is_dir())


@pytest.fixture(params=VERSIONS, ids=[path.name for path in VERSIONS])
def version(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def topic_of(schema: str) -> Topic:
    return next(topic for topic in REPORTS if topic == schema.split("/", maxsplit=1)[0])


def test_messages(version: Path) -> None:
    lines = [json.loads(line) for line in (version / "messages.jsonl").read_text().splitlines()]
    seen = set()
    for line in lines:
        payload = line["payload"]
        topic = topic_of(payload["schema"])
        report = REPORTS[topic].model_validate(payload)
        Draft202012Validator(schema_files.schema(topic)).validate(payload)
        again = report.model_dump(mode="json", by_alias=True)
        assert {name: again[name] for name in payload} == payload, "nothing is lost on the way"
        seen.add(topic)
    assert seen == set(REPORTS)
    reviewed = [line["payload"] for line in lines if line["payload"].get("review_id")]
    assert {payload["review"] for payload in reviewed} == {"rejected"}


def test_settings(version: Path) -> None:
    """All that there was, with its defaults."""
    loaded = settings.load(version / "device.yaml")
    assert (loaded.version, loaded.mqtt.protocol, loaded.mqtt.qos) == (1, "5", 1)


def test_settings_by_hand(version: Path) -> None:
    written = yaml.safe_load((version / "cart.yaml").read_text())
    graded = written.pop("severity")
    loaded = settings.load(version / "cart.yaml")
    assert_within(written, loaded.model_dump(mode="json"))
    assert loaded.severity.name == written["mission"]["standard"] != graded["standard"], "the mission's goes before"


def assert_within(some: Any, whole: Any) -> None:
    """Whatever was written is what holds; paths are relative to nothing."""
    if isinstance(some, dict):
        for name, value in some.items():
            assert_within(value, whole[name])
    elif isinstance(some, list):
        assert len(some) == len(whole)
        for one, other in zip(some, whole, strict=True):
            assert_within(one, other)
    else:
        assert some == whole


def test_a_flight_record(version: Path) -> None:
    record = read_flight(version / "record")
    assert (record.header.frames, record.header.skipped, record.header.cracks) == (2, 1, 2)
    assert [row.status for row in record.frames()].count("inferred") == 2
    assert [round(row.length_mm or 0) for row in record.cracks()] == [60, 60]


def test_a_live_flight_record_with_all_its_files(version: Path) -> None:
    record = read_flight(version / "live-record")
    header = record.header
    assert (header.mode, header.structure, header.standard) == ("live", "Pier 4", "aci-224r humid")
    assert (header.frames, header.sightings, header.cracks, record.torn_lines) == (11, 20, 5, 0)
    events = list(record.tracks())
    assert {row.event for row in events} == {"new", "update", "final"}
    told = {crack.crack_id for _, crack in record.whole_cracks()}
    assert told == {row.crack_id for row in events}
    coverage = record.coverage()
    assert coverage is not None
    assert coverage.inspected_m2 is not None or coverage.unscaled_frames or coverage.unplaced_inspected_m2
    reviews = Reviews(version / "live-record")
    verdict, undo = reviews.rows
    assert (verdict.verdict, verdict.reviewer, verdict.note) == ("rejected", "B", "a cable")
    assert undo.undo == verdict.id
    assert reviews.of(verdict.crack_id).verdict is None


def test_a_certificate(version: Path) -> None:
    certificate = Certificate.model_validate_json((version / "certificate.json").read_bytes())
    assert {one.variant for one in certificate.measured} >= {"fp32"}


def test_a_bundle(version: Path) -> None:
    assert load_bundle(version / "bundle").manifest.name == "tiny"


def test_a_flight_record_replays_by_its_bundle(version: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = crack("crack-agent", "replay", version / "record", "--bundle", version / "bundle", "--out", out)
    assert done.returncode == 0, done.stderr
    assert read_flight(out).header.cracks == 2


def test_every_schema_version_up_to_todays_is_recorded() -> None:
    """Whoever raises a version records what the first agent of it writes; the older samples stay."""
    written = "".join(
        path.read_text() for path in RECORDED.rglob("*") if path.suffix in {".json", ".jsonl", ".yaml"}
    ).replace(" ", "")
    models: list[type[BaseModel]] = [*REPORTS.values(), FlightHeader, Coverage, Certificate]
    read = {
        BUNDLE_SCHEMA,
        *(schema for model in models for schema in get_args(model.model_fields["schema_"].annotation)),
    }
    assert len(read) >= len(models), "only the two coverages share a name"
    for schema in read:
        name, newest = schema.split("/")
        for number in range(1, int(newest) + 1):
            assert f'"schema":"{name}/{number}"' in written, f"{name}/{number}"
    for number in range(1, settings.Settings().version + 1):
        assert f"\nversion:{number}\n" in written
