"""Today's readers read what the first agent of each schema version wrote; see `tests/recorded`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from agent import settings
from agent.contract import schema_files
from agent.contract.bundle import load_bundle
from agent.contract.reports import REPORTS, Topic
from agent.record import read_flight
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
    assert seen >= {"connection", "info", "state", "mission", "crack"}


def test_settings(version: Path) -> None:
    loaded = settings.load(version / "device.yaml")
    assert (loaded.version, loaded.mqtt.protocol, loaded.mqtt.qos) == (1, "5", 1)


def test_a_flight_record(version: Path) -> None:
    record = read_flight(version / "record")
    assert (record.header.frames, record.header.skipped, record.header.cracks) == (2, 1, 2)
    assert [row.status for row in record.frames()].count("inferred") == 2
    assert [round(row.length_mm or 0) for row in record.cracks()] == [60, 60]


def test_a_bundle(version: Path) -> None:
    assert load_bundle(version / "bundle").manifest.name == "tiny"


def test_a_flight_record_replays_by_its_bundle(version: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = crack("crack-agent", "replay", version / "record", "--bundle", version / "bundle", "--out", out)
    assert done.returncode == 0, done.stderr
    assert read_flight(out).header.cracks == 2


@pytest.mark.parametrize("kind", ["messages.jsonl", "device.yaml", "record/flight.json", "bundle/manifest.json"])
def test_every_version_has_one_of_each(version: Path, kind: str) -> None:
    assert (version / kind).is_file()
