from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator, ValidationError

from agent.contract.reports import CommandName, Topic
from agent.deliver import asyncapi
from agent.deliver.commands import ARGS
from agent.deliver.topics import RULES
from tests.support.commands import crack


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    shipped: dict[str, Any] = json.loads(asyncapi.FILE.read_text())
    return shipped


def test_the_shipped_file_is_the_models(document: dict[str, Any]) -> None:
    assert document == json.loads(asyncapi.text()), "write it again: python -m agent.deliver.asyncapi"


def test_every_topic_and_command_is_in_it(document: dict[str, Any]) -> None:
    assert set(RULES) == set(get_args(Topic))
    assert set(ARGS) == set(get_args(CommandName))
    names = {*RULES, "evidence", "snapshot", *(f"cmd_{name}" for name in ARGS)}
    assert set(document["channels"]) == set(document["operations"]) == names
    for name, operation in document["operations"].items():
        assert operation["channel"] == {"$ref": f"#/channels/{name}"}
        assert operation["action"] == ("receive" if name.startswith("cmd_") else "send")


def test_every_payload_is_a_schema_and_parameters_are_declared(document: dict[str, Any]) -> None:
    for name, channel in document["channels"].items():
        (message,) = channel["messages"].values()
        Draft202012Validator.check_schema(message["payload"])
        assert all(f"{{{parameter}}}" in channel["address"] for parameter in channel["parameters"]), name
        assert channel["address"].count("{") == len(channel["parameters"])


def test_a_command_is_held_to_it(document: dict[str, Any]) -> None:
    schema = Draft202012Validator(document["channels"]["cmd_review"]["messages"]["cmd_review"]["payload"])
    schema.validate({"id": "a", "args": {"crack_id": "b", "verdict": "unsure"}})
    with pytest.raises(ValidationError):
        schema.validate({"id": "a", "args": {"crack_id": "b", "verdict": "maybe"}})


def test_the_command_line_prints_it() -> None:
    done = crack("crack-agent", "schema", "--asyncapi")
    assert json.loads(done.stdout)["asyncapi"] == "3.0.0"
