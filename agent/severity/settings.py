"""Which standard cracks are graded by."""

from __future__ import annotations

from pydantic import Field, model_validator
from typing_extensions import Self

from agent.contract.strict import Strict


class SeveritySettings(Strict):
    """By which standard cracks are graded; `crack-agent standards` lists them with their values and sources."""

    standard: str | None = Field(
        default=None, description="aci-224r, en-1992-1-1, aashto-mbei, astm-d6433, ...; null: cracks stay ungraded."
    )
    category: str | None = Field(
        default=None, description="The standard's exposure, member or pavement; null where it has one only."
    )

    @property
    def name(self) -> str | None:
        """As a mission's details call it: `aci-224r humid`, or the standard alone where it has one category."""
        return " ".join(filter(None, (self.standard, self.category))) or None

    @model_validator(mode="after")
    def _category_is_the_standards(self) -> Self:
        if self.standard is None:
            if self.category is not None:
                raise ValueError(f"category={self.category!r} needs a standard")
            return self
        from agent.severity.standard import standard  # noqa: PLC0415 - its tables are for those who grade

        categories = standard(self.standard).categories
        if self.category is None and len(categories) > 1:
            raise ValueError(f"{self.standard} needs a category; there are {', '.join(categories)}")
        if self.category is not None and self.category not in categories:
            raise ValueError(f"{self.category!r} is no category of {self.standard}; there are {', '.join(categories)}")
        return self


def severity_of(name: str) -> SeveritySettings:
    """Return the settings that grade by a standard, named like `SeveritySettings.name`.

    Raises:
        ValueError: there is no such standard, or not this category of it; the text says what there is.
    """
    from agent.severity.standard import standard  # noqa: PLC0415 - see above

    id_, _, category = name.strip().partition(" ")
    found = standard(id_)
    names = [f"{id_} {one}" for one in found.categories]
    if category.strip() not in {*found.categories, *([""] if len(names) == 1 else [])}:
        raise ValueError(f"{name!r} is no category of {id_}; there are {', '.join(names)}")
    return SeveritySettings(standard=id_, category=category.strip() or None)
