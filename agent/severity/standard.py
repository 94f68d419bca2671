"""The tables of standards as they ship: values, where each comes from, and whether that was looked up."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import Field, model_validator
from typing_extensions import Self

from agent.contract.reports import Severity
from agent.contract.strict import Strict

FOLDER: Final = Path(__file__).parent / "standards"
Text = Annotated[str, Field(min_length=1)]
Checked = Literal["source", "secondary page", "from memory"]
ADVICE: Final[dict[Checked, str]] = {
    "source": "checked against a source",
    "secondary page": "checked against a secondary page only",
    "from memory": "from memory, check before quoting",
}


class SeverityClass(Strict):
    """A range of widths."""

    name: Text
    rank: Severity = Field(description="The same words for all standards, so that flights can be compared.")
    below_mm: float | None = Field(
        default=None, gt=0, description="Widths below this; None: all above the class before."
    )
    from_length_mm: float | None = Field(
        default=None, gt=0, description="Shorter cracks of such widths fall in the class before."
    )


class Category(Strict):
    """An exposure, member or pavement of a standard, and its classes from narrow to wide."""

    title: Text
    clause: Text
    citation: Text
    checked: Checked
    classes: tuple[SeverityClass, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _classes_follow_each_other(self) -> Self:
        bounds = [one.below_mm for one in self.classes]
        known = [bound for bound in bounds[:-1] if bound is not None]
        if bounds[-1] is not None or len(known) < len(bounds) - 1 or sorted(set(known)) != known:
            raise ValueError(f"below_mm must rise from class to class and be absent in the last, got {bounds}")
        if self.classes[0].from_length_mm is not None:
            raise ValueError("the first class must hold for every length: no class is before it")
        return self


class Standard(Strict):
    """A standard's tables."""

    schema_: Literal["severity/1"] = Field(alias="schema")
    id: Text
    revision: int = Field(ge=1, description="Of this table; a new one when a value changes.")
    title: Text
    nature: Literal["design guide", "design limit", "inspection grade"]
    note: Text
    categories: dict[str, Category] = Field(min_length=1)

    @property
    def name(self) -> str:
        """As reports call it, the table's revision included."""
        return f"{self.id} r{self.revision}"


@lru_cache(maxsize=1)
def all_standards() -> dict[str, Standard]:
    """Return the standards that ship, by id, in alphabetical order."""
    files = sorted(FOLDER.glob("*.yaml"))
    return {path.stem: Standard.model_validate(_table(path)) for path in files}


def _table(path: Path) -> object:
    """Read a table that ships, by libyaml where it is there: ten times as fast."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - both are safe


def standard(name: str) -> Standard:
    """Return a standard.

    Raises:
        ValueError: there is none of this name.
    """
    standards = all_standards()
    if name not in standards:
        raise ValueError(f"{name!r} is no standard; there are {', '.join(standards)} (crack-agent standards)")
    return standards[name]


def listing() -> str:
    """Return all standards and categories for people, with their values and whether they were checked."""
    lines = []
    for one in all_standards().values():
        lines += [f"{one.id}  {one.title}", f"    {one.nature}, table revision {one.revision}. {one.note}"]
        for name, category in one.categories.items():
            lines.append(f"    {name}: {category.title}; {category.clause} ({ADVICE[category.checked]})")
            lines += [f"        {_row(category, index)}" for index in range(len(category.classes))]
        lines.append("")
    return "\n".join(lines)


def span_of(category: Category, index: int) -> str:
    """Return the range of widths of a class, and from which length on it holds, for people."""
    one = category.classes[index]
    low = category.classes[index - 1].below_mm if index else None
    span = f"below {one.below_mm:g} mm" if low is None else f"{low:g} mm and wider"
    if low is not None and one.below_mm is not None:
        span = f"{low:g} to {one.below_mm:g} mm"
    length = "" if one.from_length_mm is None else f", {one.from_length_mm / 1000:g} m and longer"
    return f"{span}{length}"


def _row(category: Category, index: int) -> str:
    one = category.classes[index]
    return f"{one.name}: {span_of(category, index)} (rank {one.rank})"
