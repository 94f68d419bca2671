"""Logs as carriers write them, each with the faults that logs have."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.capture.telemetry import Track, open_telemetry
from agent.errors import InputError
from agent.place.settings import PlaceSettings, TelemetrySettings, TunnelSettings
from tests.support.told import told


def read(path: Path, content: str, **place: object) -> Track:
    path.write_text(content, encoding="utf-8")
    return open_telemetry(path, PlaceSettings.model_validate(place))


def test_a_csv_names_its_columns_and_units(tmp_path: Path) -> None:
    track = read(
        tmp_path / "log.csv",
        "time(millisecond),latitude,longitude,altitude_above_seaLevel(feet),gimbal_heading(degrees),"
        "gimbal_pitch(degrees),lrf_m,what\n"
        "0,52.5,13.4,100,359,-90,4.2,x\n1000,52.6,13.4,,1,-80,4.4,x\n",
        telemetry={"max_speed_m_s": 1e6},
    )
    here = track.at(500_000_000)
    assert here is not None
    assert told(here.lat, here.lon) == (pytest.approx(52.55), pytest.approx(13.4))
    assert here.alt_m == pytest.approx(30.48)
    assert here.yaw_deg is not None
    assert here.yaw_deg % 360 == pytest.approx(0)  # the short way from 359 to 1
    assert told(here.pitch_deg, here.distance_m, here.method) == (pytest.approx(-85), pytest.approx(4.3), "lrf")


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_separators_and_byte_order_marks_of_spreadsheets_are_read(tmp_path: Path, separator: str) -> None:
    text = "\ufeff\r\n" + "\r\n".join(separator.join(row) for row in (["time_s", "lat", "lon"], ["1.5", "1", "2"]))
    here = read(tmp_path / "log.csv", text).at(1_500_000_000)
    assert here is not None
    assert (here.lat, here.lon) == (1, 2)


@pytest.mark.parametrize(
    ("time", "ns"),
    [
        ("2024-05-06T07:08:09Z", 1_714_979_289_000_000_000),
        ("2024-05-06T09:08:09.250+02:00", 1_714_979_289_250_000_000),
        ("2024-05-06 07:08:09", 1_714_979_289_000_000_000),
        ("1714979289.5", 1_714_979_289_500_000_000),
    ],
)
def test_times_of_day_are_read_and_without_a_zone_taken_for_utc(tmp_path: Path, time: str, ns: int) -> None:
    track = read(tmp_path / "log.csv", f"timestamp,lat,lon\n{time},1,2\n")
    assert track.samples[0].time_ns == ns


def test_json_lines_are_objects_with_the_same_names(tmp_path: Path) -> None:
    track = read(tmp_path / "log.jsonl", '{"time_s": 1, "lat": 1, "lon": 2, "depth_m": 1.5}\nnot json\n[1]\n\n')
    assert [(one.lat, one.distance_m, one.method) for one in track.samples] == [(1, 1.5, "depth")]
    assert track.faults["lines that are no JSON object"] == 2


SRT = {
    "of a Mavic 3": """1
00:00:00,000 --> 00:00:00,033
<font size="28">FrameCnt: 1, DiffTime: 33ms
2022-08-25 10:15:02.123
[iso: 100] [shutter: 1/1000.0] [fnum: 2.8] [focal_len: 24.00] [latitude: 52.500010] [longitude: 13.400020] \
[rel_alt: 10.100 abs_alt: 91.234] [gb_yaw: -12.3 gb_pitch: -45.0 gb_roll: 0.0] </font>

2
00:00:01,000 --> 00:00:01,033
[latitude: 52.500020] [longitude: 13.400020] [rel_alt: 10.1 abs_alt: 91.334]
""",
    "of a Mavic 2, which misspells": """1
00:00:00,000 --> 00:00:01,000
[iso : 100] [shutter : 1/500] [latitude : 52.500010] [longtitude : 13.400020] [altitude: 91.234]
""",
    "of a Phantom 4": """1
00:00:00,000 --> 00:00:01,000
HOME(13.4001,52.5001) 2017.05.06 10:15:02
GPS(13.400020,52.500010,91.234) BAROMETER:10.1
""",
}


@pytest.mark.parametrize("text", SRT.values(), ids=SRT)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_dji_subtitles_are_read(tmp_path: Path, text: str, newline: str) -> None:
    here = read(tmp_path / "DJI_0001.SRT", text.replace("\n", newline)).at(0)
    assert here is not None
    assert (here.lat, here.lon, here.alt_m) == (52.50001, 13.40002, 91.234)
    if "gb_yaw" in text:
        assert here.attitude_deg == (-12.3, -45.0, 0.0)


def test_values_that_cannot_be_are_left_out_and_counted(tmp_path: Path) -> None:
    track = read(
        tmp_path / "log.csv",
        "time_s,lat,lon,pitch,distance\n"
        "0,52,13,-10,3\n1,nan,13,-10,3\n2,95,13,-10,65.535\n3,0,0,-10,0\n4,52,13,east,inf\n,52,13,,\nnoon,52,13,,\n",
    )
    assert [one.lat for one in track.samples] == [52, None, None, None, 52]
    assert track.faults == {
        "lat is not a number": 1,
        "lat is out of range": 1,
        "no fix (latitude and longitude 0)": 1,
        "pitch_deg is not a number": 1,
        "distance_m is out of range": 1,
        "distance_m is not a number": 1,
        "rows without a time that can be read": 2,
    }


def test_half_a_position_is_none(tmp_path: Path) -> None:
    track = read(tmp_path / "log.csv", "time_s,lat,lon,pitch\n0,nan,13,-10\n")
    here = track.at(0)
    assert here is not None
    assert (here.lat, here.lon, here.pitch_deg) == (None, None, -10)


def test_rows_out_of_order_are_sorted_and_double_ones_dropped(tmp_path: Path) -> None:
    track = read(tmp_path / "log.csv", "time_s,chainage_m\n0,10\n2,12\n1,11\n1,50\n3,13\n")
    assert [one.chainage_m for one in track.samples] == [10, 11, 12, 13]
    assert track.faults["out of order: sorted by time"] == 1
    assert track.faults["two rows of one time: the first one stays"] == 1


@pytest.mark.parametrize(
    ("wrong", "left_out"),
    [pytest.param({5}, 1, id="one"), pytest.param({0}, 1, id="the first"), pytest.param({3, 4, 5}, 3, id="a stretch"),
     pytest.param({11}, 1, id="the last")],
)  # fmt: skip
def test_jumps_are_left_out_wherever_they_stand(tmp_path: Path, wrong: set[int], left_out: int) -> None:
    rows = [f"{t},{53 if t in wrong else 52 + t * 1e-5},13,-10" for t in range(12)]
    track = read(tmp_path / "log.csv", "time_s,lat,lon,pitch\n" + "\n".join(rows))
    assert [t for t, one in enumerate(track.samples) if one.lat is None] == sorted(wrong)
    assert track.faults["position jumps: left out"] == left_out
    assert all(one.pitch_deg == -10 for one in track.samples)  # the rest of the row stays


def test_nothing_is_made_up_across_a_gap(tmp_path: Path) -> None:
    settings = TelemetrySettings(max_gap_s=2)
    track = read(tmp_path / "log.csv", "time_s,chainage_m\n0,0\n1,1\n10,10\n", telemetry=settings.model_dump())

    def at(seconds: float) -> float | None:
        here = track.at(round(seconds * 1e9))
        return None if here is None else here.chainage_m

    assert [at(0.25), at(1), at(1.9), at(9.1), at(10), at(10.9)] == [0.25, 1, 1, 10, 10, 10]
    assert [at(-1.1), at(2.1), at(5), at(8.9), at(11.1)] == [None] * 5


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("log.csv", "", "no telemetry in the columns"),
        ("log.csv", "a,b\n1,2\n", "no telemetry in the columns a, b"),
        ("log.jsonl", "no\n", "not one line of telemetry"),
        ("a.srt", "1\n00:00:00,000 --> 00:00:01,000\nHello\n", "no subtitles with positions"),
        ("log.xyz", "", "telemetry is"),
    ],
)
def test_what_holds_no_telemetry_says_what_is_needed(tmp_path: Path, name: str, content: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(tmp_path / name, content)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: no such telemetry file"):
        open_telemetry(tmp_path / "absent.csv", PlaceSettings())


def cart(ticks: list[int], rings: dict[int, int]) -> str:
    rows = [f"{second},{tick},{rings.get(tick, '')}" for second, tick in enumerate(ticks)]
    return "time_s,ticks,ring\n" + "\n".join(rows)


def chainages(track: Track) -> list[float | None]:
    return [one.chainage_m for one in track.samples]


def test_an_encoder_counts_metres(tmp_path: Path) -> None:
    tunnel = TunnelSettings(metres_per_tick=0.01, start_m=50)
    track = read(tmp_path / "cart.csv", cart([100, 150, 200], {}), tunnel=tunnel.model_dump())
    assert chainages(track) == pytest.approx([50, 50.5, 51])


def test_ring_joints_take_the_drift_out(tmp_path: Path) -> None:
    # rings of 1.5 m; the wheel slips and says 1.47 m a ring
    tunnel = TunnelSettings(metres_per_tick=0.01, ring_pitch_m=1.5, ring_zero_m=1000)
    ticks = [0, 100, 247, 394, 541, 600]
    track = read(tmp_path / "cart.csv", cart(ticks, {100: 4, 247: 5, 394: 6, 541: 7}), tunnel=tunnel.model_dump())
    assert chainages(track) == pytest.approx([1005, 1006, 1007.5, 1009, 1010.5, 1011.09])


def test_a_misread_ring_is_left_out_and_counted(tmp_path: Path) -> None:
    tunnel = TunnelSettings(metres_per_tick=0.01, ring_pitch_m=1.5)
    track = read(tmp_path / "cart.csv", cart([0, 150, 300, 450], {0: 10, 150: 71, 300: 12}), tunnel=tunnel.model_dump())
    assert chainages(track) == pytest.approx([15, 16.5, 18, 19.5])
    assert track.faults["ring joints that do not fit the encoder: left out"] == 1


def test_rings_that_count_down_are_a_cart_that_goes_the_other_way(tmp_path: Path) -> None:
    tunnel = TunnelSettings(metres_per_tick=0.01, ring_pitch_m=1.5)
    track = read(tmp_path / "cart.csv", cart([0, 50, 150, 300, 350], {50: 12, 200: 11}), tunnel=tunnel.model_dump())
    assert len(chainages(track)) == 5
    track = read(tmp_path / "cart.csv", cart([0, 150, 300, 350], {0: 12, 150: 11, 300: 10}), tunnel=tunnel.model_dump())
    assert chainages(track) == pytest.approx([18, 16.5, 15, 14.5])
