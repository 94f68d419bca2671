"""Several values as one, to compare with figures and approximations at once."""

from __future__ import annotations


def told(*values: object) -> tuple[object, ...]:
    """Return them as they are; the type checker takes a tuple of numbers and one of approximations for never equal."""
    return values
