"""Temperature and power of the board: from sysfs, or from a line of NVIDIA's tegrastats. Not yet run on a Jetson."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

NO_SENSORS: Final = ("PMIC",)  # Tegra's gives one fixed figure, whatever the heat
PLAUSIBLE_C: Final = (-60.0, 200.0)
WHOLE_BOARD: Final = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0_IN", "VIN")  # rails that feed all others, by board

_TEMPERATURE: Final = re.compile(r"(?<![\w@])([A-Za-z][\w-]*)@(-?\d+(?:\.\d+)?)C\b")
_POWER: Final = re.compile(r"\b([A-Z][A-Z0-9_]*_[A-Z0-9_]+) (\d+)(?:mW)?/(\d+)(?:mW)?(?=\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the sensors say; empty where there are none."""

    temperatures_c: Mapping[str, float] = field(default_factory=dict)  # by zone
    power_w: Mapping[str, float] = field(default_factory=dict)  # by rail

    @property
    def hottest_c(self) -> float | None:
        """The hottest zone; None where no zone can be read."""
        return max(self.temperatures_c.values(), default=None)

    @property
    def board_w(self) -> float | None:
        """What the whole board draws; None where no rail measures that: parts are no sum."""
        return next((self.power_w[rail] for rail in WHOLE_BOARD if rail in self.power_w), None)


def read_sysfs(root: Path) -> Readings:
    """Read the thermal zones and the INA3221 power monitors below `root`, usually /sys.

    A zone that is switched off answers with an error, and one that was never on with a figure that cannot be: both are
    left out.
    """
    temperatures: dict[str, float] = {}
    for zone in sorted((root / "class" / "thermal").glob("thermal_zone*")):
        name, milli = _text(zone / "type"), _number(zone / "temp")
        if name is None or milli is None:
            continue
        _note_temperature(temperatures, name.removesuffix("-thermal").removesuffix("-therm"), milli / 1000)
    power: dict[str, float] = {}
    for monitor in sorted((root / "class" / "hwmon").glob("hwmon*")):
        if _text(monitor / "name") != "ina3221":
            continue
        for label in sorted(monitor.glob("in*_label")):
            rail, channel = _text(label), label.name.removeprefix("in").removesuffix("_label")
            milli_v, milli_a = _number(monitor / f"in{channel}_input"), _number(monitor / f"curr{channel}_input")
            if rail and milli_v is not None and milli_a is not None:
                power[rail] = round(milli_v * milli_a / 1e6, 3)
    return Readings(temperatures_c=temperatures, power_w=power)


def parse_tegrastats(line: str) -> Readings:
    """Return what a line of tegrastats says; both the older form (`POM_5V_IN 2532/2532`) and the newer with mW."""
    temperatures: dict[str, float] = {}
    for name, value in _TEMPERATURE.findall(line):
        _note_temperature(temperatures, name, float(value))
    return Readings(
        temperatures_c=temperatures, power_w={rail: int(now) / 1000 for rail, now, _ in _POWER.findall(line)}
    )


def _note_temperature(temperatures: dict[str, float], name: str, value_c: float) -> None:
    low, high = PLAUSIBLE_C
    if not name.upper().startswith(NO_SENSORS) and low < value_c < high:
        temperatures[name] = max(value_c, temperatures.get(name, low))  # zones may share a name


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,12}", text) else None
