"""What is wrong with settings, told with the place it stands at: the file's line, the variable, the command line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from agent.strict_yaml import Keys, Place, YamlFile, dotted


def section_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the model of a section, or of a list's items; None where the name is neither's."""
    field = model.model_fields.get(name)
    kind = (get_args(field.annotation) or (field.annotation,))[0] if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def origin_of(loc: Keys, kind: str, file: YamlFile | None, origins: Mapping[Keys, str]) -> Place | str:
    """Return where a faulty value came from: the nearest part of its way that has a place."""
    for end in range(len(loc), 0, -1):
        if loc[:end] in origins:
            return origins[loc[:end]]
        places = file.key_places if file and kind == "extra_forbidden" and end == len(loc) else file and file.places
        if places and loc[:end] in places:
            return places[loc[:end]]
    return Place(str(file.path), 1, 1) if file else "settings"


def text_of(error: ErrorDetails, settings: type[BaseModel], *, secrets: Mapping[Keys, str]) -> str:
    """Return what is wrong with a value, and what to write instead.

    Args:
        error: as pydantic found it.
        settings: the model of the whole file.
        secrets: what is no setting, with the reason and what to do instead.
    """
    loc, name = error["loc"], dotted(error["loc"])
    match error["type"]:
        case "extra_forbidden" if loc in secrets:
            return f"{name}: {secrets[loc]}"
        case "extra_forbidden":
            return f"{name}: not a setting; {_hint(loc, settings)}"
        case "missing":
            return f"{name}: missing"
        case "value_error":
            text = error["msg"].removeprefix("Value error, ")
            return f"{name}: {text}" if name else text
    value = error["input"]
    shown = repr(value)[:80] if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return f"{name}: {shown} does not fit: {re.sub('^(Input|String) should', 'it should', error['msg'])}"


def _hint(loc: Keys, settings: type[BaseModel]) -> str:
    """Name the setting that was probably meant, else those that there are."""
    model = settings
    for key in loc[:-1]:
        model = (section_of(model, key) if isinstance(key, str) else None) or model
    close = difflib.get_close_matches(str(loc[-1]), model.model_fields, n=1)
    return f"did you mean '{close[0]}'?" if close else f"there are {', '.join(model.model_fields)}"
