"""Who may ask the page: addresses, origins, tokens, paths."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.dashboard.server import read_token
from agent.dashboard.settings import DashboardSettings
from agent.errors import ConfigError
from tests.support.page import TOKEN, Reader, page_on

EVERYWHERE = "0.0.0.0"  # noqa: S104 - with a token


@pytest.fixture
def closed_page(record: Path) -> Iterator[Reader]:
    with page_on(record, token=TOKEN) as reader:
        yield reader


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.1:80", "[::1]:9", "robot.local:8470"])
def test_its_own_addresses_and_names_are_answered(record: Path, host: str) -> None:
    with page_on(record, names=("robot.local",)) as page:
        assert page.ask("/api/overview", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8470", "127.0.0.1.evil.example", "192.0.2.7", "robot.local", "localhost.evil", "]"],
)
def test_another_host_is_refused_for_every_address(page: Reader, host: str) -> None:
    for path in ("/", "/api/overview", "/static/app.js", "/login", page.at("/cracks")):
        assert page.ask(path, host=host).status == 421


def test_two_hosts_or_none_are_refused(page: Reader) -> None:
    for head in (b"", b"Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", page.port)) as wire:
            wire.sendall(b"GET / HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
            assert wire.recv(100).split()[1] in {b"400", b"421"}


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "http://localhost"]
)
def test_a_foreign_origin_is_refused(page: Reader, origin: str) -> None:
    assert page.ask("/api/overview", origin=origin).status == 403
    assert page.ask(page.at("/reviews"), method="POST", body=b"{}", origin=origin).status == 403


def test_what_changes_something_must_name_our_origin(page: Reader, record: Path) -> None:
    assert page.ask(page.at("/reviews"), method="POST", body=b"{}", origin="").status == 403
    assert not (record / "reviews.jsonl").exists()


def test_a_page_elsewhere_cannot_show_our_pictures(page: Reader) -> None:
    assert page.ask("/api/overview", sec_fetch_site="cross-site").status == 403
    assert page.ask("/api/overview", sec_fetch_site="same-site").status == 403
    assert page.ask("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200  # a link in a mail


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(page: Reader, method: str) -> None:
    assert page.ask("/api/overview", method=method).status == 405


def test_without_the_token_nothing_is_told(closed_page: Reader) -> None:
    for path in (
        "/api/overview",
        "/api/health",
        "/api/events",
        "/api/live.jpg",
        "/api/flights/0/cracks",
        "/background/0/0/0",
    ):
        answer = closed_page.ask(path)
        assert answer.status == 401
        assert b"mission" not in answer.body
    assert closed_page.ask("/api/flights/0/reviews", method="POST", body=b"{}").status == 401
    assert closed_page.ask("/").status == 303


def test_the_token_is_exchanged_for_a_cookie_that_scripts_and_other_sites_do_not_get(closed_page: Reader) -> None:
    answer = closed_page.ask(f"/login?token={TOKEN}")
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert closed_page.ask("/api/overview", cookie=cookie.split(";")[0]).status == 200


def test_the_token_may_also_be_typed(closed_page: Reader) -> None:
    answer = closed_page.ask("/login", method="POST", body=TOKEN.encode())
    assert closed_page.ask("/api/overview", cookie=answer.headers["set-cookie"].split(";")[0]).status == 200


def test_the_link_of_the_terminal_leads_to_the_page(closed_page: Reader) -> None:
    answer = closed_page.ask(f"/?token={TOKEN}")
    assert closed_page.ask(answer.headers["location"]).status == 303


@pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\u00e9" * 20])
def test_another_token_or_cookie_is_refused(closed_page: Reader, wrong: str) -> None:
    answer = closed_page.ask("/login", method="POST", body=wrong.encode())
    assert answer.status == 401
    assert "set-cookie" not in answer.headers
    name = f"crackscout_{closed_page.port}"
    assert closed_page.ask("/api/overview", cookie=f"{name}={wrong.encode().hex()}").status == 401


def test_a_cookie_outlives_a_restart_and_dies_with_the_token(record: Path) -> None:
    with page_on(record, token=TOKEN) as page:
        port = page.port
        cookie = page.ask(f"/login?token={TOKEN}").headers["set-cookie"].split(";")[0]
    with page_on(record, token=TOKEN, port=port) as page:
        assert page.ask("/api/overview", cookie=cookie).status == 200
    with page_on(record, token=TOKEN[::-1], port=port) as page:
        assert page.ask("/api/overview", cookie=cookie).status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/....//app.py",
        "/static//etc/passwd", "/../agent/app.py", "/%2e%2e/%2e%2e/etc/passwd", "/static/%00", "/static/vendor",
    ],
)  # fmt: skip
def test_paths_that_climb_are_refused(page: Reader, path: str) -> None:
    answer = page.ask(path)
    assert answer.status in {400, 404, 405}
    assert b"root:" not in answer.body
    assert b"import" not in answer.body


@pytest.mark.parametrize("key", ["..", "%2e%2e", "..%2f..%2fetc", "0" * 16, "x" * 10_000, "mission-1"])
def test_a_flight_that_is_none_is_not_found(page: Reader, key: str) -> None:
    assert page.ask(f"/api/flights/{key}/cracks").status == 404


def test_every_answer_carries_the_policy(page: Reader) -> None:
    for path in ("/", "/api/overview", "/static/app.js", "/nowhere", "/api/live.jpg"):
        headers = page.ask(path).headers
        assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


def test_the_page_names_no_address_outside_and_nothing_inline() -> None:
    folder = Path(__file__).parents[3] / "agent/dashboard/page"
    for path in [*folder.glob("*.js"), *folder.glob("*.html"), *folder.glob("*.css")]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:/|wss?:/|[\"'(]//", text), path
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "dangerouslySetInnerHTML",
            "eval(",
            "document.write",
            "onclick=",
        ):
            assert word not in text, (path, word)


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="token is needed"):
        read_token(DashboardSettings(host=EVERYWHERE), {})
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(DashboardSettings(host=EVERYWHERE, token_file=tmp_path / "token"), {}) == TOKEN
    assert read_token(DashboardSettings(host=EVERYWHERE), {"CRACKSCOUT_DASHBOARD__TOKEN": TOKEN}) == TOKEN
    (tmp_path / "dashboard_token").write_text(TOKEN)
    assert read_token(DashboardSettings(), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == TOKEN
    assert read_token(DashboardSettings(), {}) is None


@pytest.mark.parametrize("text", ["short", "", "x" * 16 + "\n" + "y", "\u00e9" * 20])
def test_a_token_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(ConfigError, match="token"):
        read_token(DashboardSettings(token_file=tmp_path / "token"), {})
    with pytest.raises(ConfigError, match="token_file"):
        read_token(DashboardSettings(token_file=tmp_path / "nowhere"), {})


def test_a_port_that_is_taken_is_named(record: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be used"), page_on(record, port=port):
            pass


def test_a_large_body_is_refused(page: Reader) -> None:
    assert page.ask(page.at("/reviews"), method="POST", body=b"x" * 20_000).status == 413


def test_the_server_ends_while_somebody_listens(record: Path) -> None:
    with page_on(record) as page, closing(socket.create_connection(("127.0.0.1", page.port))) as wire:
        wire.sendall(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200" in wire.recv(100)
    with pytest.raises(OSError):  # noqa: PT011 - refused, whatever the system calls it
        page.ask("/")
