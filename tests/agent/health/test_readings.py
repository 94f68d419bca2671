"""Temperature and power as Jetsons tell them: a sysfs of files, and lines of tegrastats."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.health.readings import parse_tegrastats, read_sysfs

ORIN = (
    "11-21-2025 10:20:30 RAM 3162/30536MB (lfb 6x4MB) SWAP 0/15268MB (cached 0MB) CPU [2%@729,off,1%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305,305] NVENC off NVDEC off VIC_FREQ 729 APE 174 cv0@-256C cpu@45.531C "
    "tboard@33C soc2@41.5C tdiode@34.75C soc0@42C cv1@-256C gpu@-256C tj@47.25C soc1@41.9C cv2@-256C "
    "VDD_GPU_SOC 2382mW/2382mW VDD_CPU_CV 397mW/396mW VIN_SYS_5V0 2315mW/2315mW"
)
ORIN_NANO = (
    "RAM 1/2MB CPU [1%@729] cpu@50C tj@51C VDD_IN 4850mW/4850mW VDD_CPU_GPU_CV 568mW/568mW VDD_SOC 1453mW/1453mW"
)
NANO = (
    "RAM 2448/3956MB (lfb 1x2MB) SWAP 0/1978MB (cached 0MB) CPU [12%@1479,8%@1479] EMC_FREQ 0% GR3D_FREQ 0% "
    "PLL@36C CPU@37.5C PMIC@100C GPU@36C AO@43C thermal@36.75C POM_5V_IN 2532/2500 POM_5V_GPU 0/0 POM_5V_CPU 360/320"
)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """An Orin's: with a zone that is off, one without a figure, and a monitor of something else."""
    zones = [("cpu-thermal", "51234"), ("gpu-thermal", None), ("tj-thermal", "52500"), ("cv0-thermal", "-256000")]
    for number, (name, milli) in enumerate(zones):
        zone = tmp_path / "class" / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(name + "\n")
        (zone / "temp").mkdir() if milli is None else (zone / "temp").write_text(milli + "\n")  # reading a folder fails
    monitors = {
        "hwmon0": {"name": "pwmfan", "in1_label": "X", "in1_input": "1", "curr1_input": "1"},
        "hwmon1": {
            "name": "ina3221", "in1_label": "VDD_IN", "in1_input": "19080", "curr1_input": "512",
            "in2_label": "VDD_SOC", "in2_input": "19000", "curr2_input": "64",
            "in3_label": "BROKEN", "in3_input": "oops", "curr3_input": "1",
        },
    }  # fmt: skip
    for folder, files in monitors.items():
        (tmp_path / "class" / "hwmon" / folder).mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / "class" / "hwmon" / folder / name).write_text(content + "\n")
    return tmp_path


def test_zones_that_answer_are_read_and_the_others_left_out(sysfs: Path) -> None:
    readings = read_sysfs(sysfs)
    assert readings.temperatures_c == {"cpu": 51.234, "tj": 52.5}
    assert readings.hottest_c == 52.5


def test_power_is_volts_times_amperes(sysfs: Path) -> None:
    """19.080 V x 0.512 A = 9.769 W, by hand."""
    readings = read_sysfs(sysfs)
    assert readings.power_w == {"VDD_IN": 9.769, "VDD_SOC": 1.216}
    assert readings.board_w == 9.769


def test_a_machine_without_sensors_has_no_figures(tmp_path: Path) -> None:
    readings = read_sysfs(tmp_path / "nothing")
    assert (readings.hottest_c, readings.board_w) == (None, None)


def test_a_line_of_an_agx_orin() -> None:
    readings = parse_tegrastats(ORIN)
    assert readings.temperatures_c == {
        "cpu": 45.531, "tboard": 33, "soc2": 41.5, "tdiode": 34.75, "soc0": 42, "tj": 47.25, "soc1": 41.9,
    }  # fmt: skip
    assert readings.power_w == {"VDD_GPU_SOC": 2.382, "VDD_CPU_CV": 0.397, "VIN_SYS_5V0": 2.315}
    assert readings.board_w is None  # none of its rails feeds all others, and parts are no sum


def test_a_line_of_an_orin_nano() -> None:
    readings = parse_tegrastats(ORIN_NANO)
    assert (readings.hottest_c, readings.board_w) == (51, 4.85)


def test_a_line_of_the_first_nano_has_no_units_and_a_sensor_that_is_none() -> None:
    readings = parse_tegrastats(NANO)
    assert readings.hottest_c == 43
    assert readings.board_w == 2.532
    assert set(readings.power_w) == {"POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU"}


@pytest.mark.parametrize("line", ["", "RAM 1/2MB", "\x00\xff", "cpu@C VDD_IN mW/", "@" * 5000, "VDD_IN 1/" * 2000])
def test_what_is_no_line_of_it_has_no_figures(line: str) -> None:
    readings = parse_tegrastats(line)
    assert (readings.hottest_c, readings.board_w) == (None, None)
