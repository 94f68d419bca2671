"""YAML for settings: plain values with the place of each, and no surprises.

What YAML 1.1 and 1.2 read differently (`no`, `017`, `0o17`, `1_000`, `12:30`, dates), keys given twice, aliases and
tags are faults, not values: the one who wrote the file should never have to know which version its reader follows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from agent.errors import ConfigError

_Model = TypeVar("_Model", bound=BaseModel)
Keys = tuple[str | int, ...]  # the way to a value: names of mappings, indices of lists

_TAG: Final = "tag:yaml.org,2002:"
_REAL: Final = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBERS: Final = {"int": re.compile(r"[-+]?(0|[1-9][0-9]*)"), "float": _REAL, "str": _REAL}  # "str": 1e-3 in YAML 1.1
_OCTAL: Final = re.compile(r"[-+]?0o[0-7]+")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a file; lines and columns from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file's mapping, where its parts stand, and what is wrong with it."""

    path: Path
    values: dict[str, Any]
    places: dict[Keys, Place] = field(default_factory=dict)  # of values
    key_places: dict[Keys, Place] = field(default_factory=dict)  # of the names of settings
    faults: list[tuple[Place, str]] = field(default_factory=list)


def read(path: Path) -> YamlFile:
    """Read a file that holds one mapping.

    Raises:
        ConfigError: it cannot be read, is not YAML at all, or is no mapping. Lesser faults are returned.
    """
    try:
        node = yaml.compose(path.read_bytes().decode("utf-8"), Loader=yaml.SafeLoader)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read ({exc.strerror})") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not UTF-8 (byte {exc.start})") from exc
    except yaml.MarkedYAMLError as exc:
        place = _place(path, exc.problem_mark) if exc.problem_mark else path
        raise ConfigError(f"{place}: not YAML: {exc.problem}") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise ConfigError(
            f"{path}: not YAML: {'nested too deeply' if isinstance(exc, RecursionError) else exc}"
        ) from exc
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:1:1: must be a mapping of names to values")
    found = YamlFile(path, {})
    found.values.update(_Reader(found).mapping(node, ()))
    return found


def load(path: Path, model: type[_Model]) -> _Model:
    """Read a file of settings.

    Raises:
        ConfigError: unreadable, or values that do not fit; all of them are told at once, each with its place.
    """
    file = read(path)
    faults = list(file.faults)
    found: _Model | None = None
    try:
        found = model.model_validate(file.values)
    except ValidationError as exc:
        for error in exc.errors():
            keys = tuple(error["loc"])
            given = next((keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in file.key_places), ())
            place = file.key_places.get(given, Place(str(path), 1, 1))
            faults.append((place, f"{dotted(keys) or 'settings'}: {error['msg'].removeprefix('Value error, ')}"))
    if faults or found is None:
        told = "; ".join(f"{place}: {text}" for place, text in sorted(faults))
        raise ConfigError(f"{path}: {len(faults)} to fix: {told}")
    return found


def dotted(keys: Keys) -> str:
    """Return `mqtt.host`, `cameras[0].name`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


class _Reader:
    """Turns nodes into values, noting places and faults in `found`."""

    def __init__(self, found: YamlFile) -> None:
        self._found = found
        self._seen: set[int] = set()

    def mapping(self, node: yaml.MappingNode, at: Keys) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node, at) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._fault(key_node, at, "the name of a setting must be a word")
            elif key in values:
                self._fault(key_node, (*at, key), "given twice")
            else:
                self._found.key_places[(*at, key)] = _place(self._found.path, key_node.start_mark)
                values[key] = self._value(value_node, (*at, key))
        return values

    def _value(self, node: yaml.Node, at: Keys) -> object:
        self._found.places[at] = _place(self._found.path, node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        if id(node) in self._seen:
            self._fault(node, at, "repeated by an alias (*); write it out")
            return None
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, at)
        return [self._value(item, (*at, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.ScalarNode, at: Keys) -> object:
        """Return the value; after a fault the text, which fits most settings, so that nothing is reported twice."""
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "str" and node.style is not None:
            return text
        if kind == "bool" and text.lower() in {"true", "false"}:
            return text.lower() == "true"
        number = _NUMBERS.get(kind)
        if number and number.fullmatch(text):
            return int(text) if kind == "int" else float(text)
        if kind != "str" or _OCTAL.fullmatch(text):
            advice = "true or false" if kind == "bool" else "plain decimals" if number else "plain text"
            self._fault(node, at, f"readers of YAML differ on {text}; write {advice}, or '{text}' in quotes for text")
        return text

    def _fault(self, node: yaml.Node, at: Keys, text: str) -> None:
        place = _place(self._found.path, node.start_mark)
        self._found.faults.append((place, f"{dotted(at)}: {text}" if at else text))


def explained(model: BaseModel, values: Mapping[str, Any]) -> str:
    """Return settings as a YAML file that `read` reads, each below its meaning.

    Args:
        model: the settings; the descriptions of its fields are the meanings.
        values: what to write of them, plain values by the names of the fields.
    """
    return "\n".join(_lines(model, values, indent="")) + "\n"


def _place(path: Path, mark: yaml.Mark) -> Place:
    return Place(str(path), mark.line + 1, mark.column + 1)


def _lines(model: BaseModel, values: Mapping[str, Any], *, indent: str) -> Iterator[str]:
    for name, setting in type(model).model_fields.items():
        part, value = getattr(model, name), values[name]
        if setting.description:
            yield f"{indent}# {setting.description}"
        if isinstance(part, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(part, value, indent=f"{indent}  ")
        elif isinstance(part, tuple) and part and isinstance(part[0], BaseModel):
            yield f"{indent}{name}:"
            for item, item_values in zip(part, value, strict=True):
                first, *others = _lines(item, item_values, indent="")
                yield f"{indent}  - {first}"
                yield from (f"{indent}    {line}" for line in others)
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: object) -> str:
    """Return a value that no reader of YAML can misunderstand: text always stands in quotes."""
    if isinstance(value, str):
        return str(yaml.safe_dump(value, default_style='"', allow_unicode=True, width=math.inf)).strip()
    return json.dumps(value)
