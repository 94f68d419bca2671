"""The page as a user gets it: by `view`, by `demo`, and from the service, also in safe mode."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from agent.record import read_flight
from agent.record.reviews import read_reviews
from agent.settings import load, load_usable
from tests.support.commands import call, crack, variables
from tests.support.flights import write_flight
from tests.support.page import TOKEN, Reader, Stream
from tests.support.service import PATIENCE_S, service, wait_until

EVERYWHERE = "0.0.0.0"  # noqa: S104 - with a token


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def viewing(*arguments: object, **environment: str) -> Iterator[tuple[Reader, str]]:
    """Run `crack-agent view`; yield a reader and the address that it printed."""
    words = call("crack-agent", "view", *arguments, "--no-browser")
    with subprocess.Popen(words, env=variables(**environment), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            yield Reader(int(address.split(":")[2].split("/")[0])), address
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()


def answering(port: int) -> Reader:
    """Wait for a page at a port."""
    reader = Reader(port)

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return reader.ask("/api/overview").status == 200
        return False

    wait_until(answers, lambda: f"no page at {port}")
    return reader


def test_view_opens_a_record_until_it_is_told_to_end(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight", 2)
    with viewing(tmp_path / "flight") as (page, _):
        assert len(page.cracks()) == 4
        assert page.ask("/").headers["content-type"].startswith("text/html")
        assert b"Crackscout" in page.ask("/").body


def test_view_for_others_makes_a_token_and_prints_it(tmp_path: Path) -> None:
    write_flight(tmp_path / "flight", 1)
    with viewing(tmp_path / "flight", "--host", EVERYWHERE) as (page, address):
        assert page.ask("/api/overview").status == 401
        path = "/" + address.split("/", 3)[3]
        cookie = page.ask(page.ask(path).headers["location"]).headers["set-cookie"].split(";")[0]
        assert page.ask("/api/overview", cookie=cookie).status == 200


def test_view_of_what_is_no_record_ends_with_a_reason(tmp_path: Path) -> None:
    done = crack("crack-agent", "view", tmp_path, "--no-browser")
    assert done.returncode == 2
    assert "no flight record here" in done.stderr


def test_demo_without_a_terminal_ends_by_itself_and_says_where_the_page_was(tmp_path: Path) -> None:
    done = crack("crack-agent", "demo", "--seconds", "0.4", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    assert "the page: http://127.0.0.1:" in done.stdout
    record = read_flight(tmp_path / "demo/record")
    assert record.header.frames_kept == "evidence"
    assert (record.header.standard or "").startswith("aashto-mbei"), "ranks to look at, where the settings name none"
    # a tunnel is shown by chainage and clock angle, on the page and in the report
    assert all(row.chainage_m is not None and row.clock_deg is not None for row in record.frames())
    assert "against the truth of the rendering" in done.stdout
    assert (tmp_path / "demo/flight/truth/cracks.json").is_file()


def test_demo_of_a_facade_is_shown_on_the_wall_and_on_the_map(tmp_path: Path) -> None:
    done = crack("crack-agent", "demo", "--flight", "facade", "--seconds", "0.4", "--out", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    rows = list(read_flight(tmp_path / "demo/record").frames())
    assert rows
    assert all(row.pose is not None and row.lat is not None and row.chainage_m is None for row in rows)


def device(tmp_path: Path, bundle: Path, port: int, **changes: Any) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir(exist_ok=True)
    for index in range(2):
        picture = np.random.default_rng(index).integers(190, 200, (150, 200, 3)).astype(np.uint8)
        picture[70:73, 30:150] = 60
        cv2.imwrite(str(photos / f"{index}.png"), picture)
    settings = {
        "version": 1, "bundle": str(bundle), "cameras": [{"name": "crown", "source": str(photos)}],
        "record": {"dir": str(tmp_path / "flights")}, "delivery": {"dir": str(tmp_path / "outbox")},
        "dashboard": {"port": port}, **changes,
    }  # fmt: skip
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_the_service_serves_its_flights_and_a_page_that_is_open_follows_it_over_a_restart(
    tmp_path: Path, tiny_bundle_folder: Path
) -> None:
    config = device(tmp_path, tiny_bundle_folder, free_port())
    port = yaml.safe_load(config.read_text())["dashboard"]["port"]
    with service(config) as (_, systemd):
        systemd.wait_for("every source has come to its end")
        page = answering(port)
        (record,) = (tmp_path / "flights").iterdir()
        want = read_flight(record).header
        first = page.key
        flight = page.ask(page.at("")).json
        assert (flight["frames"], flight["header"]["mission_id"]) == (want.frames, want.mission_id)
        assert set(page.cracks()) == {row.crack_id for _, row in read_flight(record).whole_cracks()}
        status = page.ask("/api/health").json["now"]
        assert (status["kind"], status["problem"], status["frames"]) == ("running", None, 2)
        assert status["cameras"][0]["name"] == "crown"
        reviewed = next(iter(page.cracks()))
        assert page.review(crack_id=reviewed, verdict="confirmed", reviewer="A. Bosch").status == 200
        assert page.review(crack_id=reviewed, undo="nothing").status == 422
        assert read_reviews(record)[0].verdict == "confirmed"
        with closing(Stream(page, f"/api/events?flight={first}")) as stream:
            stream.wait_for(lambda: bool(stream.told("cracks")))
            last_id = stream.last_id
    (tmp_path / "notify").unlink(missing_ok=True)
    with service(config) as (_, systemd):  # killed above, without a word
        systemd.wait_for("every source has come to its end")
        page = answering(port)
        with closing(Stream(page, f"/api/events?flight={first}", last_event_id=last_id)) as stream:
            stream.wait_for(lambda: bool(stream.told("flight")))
            assert stream.told("cracks") == []  # it has all of that flight
            newest = stream.told("flight")[-1][1]["key"]
        missions = {
            hashlib.sha256(folder.name.encode()).hexdigest()[:16] for folder in (tmp_path / "flights").iterdir()
        }
        assert {first, newest} == missions


def test_in_safe_mode_the_page_says_what_is_wrong_and_shows_the_flights_of_before(tmp_path: Path) -> None:
    write_flight(tmp_path / "flights/one", 1)
    port = free_port()
    config = device(tmp_path, tmp_path / "no-bundle", port, detect={"gate": "perhaps"})
    with service(config) as (_, systemd):
        systemd.wait_for("safe mode")
        page = answering(port)
        overview = page.ask("/api/overview").json
        assert "detect.gate" in overview["status"]["problem"]
        assert [flight["mission"] for flight in overview["flights"]] == ["mission-1"]
        crack_id = next(iter(page.cracks()))
        assert page.review(crack_id=crack_id, verdict="confirmed").status == 200
        assert page.cracks()[crack_id]["review"]["verdict"] == "confirmed"


def test_the_page_follows_the_settings_at_a_reload_and_asks_for_the_token(
    tmp_path: Path, tiny_bundle_folder: Path
) -> None:
    config = device(tmp_path, tiny_bundle_folder, free_port())
    port = free_port()
    with service(config) as (agent, systemd):
        systemd.wait_for("READY=1")
        (tmp_path / "token").write_text(TOKEN)
        device(tmp_path, tiny_bundle_folder, 0, dashboard={"port": port, "token_file": str(tmp_path / "token")})
        agent.hang_up()
        agent.wait_for_log("the new settings are taken over")
        wait_until(lambda: _answers(port, 401), lambda: agent.log)
        assert TOKEN not in agent.log


def test_a_port_that_is_taken_costs_the_page_and_not_the_flight(tmp_path: Path, tiny_bundle_folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = device(tmp_path, tiny_bundle_folder, other.getsockname()[1])
        with service(config) as (agent, systemd):
            systemd.wait_for("every source has come to its end")
            agent.wait_for_log("choose another dashboard.port")
            assert agent.stop() == 0
    (record,) = (tmp_path / "flights").iterdir()
    assert read_flight(record).header.complete


def test_the_token_is_no_setting(tmp_path: Path) -> None:
    settings = load(environment={"CRACKSCOUT_DASHBOARD__TOKEN": TOKEN})
    assert TOKEN not in str(settings.public())
    (tmp_path / "device.yaml").write_text("version: 1\ndashboard:\n  port: 99999\nrecord:\n  dir: there\n")
    assert load_usable(tmp_path / "device.yaml").record.dir == Path("there")


def test_each_file_that_the_page_brings_is_the_one_that_was_taken() -> None:
    page = Path(__file__).parents[3] / "agent/dashboard/page"
    listed = dict(
        line.split("  ")[::-1] for line in (page / "vendor.sha256").read_text().splitlines() if line[0] != "#"
    )
    files = {str(path.relative_to(page)): path for path in (page / "vendor").rglob("*") if path.is_file()}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == listed


def _answers(port: int, status: int) -> bool:
    with contextlib.suppress(OSError):
        return Reader(port).ask("/api/overview").status == status
    return False
