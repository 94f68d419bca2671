"""The bundles that ship inside the package, and how a bundle is found by name or folder."""

from __future__ import annotations

from pathlib import Path

from agent.contract.bundle import MANIFEST_NAME, Bundle, load_bundle
from agent.errors import BundleError


def shipped_bundles() -> dict[str, Path]:
    """Return the shipped bundles' folders by name."""
    return {path.parent.name: path.parent for path in sorted(Path(__file__).parent.glob(f"*/{MANIFEST_NAME}"))}


def open_bundle(name_or_folder: str) -> Bundle:
    """Return a shipped bundle by its name, or any by its folder, with every file checked.

    Raises:
        BundleError: neither is there, or the bundle does not hold what its manifest says.
    """
    shipped = shipped_bundles()
    if name_or_folder in shipped:
        return load_bundle(shipped[name_or_folder])
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise BundleError(f"{name_or_folder}: no folder, and no shipped bundle's name ({', '.join(shipped) or 'none'})")
    return load_bundle(folder)
