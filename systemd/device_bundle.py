"""Make one folder from which a device without a network is installed: wheels with their hashes, unit, installer.

    python systemd/device_bundle.py --out device-bundle           # for Jetsons: aarch64, Python 3.10 and 3.12
    python systemd/device_bundle.py --out device-bundle --machine x86_64 --python 3.11

pip evaluates dependencies' markers for the interpreter that it runs on, whatever `--python-version` says; so the
closure is found here, from the metadata of the wheels themselves, and pip is only told what to fetch.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging import tags
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT: Final = Path(__file__).resolve().parents[1]
GLIBC_MIN, GLIBC_MAX = 17, 35  # 2.17 is manylinux2014; 2.35 is JetPack 6's


def main() -> int:
    """Parse, build, say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet, or an older bundle")
    parser.add_argument("--machine", default="aarch64", choices=["aarch64", "x86_64"])
    parser.add_argument("--python", action="append", metavar="X.Y", help="may be repeated; 3.10 and 3.12 by default")
    parser.add_argument("--source", type=Path, default=ROOT, help="the checkout to install")
    given = parser.parse_args()
    if given.out.exists() and not (given.out / "install.sh").is_file():
        sys.stderr.write(f"{given.out}: is there and no device bundle; choose another folder\n")
        return 2
    shutil.rmtree(given.out, ignore_errors=True)
    build(given.out, source=given.source, machine=given.machine, pythons=given.python or ["3.10", "3.12"])
    size = sum(path.stat().st_size for path in given.out.rglob("*")) / 1e6
    sys.stdout.write(f"{given.out}: {size:.0f} MB; on the device: sudo ./install.sh\n")
    return 0


def build(out: Path, *, source: Path, machine: str, pythons: Iterable[str]) -> None:
    """Fill the folder.

    Raises:
        subprocess.CalledProcessError: pip failed; what it said went to stderr.
        LookupError: a dependency is not in .constraints.txt.
    """
    wheels = out / "wheels"
    wheels.mkdir(parents=True)
    ours = _own_wheel(source, wheels)
    pip = f"pip=={metadata.version('pip')}"  # devices have no python3-venv: pip runs from its wheel there
    for python in pythons:
        _fetch([pip], wheels, python=python, machine=machine)
        names = [ours, *_closure(ours, wheels, source / ".constraints.txt", python=python, machine=machine)]
        lines = (f"{_pin(path)} --hash=sha256:{_sha256(path)}\n" for path in sorted(names))
        (out / f"requirements-{python}-{machine}.txt").write_text("".join(lines))
    folder = source / "systemd"
    shutil.copy(folder / "install.sh", out)
    for path in (folder / "crack-agent.service", *folder.glob("*.conf"), folder / "README.md"):
        shutil.copy(path, _made(out / "systemd"))
    shutil.copy(source / "configs" / "agent" / "device.yaml", out)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    sums = "".join(f"{_sha256(path)}  {path.relative_to(out)}\n" for path in files)
    (out / "SHA256SUMS").write_text(sums)
    version = parse_wheel_filename(ours.name)[1]
    (out / "VERSION").write_text(f"{version}-{hashlib.sha256(sums.encode()).hexdigest()[:12]}\n")


def _own_wheel(source: Path, wheels: Path) -> Path:
    """Build ours from a copy, since a build leaves its folders where it is done."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for folder in ("agent", "train", "export"):
            shutil.copytree(source / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(source / file, copy)
        _pip("wheel", "--no-deps", "-w", str(wheels), name)
    (wheel,) = wheels.glob("crackscout-*.whl")
    return wheel


def _closure(ours: Path, wheels: Path, constraints: Path, *, python: str, machine: str) -> Iterator[Path]:
    """Fetch everything that our wheel needs on the target, level by level, and return the files."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    pins = _pins(constraints, environment)
    known: set[tuple[str, str]] = set()
    level = list(_needs(ours, "", environment))
    files: dict[str, Path] = {}
    while level:
        new = [(name, extra) for name, extra in level if (name, extra) not in known]
        known |= set(new)
        wanted = sorted({name for name, _ in new} - files.keys())
        for name in wanted:
            if name not in pins:
                raise LookupError(f"{constraints}: has no version of {name} for Python {python}; add it")
        if wanted:
            _fetch([f"{name}=={pins[name]}" for name in wanted], wheels, python=python, machine=machine)
        for name in wanted:
            files[name] = _wheel(wheels, name, pins[name], python=python, machine=machine)
            yield files[name]
        level = [need for name, extra in new for need in _needs(files[name], extra, environment)]


def _needs(wheel: Path, extra: str, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Return what a wheel asks for on the target: names, each with an extra or ''."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        text = archive.read(name).decode()
    for line in Parser().parsestr(text).get_all("Requires-Dist") or []:
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({**environment, "extra": extra}):
            yield from ((canonicalize_name(need.name), wanted) for wanted in ("", *sorted(need.extras)))


def _pins(constraints: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the version of each package on the target."""
    lines = (line.split("#")[0].strip() for line in constraints.read_text().splitlines())
    needs = (Requirement(line) for line in lines if line)
    return {
        canonicalize_name(need.name): next(iter(need.specifier)).version
        for need in needs
        if need.marker is None or need.marker.evaluate(environment)
    }


def _wheel(wheels: Path, name: str, version: str, *, python: str, machine: str) -> Path:
    """Return the file; several may be of one name and version where bundles hold several Pythons."""
    minor = (3, int(python.split(".")[1]))
    interpreter, platforms = f"cp{python.replace('.', '')}", _platforms(machine)
    fitting = [
        *tags.cpython_tags(minor, abis=[interpreter], platforms=platforms),
        *tags.compatible_tags(minor, interpreter, platforms),
    ]
    rank = {tag: number for number, tag in enumerate(fitting)}
    found = []
    for path in wheels.glob("*.whl"):
        got_name, got_version, _, wheel_tags = parse_wheel_filename(path.name)
        if (got_name, str(got_version)) == (name, version) and rank.keys() & wheel_tags:
            found.append((min(rank[tag] for tag in wheel_tags & rank.keys()), path))
    if not found:
        raise LookupError(f"{wheels}: pip brought no wheel of {name} {version} for Python {python} on {machine}")
    return min(found)[1]


def _fetch(pinned: list[str], wheels: Path, *, python: str, machine: str) -> None:
    _pip(
        "download", "--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
        *(word for platform in _platforms(machine) for word in ("--platform", platform)), "-d", str(wheels), *pinned,
    )  # fmt: skip


def _platforms(machine: str) -> list[str]:
    newest_first = range(GLIBC_MAX, GLIBC_MIN - 1, -1)
    return [*(f"manylinux_2_{minor}_{machine}" for minor in newest_first), f"manylinux2014_{machine}"]


def _pip(*words: str) -> None:
    # what it prints belongs on stderr: stdout says where the bundle is
    command = [sys.executable, "-m", "pip", words[0], "--quiet", "--disable-pip-version-check", *words[1:]]
    subprocess.run(command, check=True, stdout=sys.stderr)  # noqa: S603 - pip, with versions from our own file


def _pin(path: Path) -> str:
    name, version, *_ = parse_wheel_filename(path.name)
    return f"{name}=={version}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
