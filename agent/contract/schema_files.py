"""The JSON Schema 2020-12 files of the MQTT payloads, made from the models: `python -m agent.contract.schema_files`.

They describe what a reader of this version must accept: a field with a default may be missing, since an older agent did
not send it, and fields that are not named may be there, since a newer one does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from agent.contract.reports import REPORTS, Topic

FOLDER: Final = Path(__file__).parent / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema(topic: Topic) -> dict[str, Any]:
    """Return the schema of a topic's payload, as shipped.

    Raises:
        KeyError: no such topic.
    """
    model = REPORTS[topic]
    name, version = model.model_fields["schema_"].default.split("/")
    body = model.model_json_schema(by_alias=True, mode="validation")
    return {
        "$schema": DIALECT,
        "$id": f"urn:crackscout:schema:{name}:{version}",
        **body,
        "title": f"Crackscout {name} report, version {version}",
        "required": ["schema", *body["required"]],
    }


def text(topic: Topic) -> str:
    """Return the schema as its file holds it."""
    return json.dumps(schema(topic), indent=2) + "\n"


def path(topic: Topic, folder: Path = FOLDER) -> Path:
    """Return where a topic's schema lies."""
    return folder / f"{topic}.schema.json"


def write(folder: Path = FOLDER) -> list[Path]:
    """Write every topic's schema into an existing folder and return the files."""
    for topic in REPORTS:
        path(topic, folder).write_text(text(topic), encoding="utf-8")
    return [path(topic, folder) for topic in REPORTS]


if __name__ == "__main__":
    write()
