"""The page in a real browser: Debian's Chromium, driven by playwright, which brings none of its own."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect, sync_playwright

from agent.contract.flight import CrackRow, SurfaceKind
from agent.record import read_flight
from tests.support.axe import bring_axe, serious_faults
from tests.support.flights import HOSTILE, header, rows
from tests.support.inspected import begin_flight, end_flight, fly, write_inspection
from tests.support.needs import missing
from tests.support.page import TOKEN, Reader, page_on
from tests.support.service import wait_until

CHROMIUM = Path("/usr/bin/chromium")
SCREENS = ("live", "cracks", "place", "flight", "health")
WAIT_MS = 30_000

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inspection(tmp_path_factory.mktemp("page") / "flight")


@pytest.fixture(scope="module")
def served(record: Path) -> Iterator[Reader]:
    with page_on(record) as reader:
        yield reader


@contextmanager
def opened(
    browser: Browser,
    reader: Reader,
    screen: str = "cracks",
    *,
    width: int = 1280,
    theme: Any = "light",
    allowed: str = "^$",
) -> Iterator[Page]:
    """Open the page; whatever it complains of, or asks of another address, fails the test, but for what is allowed."""
    faults: list[str] = []
    here = f"http://127.0.0.1:{reader.port}/"
    with ExitStack() as stack:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
        )
        stack.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((here, "data:", "blob:")) else faults.append(asked.url),
        )
        page.goto(f"{here}#{screen}")
        yield page
    assert [fault for fault in faults if not re.search(allowed, fault)] == []


def cracks_of(record: Path) -> list[CrackRow]:
    return [row for _, row in read_flight(record).whole_cracks()]


def wait_for_picture(page: Page, selector: str) -> None:
    """Wait until a picture is there; playwright's own wait would need what the page's policy forbids."""
    script = "selector => document.querySelector(selector)?.naturalWidth > 0"
    wait_until(lambda: bool(page.evaluate(script, selector)), lambda: f"no picture in {selector}")


def rows_of(page: Page) -> list[str]:
    found = page.eval_on_selector_all(".body [role=row]", "rows => rows.map(row => row.dataset.crack)")
    return [str(one) for one in found]


def shown(page: Page) -> int:
    return int(page.locator("#shown").inner_text().split()[0])


def test_every_screen_shows_the_numbers_of_the_record(browser: Browser, served: Reader, record: Path) -> None:
    found = [row for row in cracks_of(record) if row.kind == "crack"]
    flight = read_flight(record)
    with opened(browser, served, "flight") as page:
        expect(page.locator("#f-cracks")).to_have_text(str(len(found)))
        expect(page.locator("#f-frames")).to_have_text(str(flight.header.frames))
        length = sum(row.length_mm or 0 for row in found) / 1000
        assert abs(float(page.locator("#f-length").inner_text().split()[0]) - length) < 0.01
        covered = flight.coverage()
        assert covered is not None
        expect(page.locator("#f-inspected")).to_have_text(f"{covered.inspected_m2:.2f} m²")
        severities = Counter(row.severity for row in found)
        bars = page.eval_on_selector_all(
            "[data-of=severity] li",
            "rows => rows.map(row => [row.querySelector('span').textContent, row.querySelector('b').textContent])",
        )
        assert {name: int(count) for name, count in bars} == severities
        worst = page.locator(".worst code").all_inner_texts()
        assert (
            worst[0]
            == max((row for row in found if row.severity == "severe"), key=lambda row: row.width_mm or 0).crack_id[:6]
        )
        assert len(worst) == 10
        expect(page.get_by_text("truncated JPEG")).to_be_visible()
        page.keyboard.press("1")
        expect(page.locator("#cracks-now")).to_have_text(str(len(found)))
        expect(page.locator("#frames-now")).to_have_text(str(flight.header.frames))
        wait_for_picture(page, ".stage img")
        page.keyboard.press("3")
        expect(page.locator("#placed")).to_have_text(f"{len(found)} shown")
        expect(page.locator(".leaflet-container")).to_be_visible()
        for mode in ("Map", "Wall", "Tunnel strip"):
            page.get_by_role("button", name=mode).click()
            expect(page.locator("#placed")).to_have_text(f"{len(found)} shown")
        page.keyboard.press("5")
        expect(page.get_by_text("closed in order")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("surface", "view"), [("wall", "Wall"), ("lining", "Tunnel strip"), ("ground", "Map")], ids=["wall", "strip", "map"]
)
def test_coverage_has_its_colours_and_says_what_the_record_says(
    browser: Browser, tmp_path: Path, surface: SurfaceKind, view: str, theme: str
) -> None:
    record = write_inspection(tmp_path / "flight", surface=surface)
    covered = read_flight(record).coverage()
    assert covered is not None
    with page_on(record) as served, opened(browser, served, "place", theme=theme) as page:
        page.get_by_role("button", name=view).click()
        legend = page.get_by_label("Coverage")
        expect(legend.locator("[data-state=inspected]")).to_contain_text(f"inspected: {covered.inspected_m2:.2f} m²")
        expect(legend.locator("[data-state=not_gradable]")).to_contain_text(
            f"{covered.not_gradable_m2:.2f} m² (out of focus {covered.not_gradable_blur_m2:.2f} m², "
            f"too dark {covered.not_gradable_dark_m2:.2f} m²)"
        )
        expect(legend.locator("[data-state=never_seen]")).to_contain_text(f"{covered.never_seen_m2:.2f} m²")
        expect(legend).to_contain_text(f"from {covered.smallest_width_mm:.2f} mm on, at worst 0.40 mm")
        for state in ("inspected", "not_gradable", "never_seen"):
            count = sum(area.state == state for area in covered.areas)
            expect(page.locator(f".cover.{state}")).to_have_count(count)
        colours = page.eval_on_selector_all(".cover", "areas => areas.map(area => area.getAttribute('stroke'))")
        assert len(set(colours)) == 3
        told = page.locator(".leaflet-tooltip.told")
        box = None
        for state, number, share, words in (
            ("inspected", 0, 0.25, ["Inspected", "Cracks from 0.20 mm on could be found here"]),
            ("inspected", 0, 0.75, ["Inspected", "Cracks from 0.40 mm on could be found here"]),
            ("not_gradable", 0, 0.5, ["Seen, not gradable: out of focus"]),
            ("not_gradable", 1, 0.5, ["Seen, not gradable: too dark"]),
            ("never_seen", 0, 0.5, ["Never seen"]),
        ):
            box = page.locator(f".cover.{state}").nth(number).bounding_box()
            assert box is not None
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
            for text in words:
                expect(told).to_contain_text(text)
            if state != "inspected":
                expect(told).not_to_contain_text("could be found")
        assert box is not None
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 4 * box["height"])
        expect(told).to_have_count(0)  # nobody should have looked there
        page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        expect(told).to_contain_text("Never seen")


def test_a_view_that_knows_no_coverage_says_so(browser: Browser, served: Reader) -> None:
    with opened(browser, served, "place") as page:
        page.get_by_role("button", name="Map").click()
        expect(page.get_by_label("Coverage")).to_contain_text("Not drawn here: where it lies is known under Wall.")
        expect(page.locator(".cover")).to_have_count(0)
        page.get_by_role("button", name="Wall").click()
        expect(page.locator(".cover")).to_have_count(4)


def test_cracks_are_sorted_and_filtered(browser: Browser, served: Reader, record: Path) -> None:
    found = cracks_of(record)
    cracks = [row for row in found if row.kind == "crack"]
    with opened(browser, served) as page:
        expect(page.locator("#shown")).to_have_text(f"{len(cracks)} of {len(found)} finds")
        page.get_by_role("columnheader", name="Width").get_by_role("button").click()
        widest = sorted(cracks, key=lambda row: -(row.width_mm or -1))
        expect(page.locator(".body [role=row]").first).to_contain_text(f"{widest[0].width_mm:.2f} mm")
        assert rows_of(page)[:3] == [row.crack_id for row in widest[:3]]
        page.get_by_role("button", name=re.compile("^high")).click()
        assert shown(page) == sum(row.severity == "high" for row in cracks)
        page.get_by_role("button", name=re.compile("^severe")).click()
        assert shown(page) == sum(row.severity in {"high", "severe"} for row in cracks)
        page.get_by_role("searchbox").fill(widest[0].crack_id[:8])
        assert shown(page) == (widest[0].severity in {"high", "severe"})
        page.get_by_role("searchbox").fill("no such thing")
        expect(page.get_by_text("Nothing fits the filters.")).to_be_visible()
        page.get_by_role("searchbox").fill("")
        for name in ("high", "severe"):
            page.get_by_role("button", name=re.compile(f"^{name}")).click()
        page.get_by_label("Kind").select_option("joint")
        assert shown(page) == sum(row.kind == "joint" for row in found)
        page.get_by_role("button", name="width known").click()
        assert shown(page) == sum(row.kind == "joint" and row.gradable for row in found)


def test_a_crack_is_looked_at_down_to_its_pixels(browser: Browser, served: Reader, record: Path) -> None:
    crack = next(row for row in cracks_of(record) if row.gradable)
    with opened(browser, served, f"cracks/{crack.crack_id}") as page:
        detail = page.locator(".detail")
        expect(detail.locator(".big")).to_have_text(f"{crack.width_mm:.2f} mm")
        expect(detail).to_contain_text(f"{crack.width_lo_mm:.2f} – {crack.width_hi_mm:.2f} mm, 90 %")  # noqa: RUF001 - a range
        expect(detail).to_contain_text(str(crack.severity_class))
        wait_for_picture(page, ".glass img")
        about = served.ask(served.at(f"/crack?id={crack.crack_id}")).json["picture"]
        assert page.evaluate("document.querySelector('.glass img').naturalWidth") == about["width"]
        whole = page.locator("#zoom").inner_text()
        page.get_by_role("button", name="Zoom in").click()
        expect(page.locator("#zoom")).not_to_have_text(whole)
        page.get_by_role("button", name="To the pixels").click()
        expect(page.locator("#zoom")).to_have_text("800 %")
        expect(page.locator(".glass img")).to_have_class("pixels")
        glass = page.locator(".glass").bounding_box()
        assert glass is not None
        page.mouse.move(glass["x"] + 50, glass["y"] + 50)
        page.mouse.wheel(0, -200)
        expect(page.locator("#zoom")).not_to_have_text("800 %")
        page.get_by_role("button", name="Whole crack").click()
        expect(page.locator("#zoom")).to_have_text(whole)
        expect(page.locator(".over .outline").first).to_be_attached()
        page.keyboard.press("o")
        expect(page.locator(".over .outline")).to_have_count(0)


def reviews(record: Path) -> list[dict[str, Any]]:
    path = record / "reviews.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_crack_is_confirmed_commented_merged_and_all_of_it_taken_back(browser: Browser, tmp_path: Path) -> None:
    record = write_inspection(tmp_path / "flight", 6)
    crack = cracks_of(record)[0].crack_id
    with page_on(record) as served, opened(browser, served, f"cracks/{crack}") as page:
        page.get_by_label("Your name").fill("A. Bosch")
        page.get_by_role("button", name="Confirm", exact=True).click()
        expect(page.locator(".head .verdict")).to_have_text("confirmed")
        assert [(row["crack_id"], row["verdict"], row["reviewer"]) for row in reviews(record)] == [
            (crack, "confirmed", "A. Bosch")
        ]
        page.get_by_role("status").get_by_role("button", name="Undo").click()
        expect(page.locator(".head .verdict")).to_have_count(0)
        assert reviews(record)[-1]["undo"] == reviews(record)[0]["id"]
        page.locator("h2").first.click()
        page.keyboard.press("x")
        expect(page.locator(".head .verdict")).to_have_text("rejected")
        page.keyboard.press("u")
        expect(page.locator(".head .verdict")).to_have_count(0)
        page.get_by_role("button", name="Comment").click()
        page.get_by_label("Comment", exact=True).last.fill("<i>wet</i> edge")
        page.get_by_role("button", name="Write").click()
        expect(page.locator(".said q")).to_have_text("<i>wet</i> edge")
        page.get_by_role("button", name="Merge", exact=True).click()
        into = page.locator(".near code").first.inner_text()
        page.locator(".near button").first.click()
        expect(page.locator(".head .verdict.merged")).to_have_text(f"part of {into}")
        page.get_by_role("status").get_by_role("button", name="Undo").click()
        expect(page.locator(".head .verdict.merged")).to_have_count(0)
    assert len(reviews(record)) == 7


def test_an_undo_takes_back_what_is_shown_though_its_answer_is_still_on_the_way(
    browser: Browser, tmp_path: Path
) -> None:
    record = write_inspection(tmp_path / "flight", 2)
    crack = cracks_of(record)[0].crack_id
    held: list[tuple[Route, APIResponse]] = []
    with page_on(record) as served, opened(browser, served, f"cracks/{crack}") as page:
        page.route("**/reviews", lambda route: held.append((route, route.fetch())), times=1)
        page.get_by_role("button", name="Confirm", exact=True).click()
        expect(page.locator(".head .verdict")).to_have_text("confirmed")  # told by the stream of events
        page.keyboard.press("u")
        ((route, answer),) = held
        route.fulfill(response=answer)
        expect(page.locator(".head .verdict")).to_have_count(0)
    assert [row["undo"] is not None for row in reviews(record)] == [False, True]


def test_an_open_page_outlives_a_restart_of_the_agent_without_gap_or_double(browser: Browser, tmp_path: Path) -> None:
    recorder = begin_flight(tmp_path / "flight")
    fly(recorder, 0, 4)
    with ExitStack() as stack:
        server = ExitStack()
        served = server.enter_context(page_on(tmp_path / "flight"))
        page = stack.enter_context(opened(browser, served, allowed="net::ERR_"))  # while the agent is away
        page.get_by_label("Kind").select_option("")
        expect(page.locator("#shown")).to_have_text("8 finds")
        fly(recorder, 4, 6)
        expect(page.locator("#shown")).to_have_text("12 finds")
        server.close()
        expect(page.locator("#word")).to_have_text("no answer")
        fly(recorder, 6, 9)  # while nobody serves
        stack.enter_context(page_on(tmp_path / "flight", port=served.port))
        expect(page.locator("#shown")).to_have_text("18 finds")
        fly(recorder, 9, 10)
        expect(page.locator("#shown")).to_have_text("20 finds")
        end_flight(recorder, 10)
        expect(page.locator("#word")).to_have_text("recorded")
        assert sorted(rows_of(page)) == sorted(row.crack_id for row in cracks_of(tmp_path / "flight"))


def test_the_keyboard_is_enough(browser: Browser, served: Reader) -> None:
    with opened(browser, served, "live") as page:
        expect(page.locator("#cracks-now")).to_be_visible()
        page.keyboard.press("2")
        page.locator(".table").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        selected = rows_of(page)[1]
        expect(page.locator(f"[data-crack='{selected}']")).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Enter")
        expect(page.locator(".detail h2")).to_have_text(selected[:6])
        page.keyboard.press("Escape")
        expect(page.locator(".detail")).to_have_count(0)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("t")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()


@pytest.mark.parametrize("width", [360, 1024, 1920])
def test_nothing_is_cut_off_at_any_width(browser: Browser, served: Reader, record: Path, width: int) -> None:
    crack = cracks_of(record)[0].crack_id
    with opened(browser, served, width=width) as page:
        for screen in (*SCREENS, f"cracks/{crack}"):
            page.evaluate("hash => { location.hash = hash; }", screen)
            expect(page.locator("h1")).to_have_text(re.compile(screen.split("/")[0], re.IGNORECASE))
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert (
                page.evaluate("document.querySelector('main').scrollWidth - document.querySelector('main').clientWidth")
                <= 0
            )
            cut = "all => all.filter(e => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight + 1)"
            words = page.locator(".severity > span, .chip, .tabs button, .actions button, .tile b, .facts dt")
            assert words.evaluate_all(f"{cut}.map(e => e.textContent)") == []
            assert page.locator("nav a").evaluate_all(
                "links => links.every(a => a.getBoundingClientRect().right <= innerWidth)"
            )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Browser, served: Reader, record: Path, theme: str) -> None:
    crack = cracks_of(record)[0].crack_id
    found = []
    with opened(browser, served, theme=theme) as page:
        bring_axe(page)
        for screen in (*SCREENS, f"cracks/{crack}"):
            page.evaluate("hash => { location.hash = hash; }", screen)
            expect(page.locator("h1")).to_have_text(re.compile(screen.split("/")[0], re.IGNORECASE))
            page.wait_for_timeout(300)
            found += [(screen, *fault) for fault in serious_faults(page)]
    assert found == []


def test_hostile_names_are_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    names = {
        "mission_id": HOSTILE + "m" * 10_000,
        "device": HOSTILE,
        "structure": HOSTILE,
        "inspector": "<b>x</b>" * 2000,
    }
    with begin_flight(tmp_path / "flight", **header(**names).model_dump(include=set(names))) as recorder:
        row, cracks = rows(0)
        evil = {
            "camera": HOSTILE,
            "not_gradable_reason": HOSTILE,
            "gradable": False,
            "severity_class": HOSTILE,
            "severity_standard": HOSTILE,
        }
        recorder.add(
            row.model_copy(update={"name": HOSTILE[:60] + "n" * 10_000}),
            [one.model_copy(update=evil) for one in cracks],
        )
    crack = cracks_of(tmp_path / "flight")[0].crack_id
    with page_on(tmp_path / "flight") as served, opened(browser, served, allowed="404") as page:
        for screen in (*SCREENS, f"cracks/{crack}"):
            page.evaluate("hash => { location.hash = hash; }", screen)
            expect(page.locator("h1")).to_have_text(re.compile(screen.split("/")[0], re.IGNORECASE))
            page.wait_for_timeout(200)
            assert page.locator("img[onerror], img[src=x], b:has-text('x'):not([class]):not([id]) > b").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= 1280
            text = page.locator("body").inner_text()
            assert "\u202e" not in text  # spelled out, so that nothing reads backwards
            assert "<img src=x onerror=alert(1)>" in text


def test_the_token_is_asked_for_once(browser: Browser, record: Path) -> None:
    with page_on(record, token=TOKEN) as served:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(f"http://127.0.0.1:{served.port}/")
        page.get_by_label("Token of this device").fill("not the right one at all")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_have_text("This is not the token of this device.")
        page.get_by_label("Token of this device").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        expect(page.locator("#shown")).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        page.reload()
        expect(page.locator("#shown")).to_be_visible()
        context.close()
