"""The AsyncAPI 3.0 file of the device's topics, made from the models: `python -m agent.deliver.asyncapi`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from agent.contract import schema_files
from agent.contract.ids import SEGMENT_PATTERN
from agent.contract.reports import REPORTS, Topic
from agent.deliver.commands import AGE_MAX_MS, ARGS, PAYLOAD_MAX
from agent.deliver.topics import EVIDENCE_EXPIRY_S, RULES, SNAPSHOT_EXPIRY_S

FILE: Final = Path(__file__).parent / "asyncapi.json"
ADDRESS: Final = "{prefix}/v1/{device}"
PARAMETERS: Final = {
    "prefix": {"description": "mqtt.prefix, one or more segments.", "default": "crackscout"},
    "device": {"description": f"The device's name, {SEGMENT_PATTERN}."},
}


def document() -> dict[str, Any]:
    """Return the file's content."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic, rule in RULES.items():
        _add(channels, operations, topic, leaf="id" if topic == "ack" else None, qos=rule.qos, retain=rule.retain,
             expiry_s=rule.expiry_s, payload=_payload(topic), summary=_summary(REPORTS[topic].__doc__))  # fmt: skip
    _add(channels, operations, "evidence", leaf="crack_id", qos=1, retain=False, expiry_s=EVIDENCE_EXPIRY_S,
         payload=_jpeg(), summary="The picture of a crack, at most 200 KB.")  # fmt: skip
    _add(channels, operations, "snapshot", leaf="camera", qos=0, retain=True, expiry_s=SNAPSHOT_EXPIRY_S,
         payload=_jpeg(), summary="What a camera sees now.")  # fmt: skip
    for name, model in ARGS.items():
        _add(channels, operations, f"cmd/{name}", leaf=None, qos=1, retain=False, expiry_s=AGE_MAX_MS // 1000,
             payload=_command(model.model_json_schema()), summary=_summary(model.__doc__),
             action="receive")  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Crackscout device",
            "version": "1",
            "description": "What a device says and hears over MQTT. Drop repeated ids; keep the highest revision of "
            "each crack_id; ignore fields that you do not know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }


def text() -> str:
    """Return the file as it ships."""
    return json.dumps(document(), indent=2) + "\n"


def _add(
    channels: dict[str, Any], operations: dict[str, Any], topic: str, *, leaf: str | None, qos: int, retain: bool,
    expiry_s: int | None, payload: dict[str, Any], summary: str, action: str = "send",
) -> None:  # fmt: skip
    name = topic.replace("/", "_")
    is_jpeg = payload.get("contentMediaType") == "image/jpeg"
    message = {"summary": summary, "contentType": "image/jpeg" if is_jpeg else "application/json", "payload": payload}
    channels[name] = {
        "address": f"{ADDRESS}/{topic}" + (f"/{{{leaf}}}" if leaf else ""),
        "parameters": {**PARAMETERS, **({leaf: {"description": f"A segment, {SEGMENT_PATTERN}."}} if leaf else {})},
        "messages": {name: message},
    }
    bindings: dict[str, Any] = {"bindingVersion": "0.2.0", "qos": qos, "retain": retain}
    if expiry_s is not None:
        bindings["messageExpiryInterval"] = expiry_s
    operations[name] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": summary,
        "bindings": {"mqtt": bindings},
    }


def _payload(topic: Topic) -> dict[str, Any]:
    return {name: value for name, value in schema_files.schema(topic).items() if name != "$schema"}


def _jpeg() -> dict[str, Any]:
    return {"type": "string", "format": "binary", "contentMediaType": "image/jpeg"}


def _command(args: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"At most {PAYLOAD_MAX} bytes, never retained; answered on ack/<id>.",
        "properties": {
            "id": {"type": "string", "pattern": SEGMENT_PATTERN, "description": "Each command's own."},
            "ts": {"type": "integer", "description": "Milliseconds since 1970, UTC; required under MQTT 3.1.1."},
            "args": args,
        },
        "required": ["id"],
        "additionalProperties": False,
    }


def _summary(docstring: str | None) -> str:
    return (docstring or "").splitlines()[0]


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
