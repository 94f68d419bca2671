"""Nothing that was said is lost, whatever dies. `make test-faults` is the long form: hundreds of kills and a table.

A talker is a light agent around the real delivery (`tests.support.talker`): once its `publish` has returned, the report
must arrive, or a gap must tell of it. The broker is a real mosquitto with its default persistence, which is none; only
its limit of 1000 messages queued for a reader is lifted, since our reader shares two cores with everything else.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.accounts import Talker, given_up, heard, note, settle
from tests.support.broker import Broker, Subscriber, running, wait_until
from tests.support.fault_proxy import FaultProxy
from tests.support.needs import missing

LONG = bool(os.environ.get("CRACKSCOUT_FAULTS_LONG"))
AGENT_KILLS = 200 if LONG else 5
BROKER_KILLS = 20 if LONG else 2
OUTAGE_S = 30.0 if LONG else 8.0
QUICK = {"settle_s": 2, "backlog_per_s": 5000}


@pytest.fixture
def broker(tmp_path: Path, closing: ExitStack) -> Broker:
    return closing.enter_context(running(Broker(tmp_path)))


@pytest.fixture
def listen(closing: ExitStack) -> Callable[..., Subscriber]:
    def make(broker: Broker, **arguments: str) -> Subscriber:
        subscriber = Subscriber(broker, **arguments)
        closing.callback(subscriber.close)
        return subscriber

    return make


@pytest.fixture
def talk(tmp_path: Path, closing: ExitStack) -> Callable[..., Talker]:
    def make(port: int, name: str = "talker", **asked: object) -> Talker:
        talker = Talker(tmp_path / name, port, **{"delivery": QUICK, **asked})  # type: ignore[arg-type]

        def end() -> None:
            if talker._process is not None and talker.lives:
                talker.kill()

        closing.callback(end)
        return talker

    return make


Listen = Callable[..., Subscriber]
Talk = Callable[..., Talker]


def test_the_agent_is_killed_at_any_stage(broker: Broker, listen: Listen, talk: Talk) -> None:
    subscriber = listen(broker)
    talker = talk(broker.port, pictures=4)
    moments = random.Random(8)
    for _ in range(AGENT_KILLS):
        talker.start()
        time.sleep(moments.uniform(0.0, 2.0))  # from before it has opened its outbox to well into talking
        talker.kill()
    talker.start()
    talker.say_at_least(5)
    talker.kill()
    talker.finish()
    settle([talker], subscriber, f"{AGENT_KILLS} kills of the agent")


def test_the_broker_is_killed_with_reports_in_hand(
    broker: Broker, listen: Listen, talk: Talk, closing: ExitStack
) -> None:
    proxy = FaultProxy(broker.port)
    closing.callback(proxy.close)
    subscriber = listen(broker)
    talker = talk(proxy.port)
    moments = random.Random(9)
    talker.start()
    for _ in range(BROKER_KILLS):
        talker.say_at_least(20)
        time.sleep(moments.uniform(0.0, 4.0))
        there = subscriber.subscriptions
        broker.kill()
        proxy.cut()  # a broker that knows no reader yet takes reports for nobody: `settle_s` is a wait and no promise
        time.sleep(moments.uniform(0.0, 1.0))
        broker.start()
        subscriber.wait_subscribed(there + 1)
        proxy.heal()
    talker.say_at_least(20)
    time.sleep(5)
    talker.kill()
    talker.finish()
    settle([talker], subscriber, f"{BROKER_KILLS} kills of the broker", set_aside=talker.status()["dropped"])


@pytest.mark.parametrize("how", ["cut", "stall"])
def test_the_link_fails(how: str, broker: Broker, listen: Listen, talk: Talk, closing: ExitStack) -> None:
    proxy = FaultProxy(broker.port)
    closing.callback(proxy.close)
    subscriber = listen(broker)
    talker = talk(proxy.port)
    talker.start()
    for _ in range(3 if LONG else 1):
        talker.say_at_least(20)
        getattr(proxy, how)()
        time.sleep(OUTAGE_S)
        proxy.heal()
    talker.say_at_least(20)
    talker.kill()
    talker.finish()
    settle([talker], subscriber, f"link: {how} for {OUTAGE_S:.0f} s")


def test_the_broker_is_frozen(broker: Broker, listen: Listen, talk: Talk) -> None:
    subscriber = listen(broker)
    talker = talk(broker.port)
    talker.start()
    talker.say_at_least(20)
    broker.freeze()
    time.sleep(OUTAGE_S)
    broker.thaw()
    talker.say_at_least(20)
    talker.kill()
    talker.finish()
    settle([talker], subscriber, f"SIGSTOP of the broker for {OUTAGE_S:.0f} s")


def test_a_cable_is_pulled_in_a_network_of_its_own(tmp_path: Path, talk: Talk, closing: ExitStack) -> None:
    def ip(*words: str) -> bool:
        return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0

    name = f"cs{os.getpid() % 10_000}"
    address = f"10.213.{os.getpid() % 200}"
    if shutil.which("ip") is None or not ip("netns", "add", name):
        pytest.skip("network namespaces are not permitted here")
    closing.callback(ip, "netns", "del", name)
    assert ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
    assert ip("addr", "add", f"{address}.1/24", "dev", f"{name}a")
    assert ip("link", "set", f"{name}a", "up")
    for words in (("addr", "add", f"{address}.2/24", "dev", f"{name}b"), ("link", "set", f"{name}b", "up")):
        assert ip("-n", name, *words)
    assert ip("-n", name, "link", "set", "lo", "up")
    broker = closing.enter_context(running(Broker(tmp_path, host=f"{address}.2", namespace=name)))
    heard_file = tmp_path / "heard"
    with heard_file.open("wb") as out:  # it sits behind the cable, so it hears what the broker got, whatever we see
        listener = subprocess.Popen(
            ["ip", "netns", "exec", name, "mosquitto_sub", "-h", f"{address}.2", "-p", str(broker.port), "-q", "1",
             "-t", "+/v1/+/crack", "-F", "%p"], stdout=out,
        )  # fmt: skip
    closing.callback(listener.wait)
    closing.callback(listener.kill)
    talker = talk(broker.port, mqtt={"host": f"{address}.2"})
    talker.start()
    for _ in range(3 if LONG else 1):
        talker.say_at_least(20)
        assert ip("link", "set", f"{name}a", "down")
        time.sleep(OUTAGE_S)
        assert ip("link", "set", f"{name}a", "up")
    talker.say_at_least(20)
    talker.kill()
    talker.finish()

    def missed() -> set[str]:
        content = heard_file.read_text()
        return {id_ for id_ in talker.said() if f'"id":"{id_}"' not in content}

    wait_until(lambda: not missed(), "reports are missing")
    note(f"cable pulled for {OUTAGE_S:.0f} s", said=len(talker.said()), heard=len(talker.said()))


def test_the_agent_is_there_before_the_broker(tmp_path: Path, listen: Listen, talk: Talk, closing: ExitStack) -> None:
    broker = Broker(tmp_path)
    talker = talk(broker.port, pictures=5)
    talker.start()
    talker.say_at_least(100)
    closing.enter_context(running(broker))
    subscriber = listen(broker)
    talker.kill()
    talker.finish()
    settle([talker], subscriber, "agent before broker")


def test_the_broker_is_away_until_the_outbox_is_full(
    tmp_path: Path, listen: Listen, talk: Talk, closing: ExitStack
) -> None:
    broker = Broker(tmp_path)
    talker = talk(broker.port, pictures=5, pause_s=0.0, delivery={**QUICK, "max_mb": 2}, frames=400, flush_s=0)
    talker.start()
    assert talker.wait() == 1, "reports are left"
    status = talker.status()
    assert set(status["dropped"]) >= {"evidence", "crack_low"}
    closing.enter_context(running(broker))
    subscriber = listen(broker)
    talker.finish()
    assert given_up(subscriber) == sum(status["dropped"].values()) > 0
    settle([talker], subscriber, "broker absent past the cap of 2 MB", dropped=status["dropped"])


def test_the_disk_is_full(tmp_path: Path, listen: Listen, talk: Talk, closing: ExitStack) -> None:
    disk = tmp_path / "talker"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(disk)], check=False).returncode:
        pytest.skip("no right to mount a small disk")
    closing.callback(lambda: subprocess.run(["umount", "-l", str(disk)], check=False))
    broker = Broker(tmp_path)
    delivery = {**QUICK, "ballast_mb": 2, "min_free_mb": 1}
    talker = talk(broker.port, pictures=5, pause_s=0.0, frames=800, flush_s=0, delivery=delivery)
    talker.start()
    talker.say_at_least(50)
    with suppress(OSError), (disk / "other").open("wb") as hog:  # somebody else takes what is left
        while True:
            hog.write(bytes(100_000))
    talker.wait()
    status_is_there = (disk / "status.json").exists() and (disk / "status.json").stat().st_size > 0
    (disk / "other").unlink()
    closing.enter_context(running(broker))
    subscriber = listen(broker)
    talker.finish(delivery={**delivery, "ballast_mb": 0})
    settle([talker], subscriber, "full disk of 12 MB", status_written=status_is_there)


def damage(path: Path, how: str) -> None:
    """Break a database as a dying disk would."""
    with path.open("r+b") as file:
        match how:
            case "header":
                file.write(os.urandom(100))
            case "truncated":
                file.truncate(path.stat().st_size // 2 // 4096 * 4096)
            case "empty":
                file.truncate(0)


@pytest.mark.parametrize("how", ["header", "truncated", "empty"])
def test_the_database_is_broken_after_a_kill(
    how: str, tmp_path: Path, listen: Listen, talk: Talk, closing: ExitStack
) -> None:
    """All of it still stands in the journal beside it, and is told."""
    broker = Broker(tmp_path)
    talker = talk(broker.port)
    talker.start()
    talker.say_at_least(200)
    talker.kill()
    damage(talker.folder / "outbox" / "outbox.sqlite3", how)
    closing.enter_context(running(broker))
    subscriber = listen(broker)
    talker.finish()
    settle([talker], subscriber, f"database {how}, after a kill", told=len(subscriber.payloads("/gap")))


@pytest.mark.parametrize("how", ["header", "truncated", "empty"])
def test_the_database_is_broken_after_an_orderly_end(
    how: str, tmp_path: Path, listen: Listen, talk: Talk, closing: ExitStack
) -> None:
    """There is no journal beside it: what its own bytes still hold is told, and that something may be missing."""
    broker = Broker(tmp_path)
    talker = talk(broker.port, frames=40, flush_s=0)
    talker.start()
    assert talker.wait() == 1, "all is left"
    damage(talker.folder / "outbox" / "outbox.sqlite3", how)
    closing.enter_context(running(broker))
    subscriber = listen(broker)
    talker.start(frames=4, flush_s=120)
    assert talker.wait() == 0
    subscriber.wait_for(lambda: bool(subscriber.payloads("/gap")))
    assert [(gap["reason"], gap["count"]) for gap in subscriber.payloads("/gap")] == [("corrupt", None)]
    said, got = talker.said(), set(heard(subscriber))
    assert got <= said
    saved = len(got) - 20
    assert (saved == 200) if how == "header" else (saved == 0) if how == "empty" else (20 < saved < 200)
    note(f"database {how}, after an orderly end", said=len(said), heard=len(got), in_gaps="1, of unknown count")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_message_that_the_broker_cannot_bear_holds_up_nobody(
    protocol: str, tmp_path: Path, listen: Listen, talk: Talk, closing: ExitStack
) -> None:
    """Under 3.1.1 the broker does not say what it takes, and ends the connection each time."""
    broker = closing.enter_context(running(Broker(tmp_path, lines=["max_packet_size 3000"])))
    subscriber = listen(broker)
    long = {"every": 20, "bytes": 5000}
    talker = talk(broker.port, mqtt={"protocol": protocol}, frames=8, long=long, flush_s=120)
    talker.start()
    assert talker.wait() == 0, (talker.folder / "log").read_text()
    settle([talker], subscriber, f"oversize message, MQTT {protocol}", set_aside=talker.status()["dropped"])
    assert given_up(subscriber) == 2


def test_two_agents_use_one_id(broker: Broker, listen: Listen, talk: Talk) -> None:
    subscriber = listen(broker)
    twins = [talk(broker.port, name, client_id="same") for name in ("one", "two")]
    for twin in twins:
        twin.start()
    for twin in twins:
        twin.say_at_least(100)
    time.sleep(OUTAGE_S / 2)
    for twin in twins:
        twin.kill()
        twin.finish()
    settle(twins, subscriber, "two agents with one id")


def test_the_clock_jumps(tmp_path: Path, broker: Broker, listen: Listen, talk: Talk) -> None:
    try:
        import libfaketime
    except ImportError:
        missing("no libfaketime")
    library = next(Path(libfaketime.__file__).parent.rglob("libfaketime*.so*"))
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    subscriber = listen(broker)
    talker = talk(broker.port, environment=environment)
    talker.start()
    for jump in ("+400d", "-20000d", "+0") if LONG else ("+400d",):
        talker.say_at_least(50)
        clock.write_text(jump)
        talker.say_at_least(20)
        broker.kill()  # what it acknowledged before the jump must still count as recent
        broker.start()
        time.sleep(6)
    talker.kill()
    talker.finish()
    years = {payload["time"][:4] for payload in subscriber.payloads("/crack")}
    assert len(years) > 1, "the clock did jump"
    settle([talker], subscriber, "clock +400 d, -20000 d, back" if LONG else "clock +400 d", years=sorted(years))


def test_the_outbox_can_be_read_while_it_works(broker: Broker, talk: Talk) -> None:
    talker = talk(broker.port)
    talker.start()
    talker.say_at_least(50)
    path = talker.folder / "outbox" / "outbox.sqlite3"
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    reader.execute("PRAGMA wal_autocheckpoint = 0")
    assert reader.execute("SELECT COUNT(*) FROM event").fetchone()[0] >= 50
    reader.close()
    talker.say_at_least(50)
