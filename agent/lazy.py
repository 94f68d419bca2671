"""Packages whose names are loaded when they are first asked for.

A device that checks its bundle needs neither MQTT nor a video decoder nor the page's templates, and its settings need
nothing but models; importing everything took four times as long as the network's runtime itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def names_from(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's `__getattr__` (PEP 562).

    Args:
        package: its `__name__`.
        modules: which of its modules holds each of its names. A name must not be a module's own.
    """

    def load(name: str) -> object:
        """Return the name, and keep it.

        Raises:
            AttributeError: there is none.
        """
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
