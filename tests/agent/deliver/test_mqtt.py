"""Against a real mosquitto, read back by a client that is no part of the agent."""

from __future__ import annotations

import gc
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from agent.contract import schema_files
from agent.contract.flight import CrackRow, FlightHeader
from agent.deliver import Delivery, Reporter
from agent.deliver.settings import DeliverySettings
from agent.errors import ConfigError, DeliveryError
from agent.settings import MqttSettings
from tests.support.broker import Broker, DeafBroker, Subscriber, free_port, running, wait_until

ROOT = Path(__file__).resolve().parents[3]
Connect = Callable[..., Delivery]
Row = Callable[..., CrackRow]

DURABLE = ("persistence true", "autosave_interval 1", "autosave_on_changes true")


def publish_cracks(publisher: Delivery, reporter: Reporter, row: Row, numbers: range) -> list[str]:
    reports = [reporter.crack(row(number), media_time_ns=None) for number in numbers]
    for report in reports:
        publisher.publish(report)
    return [report.id for report in reports]


def publish_info(publisher: Delivery, reporter: Reporter) -> None:
    publisher.publish(
        reporter.info(config_sha256="0" * 64, cameras=("crown",), segmenter_threshold=0.5, gate_threshold=None)
    )


def ids(subscriber: Subscriber) -> list[str]:
    return [payload["id"] for payload in subscriber.payloads("/crack")]


@pytest.fixture
def deaf(closing: ExitStack) -> DeafBroker:
    broker = DeafBroker(receive_maximum=3)
    closing.callback(broker.close)
    return broker


class TestReports:
    def test_every_topic_arrives_as_its_shipped_schema_says(
        self,
        broker: Broker,
        subscriber: Subscriber,
        connect: Connect,
        reporter: Reporter,
        row: Row,
        header: FlightHeader,
    ) -> None:
        publisher = connect(broker)
        publish_info(publisher, reporter)
        publisher.publish(reporter.state("running", header, frames_per_second=2.5))
        publisher.publish(reporter.mission("start", header))
        publish_cracks(publisher, reporter, row, range(1))
        assert publisher.flush(30) == 0
        subscriber.wait_for(lambda: len(subscriber.messages()) == 5)
        for topic in ("connection", "info", "state", "mission", "crack"):
            (message,) = subscriber.messages(f"crackscout/v1/cart/{topic}")
            shipped = json.loads(schema_files.path(topic).read_text())
            Draft202012Validator(shipped).validate(message.payload)
            assert (message.qos, message.content_type) == (1, "application/json")

    def test_reports_keep_their_order(
        self, broker: Broker, subscriber: Subscriber, connect: Connect, reporter: Reporter, row: Row
    ) -> None:
        published = publish_cracks(connect(broker), reporter, row, range(500))
        subscriber.wait_for(lambda: len(subscriber.payloads("/crack")) == 500)
        assert ids(subscriber) == published

    def test_a_late_subscriber_finds_all_but_cracks(
        self, broker: Broker, connect: Connect, reporter: Reporter, row: Row, header: FlightHeader, closing: ExitStack
    ) -> None:
        publisher = connect(broker)
        publish_info(publisher, reporter)
        publisher.publish(reporter.state("running", header))
        publisher.publish(reporter.mission("start", header))
        publish_cracks(publisher, reporter, row, range(1))
        assert publisher.flush(30) == 0
        late = Subscriber(broker)
        closing.callback(late.close)
        late.wait_for(lambda: len(late.messages()) == 4)
        expiry = {message.topic.removeprefix("crackscout/v1/cart/"): message.expiry_s for message in late.messages()}
        assert all(message.retained for message in late.messages())
        assert expiry == {"connection": None, "info": None, "mission": None, "state": pytest.approx(120, abs=30)}

    def test_several_threads_may_publish(
        self, broker: Broker, subscriber: Subscriber, connect: Connect, header: FlightHeader, row: Row
    ) -> None:
        publisher = connect(broker)

        def work(first: int) -> None:
            publish_cracks(publisher, Reporter(header), row, range(first, first + 100))

        threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 400, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert publisher.flush(30) == 0
        subscriber.wait_for(lambda: len(subscriber.payloads("/crack")) == 400)
        assert set(ids(subscriber)) == {f"sighting-{number}" for number in range(400)}

    def test_the_last_state_is_said_again_before_it_expires(
        self, broker: Broker, subscriber: Subscriber, connect: Connect, reporter: Reporter, header: FlightHeader
    ) -> None:
        connect(broker, state_every_s=0.05).publish(reporter.state("running", header))
        subscriber.wait_for(lambda: len(subscriber.payloads("/state")) >= 3)


class TestConnection:
    def test_it_is_online_while_we_live_and_offline_when_we_close(
        self, broker: Broker, subscriber: Subscriber, connect: Connect, reporter: Reporter, row: Row
    ) -> None:
        publisher = connect(broker)
        subscriber.wait_for(lambda: len(subscriber.payloads("/connection")) == 1)
        publisher.close()
        publisher.close()
        subscriber.wait_for(lambda: len(subscriber.payloads("/connection")) == 2)
        assert [payload["status"] for payload in subscriber.payloads("/connection")] == ["online", "offline"]
        publish_cracks(publisher, reporter, row, range(2))
        assert publisher.status.lost == 2

    def test_a_killed_agent_is_offline_by_its_last_will(
        self, broker: Broker, subscriber: Subscriber, closing: ExitStack
    ) -> None:
        _kill_an_agent(broker, subscriber)
        subscriber.wait_for(lambda: len(subscriber.payloads("/connection")) == 2)
        late = Subscriber(broker)
        closing.callback(late.close)
        late.wait_for(lambda: len(late.payloads("/connection")) == 1)
        assert [payload["status"] for payload in late.payloads("/connection")] == ["offline"]

    def test_an_agent_that_is_back_within_the_wills_delay_was_never_offline(
        self, broker: Broker, subscriber: Subscriber, connect: Connect, reporter: Reporter, header: FlightHeader
    ) -> None:
        _kill_an_agent(broker, subscriber)
        publisher = connect(broker, state_every_s=1)
        publisher.publish(reporter.state("running", header))
        subscriber.wait_for(lambda: len(subscriber.payloads("/state")) >= 8)  # the will was due after 5 s
        assert [payload["status"] for payload in subscriber.payloads("/connection")] == ["online", "online"]

    def test_a_broker_that_starts_after_the_agent_gets_everything(
        self, tmp_path: Path, connect: Connect, reporter: Reporter, row: Row, header: FlightHeader, closing: ExitStack
    ) -> None:
        broker = Broker(tmp_path, lines=DURABLE)
        with running(broker):  # so that it will know the subscriber
            Subscriber(broker, session="reader").close()
            wait_until((tmp_path / "mosquitto.db").exists, "no database")
            broker.stop()
        publisher = connect(broker)
        publish_info(publisher, reporter)
        for state in ("starting", "degraded", "running"):
            publisher.publish(reporter.state(state, header))
        published = publish_cracks(publisher, reporter, row, range(300))
        wait_until(lambda: publisher.flush(0) == 302, "info, the latest state and all cracks wait")
        wait_until(lambda: "Connection refused" in (publisher.status.problem or ""), "no problem is named")
        with pytest.raises(DeliveryError, match=rf"127.0.0.1:{broker.port} cannot be reached \(.*Connection refused"):
            publisher.wait_connected(0.1)
        closing.enter_context(running(broker))
        assert publisher.flush(30) == 0
        subscriber = Subscriber(broker, session="reader")
        closing.callback(subscriber.close)
        subscriber.wait_for(lambda: len(subscriber.payloads("/crack")) == 300)
        assert ids(subscriber) == published
        assert [payload["state"] for payload in subscriber.payloads("/state")][-1] == "running"
        assert (publisher.status.superseded, publisher.status.lost) == (2, 0)

    def test_reports_outlive_a_broker_that_is_killed_with_them_in_hand(
        self, tmp_path: Path, connect: Connect, reporter: Reporter, row: Row, closing: ExitStack
    ) -> None:
        broker = closing.enter_context(running(Broker(tmp_path, lines=DURABLE)))
        subscriber = Subscriber(broker, session="reader")
        closing.callback(subscriber.close)
        publisher = connect(broker)
        publish_info(publisher, reporter)
        published = publish_cracks(publisher, reporter, row, range(50))
        subscriber.wait_for(lambda: len(subscriber.payloads("/crack")) == 50)
        assert publisher.flush(30) == 0
        broker.freeze()
        published += publish_cracks(publisher, reporter, row, range(50, 250))
        assert publisher.flush(0.2) == 200
        broker.kill()
        published += publish_cracks(publisher, reporter, row, range(250, 300))
        wait_until(lambda: "is gone" in (publisher.status.problem or ""), "the loss is not noticed")
        broker.start()
        assert publisher.flush(30) == 0
        subscriber.wait_for(lambda: len(set(ids(subscriber))) == 300)
        assert list(dict.fromkeys(ids(subscriber))) == published, "in order; a broker may repeat, ids tell"
        news = [message for message in subscriber.messages("/info") if not message.retained]
        assert len(news) == 2, "info is said again on each connection"
        assert publisher.status.connected
        assert publisher.status.problem is None

    def test_the_brokers_window_is_kept_to_also_after_a_new_connection(
        self, deaf: DeafBroker, connect: Connect, reporter: Reporter, row: Row
    ) -> None:
        publish_cracks(connect(deaf), reporter, row, range(50))
        for connection in (0, 1):
            wait_until(partial(deaf.has_published, 3, connection), "reports are not sent")
            time.sleep(0.3)  # in which all others would come
            assert len(deaf.publishes(connection)) == 3
            deaf.hang_up()

    def test_the_session_outlives_the_wills_delay_and_is_taken_over(self, deaf: DeafBroker, connect: Connect) -> None:
        connect(deaf)
        wait_until(lambda: bool(deaf.connections and deaf.connections[0]), "no connection")
        packet = deaf.connections[0][0]
        protocol = packet.index(b"\x00\x04MQTT\x05")
        clean_start = packet[protocol + 7] & 0x02
        assert not clean_start, "the end of the old session would send its will"
        assert b"\x11" + (86_400).to_bytes(4, "big") in packet, "session expiry, s"
        assert b"\x18" + (5).to_bytes(4, "big") in packet, "will delay, s"


class TestRefusals:
    def test_a_topic_that_the_broker_forbids_waits_until_it_is_allowed_and_the_rest_goes_on(
        self, tmp_path: Path, connect: Connect, reporter: Reporter, row: Row, header: FlightHeader, closing: ExitStack
    ) -> None:
        (tmp_path / "acl").write_text("topic read #\ntopic write crackscout/v1/cart/connection\n")
        with (tmp_path / "acl").open("a") as acl:
            acl.write("topic write crackscout/v1/cart/mission\n")
        broker = closing.enter_context(running(Broker(tmp_path, lines=[f"acl_file {tmp_path / 'acl'}"])))
        publisher = connect(broker)
        subscriber = Subscriber(broker)
        closing.callback(subscriber.close)
        publish_cracks(publisher, reporter, row, range(3))
        publisher.publish(reporter.mission("start", header))
        subscriber.wait_for(lambda: len(subscriber.payloads("/mission")) == 1)
        wait_until(lambda: publisher.status.reasons.get("Not authorized", 0) > 0, "the refusal is not counted")
        wait_until(lambda: publisher.status.pending == 3, "three wait for the right to be said")
        assert any("refuses crackscout/v1/cart/crack: Not authorized" in alarm for alarm in publisher.status.alarms)
        (tmp_path / "acl").write_text("topic readwrite #\n")
        broker.reload()
        assert publisher.flush(60) == 0
        subscriber.wait_for(lambda: len(subscriber.payloads("/crack")) == 3)
        assert ids(subscriber) == ["sighting-0", "sighting-1", "sighting-2"], "in order"
        assert publisher.status.lost == 0

    def test_a_wrong_password_is_named_and_not_told(
        self, tmp_path: Path, connect: Connect, reporter: Reporter, row: Row, closing: ExitStack
    ) -> None:
        passwords = tmp_path / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "robot", "right"], check=True)
        secured = Broker(tmp_path, lines=[f"password_file {passwords}"], anonymous=False)
        broker = closing.enter_context(running(secured))
        wrong = connect(broker, mqtt={"username": "robot"}, password=SecretStr("hunter2"), client_id="wrong")
        publish_cracks(wrong, reporter, row, range(1))
        with pytest.raises(DeliveryError, match="refuses user 'robot': Not authorized; check") as caught:
            wrong.wait_connected(30)
        assert "hunter2" not in str(caught.value) + f"{wrong.status.problem}"
        assert wrong.flush(0.1) == 1
        right = connect(broker, mqtt={"username": "robot"}, password=SecretStr("right"), client_id="right")
        publish_cracks(right, reporter, row, range(1))
        right.wait_connected(30)
        assert right.flush(30) == 0

    def test_a_report_larger_than_the_broker_takes_blocks_nobody(
        self, tmp_path: Path, connect: Connect, reporter: Reporter, row: Row, closing: ExitStack
    ) -> None:
        broker = closing.enter_context(running(Broker(tmp_path, lines=["max_packet_size 3000"])))
        subscriber = Subscriber(broker)
        closing.callback(subscriber.close)
        publisher = connect(broker)
        publisher.publish(reporter.crack(row(0, not_gradable_reason="x" * 5000), media_time_ns=None))
        publish_cracks(publisher, reporter, row, range(1, 3))
        assert publisher.flush(30) == 0
        subscriber.wait_for(lambda: len(subscriber.payloads("/crack")) == 2)
        assert publisher.status.reasons == {"Packet too large": 1}
        assert publisher.status.dropped == {"crack": 1}
        (gap,) = subscriber.payloads("/gap")
        assert (gap["reason"], gap["class"], gap["count"], gap["ids"]) == ("refused", "crack", 1, ["sighting-0"])

    def test_a_frozen_broker_leaves_reports_unacknowledged_until_it_goes_on(
        self, broker: Broker, connect: Connect, reporter: Reporter, row: Row
    ) -> None:
        publisher = connect(broker)
        publisher.wait_connected(30)
        assert publisher.flush(30) == 0
        broker.freeze()
        publish_cracks(publisher, reporter, row, range(20))
        assert publisher.flush(0.2) == 20
        broker.thaw()
        assert publisher.flush(30) == 0


class TestTls:
    @pytest.fixture
    def certificates(self, tmp_path: Path) -> Path:
        """An authority, a server of its own, and an authority that has nothing to do with it."""

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        for name in ("ca", "other"):
            openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
        (tmp_path / "here").write_text("subjectAltName=IP:127.0.0.1\n")
        (tmp_path / "elsewhere").write_text("subjectAltName=DNS:broker.example\n")
        for name in ("server", "client"):
            openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        for name, request, names, days in (
            ("server", "server", "here", "30"), ("stranger", "server", "elsewhere", "30"),
            ("expired", "server", "here", "-1"), ("client", "client", "here", "30"),
        ):  # fmt: skip
            signed = ("-extfile", names, "-days", days, "-out", f"{name}.crt")
            openssl("x509", "-req", "-in", f"{request}.csr", *signing, *signed)
        return tmp_path

    @pytest.fixture
    def secured(self, certificates: Path, closing: ExitStack) -> Broker:
        return self.broker_with(certificates, "server", closing)

    @staticmethod
    def broker_with(certificates: Path, name: str, closing: ExitStack, *more: str) -> Broker:
        lines = [f"certfile {certificates / name}.crt", f"keyfile {certificates / 'server.key'}", *more]
        return closing.enter_context(running(Broker(certificates, lines=lines)))

    def test_reports_go_out_encrypted(
        self, secured: Broker, certificates: Path, connect: Connect, reporter: Reporter, row: Row
    ) -> None:
        publisher = connect(secured, mqtt={"tls": {"enabled": True, "ca_file": certificates / "ca.crt"}})
        publish_cracks(publisher, reporter, row, range(3))
        assert publisher.flush(30) == 0

    # paho leaves the socket of a failed handshake to the garbage collector
    @pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
    def test_a_broker_signed_by_somebody_else_is_not_trusted(
        self, secured: Broker, certificates: Path, connect: Connect
    ) -> None:
        publisher = connect(secured, mqtt={"tls": {"enabled": True, "ca_file": certificates / "other.crt"}})
        wait_until(lambda: "certificate verify failed" in (publisher.status.problem or ""), "trusted")
        publisher.close()
        gc.collect()

    @pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            pytest.param("expired", "certificate has expired", id="expired"),
            pytest.param("stranger", "IP address mismatch|not valid for '127.0.0.1'", id="another host's"),
        ],
    )
    def test_a_certificate_that_does_not_hold_is_refused_and_reports_wait(
        self, name: str, why: str, certificates: Path, connect: Connect, reporter: Reporter, row: Row,
        closing: ExitStack,
    ) -> None:  # fmt: skip
        broker = self.broker_with(certificates, name, closing)
        publisher = connect(broker, mqtt={"tls": {"enabled": True, "ca_file": certificates / "ca.crt"}})
        publish_cracks(publisher, reporter, row, range(3))
        wait_until(lambda: re.search(why, publisher.status.problem or "") is not None, "trusted")
        assert (publisher.status.pending, publisher.status.lost) == (3, 0)
        publisher.close()
        gc.collect()

    def test_a_broker_that_asks_for_our_certificate_gets_it(
        self, certificates: Path, connect: Connect, reporter: Reporter, row: Row, closing: ExitStack
    ) -> None:
        asks = (f"cafile {certificates / 'ca.crt'}", "require_certificate true", "use_identity_as_username true")
        broker = self.broker_with(certificates, "server", closing, *asks)
        tls = {"enabled": True, "ca_file": certificates / "ca.crt"}
        ours = {"cert_file": certificates / "client.crt", "key_file": certificates / "client.key"}
        publisher = connect(broker, mqtt={"tls": {**tls, **ours}})
        publish_cracks(publisher, reporter, row, range(3))
        assert publisher.flush(30) == 0
        assert "u'client'" in broker.log(), "we are known by our certificate"

    def test_a_certificate_without_its_key_is_a_fault_of_the_settings(self) -> None:
        with pytest.raises(ValueError, match="cert_file and key_file go together"):
            MqttSettings.model_validate({"host": "h", "tls": {"enabled": True, "cert_file": "c"}})

    def test_a_missing_certificate_file_is_a_fault_of_the_settings(self, tmp_path: Path) -> None:
        mqtt = MqttSettings.model_validate({"host": "h", "tls": {"enabled": True, "ca_file": tmp_path / "absent"}})
        with pytest.raises(ConfigError, match=r"absent: no usable certificates .* see mqtt.tls.ca_file"):
            Delivery(mqtt, device="cart")


class TestOtherWays:
    """The same reports over MQTT 3.1.1 and over websockets."""

    def test_mqtt_3_1_1(
        self, broker: Broker, subscriber: Subscriber, connect: Connect, reporter: Reporter, row: Row
    ) -> None:
        publisher = connect(broker, mqtt={"protocol": "3.1.1"})
        published = publish_cracks(publisher, reporter, row, range(300))
        assert publisher.flush(30) == 0
        subscriber.wait_for(lambda: len(subscriber.payloads("/crack")) == 300)
        assert ids(subscriber) == published
        assert subscriber.messages("/crack")[0].content_type is None

    def test_websockets(
        self, tmp_path: Path, connect: Connect, reporter: Reporter, row: Row, closing: ExitStack
    ) -> None:
        port = free_port()
        broker = closing.enter_context(running(Broker(tmp_path, lines=[f"listener {port}", "protocol websockets"])))
        publisher = connect(broker, mqtt={"transport": "websockets", "port": port})
        publish_cracks(publisher, reporter, row, range(300))
        assert publisher.flush(30) == 0
        assert publisher.status.acknowledged == 301

    @pytest.mark.parametrize("protocol", ["5", "3.1.1"])
    def test_both_protocols_send_again_what_a_forgetful_broker_had(
        self, protocol: str, tmp_path: Path, connect: Connect, reporter: Reporter, row: Row, closing: ExitStack
    ) -> None:
        broker = closing.enter_context(running(Broker(tmp_path)))
        limits = DeliverySettings(settle_s=0)
        publisher = connect(broker, mqtt={"protocol": protocol}, limits=limits)
        publish_cracks(publisher, reporter, row, range(20))
        assert publisher.flush(30) == 0
        broker.kill()
        broker.start()
        subscriber = Subscriber(broker)
        closing.callback(subscriber.close)
        subscriber.wait_for(lambda: len(set(ids(subscriber))) == 20)
        assert all(payload["backfill"] for payload in subscriber.payloads("/crack"))


def test_a_flood_of_commands_is_heard_as_far_as_it_can_be_worked_off_and_hurts_nothing(
    broker: Broker, subscriber: Subscriber, connect: Connect, reporter: Reporter, row: Row
) -> None:
    heard: list[tuple[str, bytes]] = []
    publisher = connect(broker, on_command=lambda name, payload: heard.append((name, payload)))
    subscriber._client.publish("crackscout/v1/cart/cmd/kept", b"x", qos=1, retain=True)
    subscriber.wait_for(lambda: len(subscriber.payloads("/connection")) == 1)
    publisher.flush(30)
    for number in range(3000):
        subscriber._client.publish("crackscout/v1/cart/cmd/pause", bytes([number % 256]) * (number % 50), qos=1)
    subscriber._client.publish("crackscout/v1/cart/cmd/pause", bytes(5_000_000), qos=1)
    subscriber._client.publish("crackscout/v1/cart/cmd/resume", b"last", qos=1)
    publish_cracks(publisher, reporter, row, range(20))
    assert publisher.flush(60) == 0
    wait_until(lambda: len(heard) + publisher.status.commands_ignored >= 3002, "commands are neither heard nor counted")
    assert publisher.status.restarts == 0, "the network thread lived through it"
    assert publisher.status.connected


_AGENT = """
import sys, time
from agent.deliver import Delivery
from agent.settings import MqttSettings
publisher = Delivery(MqttSettings(host="127.0.0.1", port=int(sys.argv[1])), device="cart")
publisher.flush(30)
time.sleep(600)
"""


def _kill_an_agent(broker: Broker, subscriber: Subscriber) -> None:
    """Let an agent come online, and kill it."""
    with subprocess.Popen([sys.executable, "-c", _AGENT, str(broker.port)], cwd=ROOT) as agent:
        try:
            subscriber.wait_for(lambda: len(subscriber.payloads("/connection")) == 1)
        finally:
            agent.send_signal(signal.SIGKILL)
