"""`make test-service`: boot the unit in a container and do to it what happens to devices. Prints commands and answers.

The container is Debian's own (debootstrap) in systemd-nspawn, the agent comes from a device bundle, installed by its
installer without a network; the broker is a mosquitto outside. Needs root. What it cannot show: memory limits where the
machine has no cgroup v2, and whatever only a Jetson has.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import yaml

from tests.support.broker import Broker, running
from tests.support.commands import ROOT

PATIENCE_S = 180.0
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3"
CONFIG = "/etc/crackscout/device.yaml"
SECRET = "in-the-credential-store"  # noqa: S105 - made up
TOKEN = "the-page-in-the-store"  # noqa: S105 - made up
# tells the token, if one is given, and says what the overview answers
ASK_PAGE = (
    "python3 -c \"import http.client as h; c = h.HTTPConnection('127.0.0.1', 8470); "
    "c.request('POST', '/login', '{token}', {{'origin': 'http://127.0.0.1:8470'}}); a = c.getresponse(); a.read(); "
    "c.request('GET', '/api/overview', headers={{'cookie': a.headers.get('set-cookie', '').split(';')[0]}}); "
    'print(c.getresponse().status)"'
)


def main() -> int:
    """Prepare, boot, try everything; 0 only if everything came back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/crackscout-service"), help="kept for the next run")  # noqa: S108
    work: Path = parser.parse_args().work
    lacking = [name for name in ("systemd-nspawn", "debootstrap", "mosquitto_passwd") if not shutil.which(name)]
    if os.geteuid() != 0 or lacking:
        say(
            f"not run: needs root{f', and {lacking} (apt: systemd-container debootstrap mosquitto)' if lacking else ''}"
        )
        return 2
    work.mkdir(parents=True, exist_ok=True)
    tree, bundle = debian(work), device_bundle(work)
    broker = broker_with_password(work)
    with running(broker), booted(tree, bundle) as machine:
        install(machine, broker)
        killed(machine)
        hangs(machine)
        loses_its_credential(machine, broker)
        asks_for_the_token(machine)
        bad_settings(machine)
        upgrade_fails(machine)
        sandbox(machine)
    say("\nThe service came back each time.")
    return 0


class Machine:
    """The container; commands run inside it and are printed with their answers."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self._enter = ["nsenter", f"--target={leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--"]

    def run(self, command: str, *, fails: bool = False) -> str:
        """Run in a shell, print, and return what it said."""
        say(f"$ {command}")
        done = self._done(command)
        say("".join(f"  {line}\n" for line in (done.stdout + done.stderr).splitlines()), end="")
        assert (done.returncode != 0) == fails, f"exit {done.returncode}"
        return done.stdout.strip()

    def quiet(self, command: str) -> str:
        """Run without a word."""
        return self._done(command).stdout.strip()

    def shown(self, *names: str) -> dict[str, str]:
        """Return what systemd knows of the unit."""
        lines = self.quiet(f"systemctl show crack-agent {' '.join(f'-p {name}' for name in names)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def back(self, restarts: int) -> None:
        """Wait until the unit runs after so many restarts."""

        def runs() -> bool:
            shown = self.shown("ActiveState", "NRestarts", "MainPID")
            return shown["ActiveState"] == "active" and int(shown["NRestarts"]) >= restarts

        wait(runs, lambda: f"{self.shown('ActiveState', 'NRestarts')}\n{self.quiet('journalctl -u crack-agent -n 30')}")
        self.run("systemctl show crack-agent -p ActiveState -p SubState -p NRestarts -p MainPID -p StatusText")

    def status(self, part: str) -> None:
        """Wait until the unit says this of itself."""
        wait(lambda: part in self.shown("StatusText")["StatusText"], lambda: str(self.shown("StatusText")))
        self.run("systemctl show crack-agent -p ActiveState -p StatusText")

    def journal(self, part: str) -> None:
        """Wait until the journal holds this."""
        command = "journalctl -u crack-agent --no-pager -o cat"
        wait(lambda: part in self.quiet(command), lambda: self.quiet(command))
        last = [line for line in self.quiet(command).splitlines() if part in line][-1]
        say(f"$ {command} | grep -F {part!r} | tail -n 1\n  {last}")

    def _done(self, command: str) -> subprocess.CompletedProcess[str]:
        words = [*self._enter, "/bin/sh", "-c", command]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=600)


def install(machine: Machine, broker: Broker) -> None:
    """Install; the settings' camera is not there yet."""
    say("\n== the installer; nothing is set yet, so it is in safe mode")
    machine.run("cd /media/bundle && ./install.sh")
    machine.status("safe mode, nothing is captured")
    say("\n== settings, photographs, the broker's password; reload")
    photos = machine.root / "var/lib/photos"
    photos.mkdir()
    picture = np.full((600, 800, 3), 190, np.uint8)
    picture[300:304, 100:700] = 60
    cv2.imwrite(str(photos / "wall.png"), picture)
    (machine.root / "etc/credstore").mkdir(mode=0o700, exist_ok=True)
    settings = {
        "version": 1,
        "device": "boxed",
        "cameras": [{"name": "crown", "source": "/var/lib/photos", "mm_per_px": 0.5}],
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "username": "boxed"},
    }
    (machine.root / CONFIG[1:]).write_text(yaml.safe_dump(settings))
    machine.run("systemctl reload crack-agent")
    machine.status("idle: every source has come to its end")
    machine.run("ls /var/lib/private/crackscout/flights/*/flight.json")
    say("== the password arrives in the credential store")
    credential(machine).write_text(SECRET)
    credential(machine).chmod(0o600)
    machine.run("systemctl restart crack-agent")
    machine.journal("connected to 127.0.0.1")


def killed(machine: Machine) -> None:
    """kill -9."""
    say("\n== killed")
    restarts = int(machine.shown("NRestarts")["NRestarts"])
    machine.run("systemctl kill --kill-who=main --signal=KILL crack-agent")
    machine.back(restarts + 1)


def hangs(machine: Machine) -> None:
    """The process holds still; systemd's watchdog notices."""
    say("\n== hangs (SIGSTOP); the watchdog's limit is 30 s")
    restarts = int(machine.shown("NRestarts")["NRestarts"])
    machine.run("kill -STOP $(systemctl show crack-agent -P MainPID)")
    machine.back(restarts + 1)
    machine.journal("Watchdog timeout")


def loses_its_credential(machine: Machine, broker: Broker) -> None:
    """The unit starts all the same and captures; the broker refuses it until the password is back."""
    say("\n== loses its credential file")
    credential(machine).unlink()
    machine.run("systemctl restart crack-agent")
    machine.journal("refuses user 'boxed'")
    machine.status("idle")
    credential(machine).write_text(SECRET)
    machine.run("systemctl restart crack-agent")
    count = broker.log().count("boxed")
    wait(lambda: broker.log().count("boxed") >= count, broker.log)
    wait(lambda: "connected to" in machine.quiet(since_start(machine)), lambda: machine.quiet(since_start(machine)))
    machine.run(since_start(machine))
    machine.run(f"journalctl --no-pager | grep -c {SECRET}", fails=True)


def asks_for_the_token(machine: Machine) -> None:
    """The page asks for the token of the credential store, and for none once it is gone; the service runs on."""
    say("\n== the page's token")
    path = machine.root / "etc/credstore/dashboard_token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    machine.run("systemctl restart crack-agent")
    machine.status("idle")
    assert machine.run(ASK_PAGE.format(token="")) == "401"
    assert machine.run(ASK_PAGE.format(token=TOKEN[::-1])) == "401"
    assert machine.run(ASK_PAGE.format(token=TOKEN)) == "200"
    machine.run(f"journalctl --no-pager | grep -c {TOKEN}", fails=True)
    path.unlink()
    machine.run("systemctl restart crack-agent")
    machine.status("idle")
    assert machine.run(ASK_PAGE.format(token="")) == "200"


def bad_settings(machine: Machine) -> None:
    """Refused by a reload, safe mode at a start, mended by a reload."""
    say("\n== bad settings: a reload keeps the old ones")
    path = machine.root / CONFIG[1:]
    good = path.read_text()
    path.write_text(good + "nonsense: 1\n")
    machine.run("systemctl reload crack-agent")
    machine.journal("the old settings stay")
    say("== at a start they are safe mode")
    machine.run("systemctl restart crack-agent")
    machine.status("safe mode, nothing is captured")
    path.write_text(good)
    machine.run("systemctl reload crack-agent")
    machine.status("idle")


def upgrade_fails(machine: Machine) -> None:
    """A later bundle whose network is damaged does not stay."""
    say("\n== an upgrade that is not sound goes back by itself")
    before = machine.quiet("readlink /opt/crackscout/current")
    machine.run("cd /media/broken && ./install.sh", fails=True)
    assert machine.run("readlink /opt/crackscout/current") == before
    machine.back(0)


def sandbox(machine: Machine) -> None:
    """What systemd holds it to, as it runs."""
    say("\n== the sandbox of the running unit")
    machine.run("systemd-analyze security --no-pager crack-agent | tail -n 1")
    machine.run("ps -o user:32= -o args= -p $(systemctl show crack-agent -P MainPID)")
    machine.run("cat /proc/$(systemctl show crack-agent -P MainPID)/status | grep -E '^(CapEff|NoNewPrivs|Seccomp):'")


def since_start(machine: Machine) -> str:
    """Return the command that shows what the unit said since it was started last."""
    return f"journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID={machine.shown('InvocationID')['InvocationID']}"


def credential(machine: Machine) -> Path:
    """Return where systemd looks for the password."""
    return machine.root / "etc/credstore/mqtt_password"


def debian(work: Path) -> Path:
    """Return a fresh tree, copied from one that is made once from the mirror that apt uses here."""
    made, tree = work / "debian", work / "root"
    if not (made / "etc/os-release").is_file() or not (made / "usr/bin/python3").exists():
        shutil.rmtree(made, ignore_errors=True)
        release = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
        assert release, "this machine does not say which Debian it is"
        listed = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        mirror = dict(reversed([line.split() for line in listed.splitlines()]))[release[1]]
        say(f"making a {release[1]} tree in {made}: minutes")
        words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release[1], str(made), mirror]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", str(made), str(tree)], check=True)
    return tree


def device_bundle(work: Path) -> Path:
    """Return a folder with a bundle of this checkout, and one of a later version with a damaged network."""
    out = work / "bundles"
    shutil.rmtree(out, ignore_errors=True)
    python = re.search(r"\d\.\d+", str((work / "debian/usr/bin/python3").readlink()))
    assert python
    source = work / "broken-source"
    shutil.rmtree(source, ignore_errors=True)
    ignored = shutil.ignore_patterns(".*env*", ".git", "__pycache__", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    graph = source / "agent/bundles/default/segmenter.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    for name, checkout in (("bundle", ROOT), ("broken", source)):
        words = [sys.executable, str(ROOT / "systemd/device_bundle.py"), "--out", str(out / name)]
        words += ["--machine", os.uname().machine, "--python", python[0], "--source", str(checkout)]
        subprocess.run(words, check=True)
    return out


def broker_with_password(work: Path) -> Broker:
    """Return a mosquitto that wants the credential."""
    folder = work / "broker"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "passwords"), "boxed", SECRET], check=True)
    return Broker(folder, lines=[f"password_file {folder / 'passwords'}"], anonymous=False)


@contextmanager
def booted(root: Path, bundles: Path) -> Iterator[Machine]:
    """Boot the tree; power it off at the end, whatever happened."""
    binds = [f"--bind-ro={bundles / name}:/media/{name}" for name in ("bundle", "broken")]
    words = ["systemd-nspawn", f"--directory={root}", "--boot", "--register=no", "--keep-unit", *binds]
    say(f"# {' '.join(words)}")
    inside, outside = pty.openpty()  # systemd writes to a console
    console = work_log(root.parent / "console.log", inside)
    process = subprocess.Popen(words, stdin=outside, stdout=outside, stderr=outside, start_new_session=True)
    os.close(outside)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait(lambda: bool(children.read_text().split()), lambda: "nspawn started nothing")
        machine = Machine(root, int(children.read_text().split()[0]))
        wait(
            lambda: machine.quiet("systemctl is-system-running") in {"running", "degraded"},
            lambda: f"it does not boot; see {root.parent / 'console.log'}",
        )
        machine.run("systemctl --version | head -n 1")
        yield machine
        machine.quiet("systemctl poweroff")
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        console.join()


def work_log(path: Path, console: int) -> threading.Thread:
    """Keep what the console shows, so that it never blocks."""

    def read() -> None:
        with path.open("wb") as log, suppress(OSError):  # once the other end is closed
            while True:
                log.write(os.read(console, 1 << 16))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def wait(true: Callable[[], bool], why: Callable[[], str]) -> None:
    """Poll; fail with `why` in the end."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.5)


def say(text: str, end: str = "\n") -> None:
    """Print at once."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
