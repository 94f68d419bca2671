"""`crack-agent run` on live cameras: one record for all of them, which replays to the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import jsonschema
import yaml

from agent.contract.schema_files import FOLDER
from agent.record import read_flight
from tests.support.broker import Broker, Subscriber, running
from tests.support.cameras import wait_until
from tests.support.commands import call, crack, variables

SIZE = "width_px=320&height_px=200&noise=0.004"


def device_yaml(folder: Path, bundle: Path, cameras: dict[str, str], **more: object) -> Path:
    path = folder / "device.yaml"
    settings = {
        "version": 1,
        "bundle": str(bundle),
        "cameras": [{"name": name, "source": source} for name, source in cameras.items()],
        "record": {"frames": "all", "dir": str(folder / "flights")},
        **more,
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_live_run_on_two_cameras_replays_to_the_same_bytes(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    config = device_yaml(
        tmp_path,
        tiny_bundle_folder,
        {"belly": f"rendered://tunnel?seconds=2&fps=8&{SIZE}", "nose": f"rendered://facade?seconds=2&fps=4&{SIZE}"},
    )
    done = crack("crack-agent", "run", "--config", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (live,) = (tmp_path / "flights").iterdir()
    record = read_flight(live)
    assert (record.header.mode, record.header.complete, record.header.frames_kept) == ("live", True, "all")
    rows = list(record.frames())
    seen = Counter(row.camera for row in rows)
    assert seen["belly"] >= 2
    assert seen["nose"] >= 2
    assert record.header.cracks > 0
    assert [row.index for row in rows] == list(range(len(rows)))
    assert all(row.captured_ms and row.sharpness is not None and row.exposure is not None for row in rows)
    again = crack("crack-agent", "replay", live, "--out", tmp_path / "again", "--bundle", tiny_bundle_folder)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "cracks.jsonl").read_bytes() == (live / "cracks.jsonl").read_bytes()
    replayed = [row.model_dump(exclude={"file"}) for row in read_flight(tmp_path / "again").frames()]
    assert replayed == [row.model_dump(exclude={"file"}) for row in rows]


def test_a_record_replayed_in_another_way_is_another_mission(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    config = device_yaml(tmp_path, tiny_bundle_folder, {"belly": f"rendered://tunnel?seconds=1&fps=4&{SIZE}"})
    assert crack("crack-agent", "run", "--config", config, cwd=tmp_path).returncode == 0
    (live,) = (tmp_path / "flights").iterdir()
    common = ("replay", live, "--bundle", tiny_bundle_folder)
    crack("crack-agent", *common, "--out", tmp_path / "other", CRACKSCOUT_MEASURE__MIN_LENGTH_PX="30")
    crack("crack-agent", *common, "--out", tmp_path / "scaled", "--mm-per-px", "0.7")
    missions = {read_flight(tmp_path / name).header.mission_id for name in ("other", "scaled")}
    assert len(missions | {live.name}) == 3


def test_a_camera_that_is_not_there_holds_up_no_other_and_no_password_is_told(
    tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    config = device_yaml(
        tmp_path,
        tiny_bundle_folder,
        {
            "belly": f"rendered://tunnel?seconds=60&fps=8&{SIZE}",
            "refused": "rtsp://user:hunter2@127.0.0.1:9/live",
            "unknown": "rtsp://user:hunter2@camera.invalid/live",
            "null": "v4l2:///dev/null",
            "absent": "/dev/video97",
        },
        capture={"retry_s": 0.05, "retry_max_s": 0.1},
        logging={"format": "json"},
    )
    process = subprocess.Popen(
        call("crack-agent", "run", "--config", config), cwd=tmp_path, env=variables(), stderr=subprocess.PIPE, text=True
    )
    frames = tmp_path / "flights"
    wait_until(lambda: sum(path.read_bytes().count(b"\n") for path in frames.glob("*/frames.jsonl")) >= 3)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    told = " ".join(json.loads(line)["message"] for line in stderr.splitlines())
    assert "camera refused: 127.0.0.1: cannot be connected to" in told
    assert "camera unknown: camera.invalid: this host's name is not known" in told
    assert "camera null: /dev/null: is no camera that gives pictures" in told
    assert "camera absent: /dev/video97: no such device; is the camera plugged in?" in told
    assert "Traceback" not in stderr
    assert "hunter2" not in stderr
    (record,) = frames.iterdir()
    assert not any(b"hunter2" in path.read_bytes() for path in record.rglob("*") if path.is_file())


def test_two_cameras_of_one_source_are_refused(tiny_bundle_folder: Path, tmp_path: Path) -> None:
    config = device_yaml(tmp_path, tiny_bundle_folder, {"a": "/dev/video0", "b": "v4l2:///dev/../dev/video0"})
    done = crack("crack-agent", "run", "--config", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "cameras: 'a' and 'b' have one source" in done.stderr


def test_state_tells_of_each_camera_at_once_and_while_nothing_can_be_inferred(
    tiny_bundle_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "broker").mkdir()
    schema = json.loads((FOLDER / "state.schema.json").read_text())
    with running(Broker(tmp_path / "broker")) as broker, closing(Subscriber(broker)) as subscriber:
        config = device_yaml(
            tmp_path,
            tiny_bundle_folder,
            {"belly": f"rendered://tunnel?seconds=1&fps=4&{SIZE}", "lost": "rtsp://127.0.0.1:9/live"},
            mqtt={"host": "127.0.0.1", "port": broker.port},
            capture={"retry_s": 0.05, "retry_max_s": 0.1},
        )
        process = subprocess.Popen(
            call("crack-agent", "run", "--config", config), cwd=tmp_path, env=variables(), stderr=subprocess.DEVNULL
        )
        try:
            subscriber.wait_for(
                lambda: any(payload["camera_states"] == ["ended", "lost"] for payload in subscriber.payloads("/state"))
            )
            told = len(subscriber.payloads("/state"))
            subscriber.wait_for(lambda: len(subscriber.payloads("/state")) > told)  # though no frame comes any more
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
        for message in subscriber.messages("/state"):
            jsonschema.Draft202012Validator(schema).validate(message.payload)
        last = [payload for payload in subscriber.payloads("/state") if payload["state"] != "stopped"][-1]
    assert last["state"] == "degraded"
    assert last["cameras"] == ["belly", "lost"]
    assert "127.0.0.1: cannot be connected to" in last["camera_problems"][1]
    assert last["pictures"] >= 1
    assert last["camera_losses"] == 0
    assert last["pace"] == "full"
