"""Page, paper and video in the browser that people have."""

from __future__ import annotations

import http.server
import os
import queue
import re
import subprocess
import threading
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pypdf
import pytest
from playwright.sync_api import sync_playwright

from agent.errors import ConfigError, OutputError
from agent.report.pdf import browser, print_pdf
from tests.hand_on.conftest import Flown
from tests.support.axe import bring_axe, serious_faults
from tests.support.commands import crack

PLAYS = """<!doctype html><title>waiting</title><video src="overlay.mp4" muted preload="auto"></video>
<script>
const video = document.querySelector("video");
const note = (text) => fetch("/told", { method: "POST", body: text });
video.onerror = () => note("error " + video.error.message);
video.onended = () => {
  const shown = video.getVideoPlaybackQuality().totalVideoFrames > 0;
  note(`ended ${video.videoWidth}x${video.videoHeight} ${video.duration.toFixed(3)} ${shown}`);
};
video.play().catch((e) => note("refused " + e));
</script>"""


@pytest.fixture(scope="module")
def printed(flown: Flown, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert chromium
    out = tmp_path_factory.mktemp("printed") / "out"
    done = crack("crack-agent", "report", flown.record, "--out", out, "--format", "html", "--pdf")
    assert done.returncode == 0, done.stderr
    return out


def _options(profile: Path) -> list[str]:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root cannot make one
    return ["--headless", "--disable-gpu", "--disable-dev-shm-usage", *sandbox, f"--user-data-dir={profile}"]


def _dom(chromium: str, page: Path, scratch: Path) -> str:
    call = [chromium, *_options(scratch), "--dump-dom", page.resolve().as_uri()]
    return subprocess.run(call, capture_output=True, text=True, check=True, timeout=180).stdout


class TestPaper:
    def test_every_page_has_its_number_and_none_is_empty(self, printed: Path) -> None:
        pages = pypdf.PdfReader(printed / "report.pdf").pages
        assert len(pages) >= 4
        for number, page in enumerate(pages, start=1):
            text = page.extract_text()
            assert len(text) > 60
            assert number == 1 or f"{number} / {len(pages)}" in text
            assert (round(page.mediabox.width), round(page.mediabox.height)) in {(595, 842), (594, 841)}  # A4, pt

    def test_it_says_what_the_page_says(self, printed: Path, flown: Flown) -> None:
        pages = pypdf.PdfReader(printed / "report.pdf").pages
        text = unicodedata.normalize("NFKC", " ".join(page.extract_text() for page in pages))  # ligatures
        for words in ("Read this first", "The surface", "Crack by crack", "Crack 1:", "What was inspected", "sha256"):
            assert words in text, words
        header = (flown.record / "flight.json").read_text()
        assert re.sub(r"\s", "", text).count(re.findall(r'"mission_id": "([^"]+)"', header)[0]) >= 1

    def test_a_sheet_is_never_cut(self, printed: Path) -> None:
        """Each sheet's last row, its reviews, stands on the page of its heading."""
        for page in pypdf.PdfReader(printed / "report.pdf").pages:
            text = page.extract_text()
            assert len(re.findall(r"Crack \d+: ", text)) == text.count("nobody has reviewed it")

    def test_without_a_browser_it_says_what_to_install(self, flown: Flown, tmp_path: Path) -> None:
        options = ["--out", tmp_path / "out", "--pdf"]
        done = crack("crack-agent", "report", flown.record, *options, PATH=str(tmp_path))
        assert done.returncode == 2
        assert "apt-get install chromium" in done.stderr
        assert not (tmp_path / "out").exists()

    def test_a_browser_that_fails_is_named(self, printed: Path, tmp_path: Path) -> None:
        broken = tmp_path / "chromium"
        broken.write_text("#!/bin/sh\necho no display >&2\nexit 7\n")
        broken.chmod(0o755)
        with pytest.raises(OutputError, match=r"ended with 7 and no PDF \(no display\)"):
            print_pdf(printed / "report.html", tmp_path / "report.pdf", program=str(broken))
        assert not (tmp_path / "report.pdf").exists()

    def test_the_browser_is_looked_for(self, chromium: str) -> None:
        try:
            assert browser() == chromium
        except ConfigError:
            pytest.fail("Chromium is there, and was not found")


class TestPage:
    def test_a_browser_draws_all_of_it_without_a_complaint(self, printed: Path, chromium: str, tmp_path: Path) -> None:
        page = printed / "report.html"
        dom = _dom(chromium, page, tmp_path)
        # what the browser made of it has every sheet and every picture that the file has
        for mark in ('<article class="crack"', "<img ", "<polyline ", 'href="#sheet-1"'):
            assert dom.count(mark) == page.read_text().count(mark) > 0, mark

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("width", [360, 1024, 1920])
    def test_axe_finds_no_serious_fault_and_nothing_leaves_the_page(
        self, printed: Path, chromium: str, width: int, theme: Literal["light", "dark"]
    ) -> None:
        faults: list[str] = []
        with sync_playwright() as playwright:
            browser_ = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser_.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto((printed / "report.html").resolve().as_uri())
            bring_axe(page)
            assert serious_faults(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            browser_.close()
        assert faults == []


class TestVideo:
    def test_it_plays_to_its_end(self, flown: Flown, chromium: str, tmp_path: Path) -> None:
        (tmp_path / "overlay.mp4").write_bytes((flown.record / "overlay.mp4").read_bytes())
        (tmp_path / "page.html").write_text(PLAYS)
        told = _told_by_a_page(tmp_path, chromium)
        assert told.startswith("ended 960x"), told
        _, seconds, shown = told.removeprefix("ended ").split()
        assert float(seconds) == pytest.approx(len(flown.flight) / flown.flight.settings.fps, abs=0.25)
        assert shown == "true"


def _told_by_a_page(folder: Path, chromium: str) -> str:
    """Serve a folder, open its page.html in a browser, and return what the page sends to /told."""
    told: queue.Queue[str] = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        call = [chromium, *_options(folder / "profile"), "--remote-debugging-port=0"]
        call += ["--autoplay-policy=no-user-gesture-required", f"http://127.0.0.1:{server.server_port}/page.html"]
        with (folder / "said").open("wb") as said, subprocess.Popen(call, stdout=said, stderr=said) as browser_:
            try:
                return told.get(timeout=120)
            finally:
                browser_.terminate()
                browser_.wait(timeout=60)
                server.shutdown()
