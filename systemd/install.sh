#!/bin/bash
# Install, upgrade or roll back the agent on a device, without a network. Run as root from the device bundle's folder.
#
#   ./install.sh [--prefix DIR] [--python PYTHON] [--no-service]      install this bundle, or upgrade to it
#   ./install.sh --roll-back [--prefix DIR] [--no-service]            back to the version before
#
# Versions stand side by side in PREFIX/versions; `current` names the one that runs, `previous` the one before. After the
# switch the new version must pass `crack-agent selftest` and its service must start; else `current` goes back.
set -euo pipefail
umask 022

prefix=/opt/crackscout python=python3 service=yes action=install
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2; shift 2 ;;
        --python) python=$2; shift 2 ;;
        --no-service) service=no; shift ;;
        --roll-back) action=roll-back; shift ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "install.sh: $1: not an option; see --help" >&2; exit 2 ;;
    esac
done
here=$(cd "$(dirname "$0")" && pwd)

die() {
    echo "install.sh: $1" >&2
    exit "${2:-1}"
}

# link NAME TARGET: in one step, so that there is a `current` at any moment
link() {
    ln -sfn "$2" "$prefix/.$1.new"
    mv -T "$prefix/.$1.new" "$prefix/$1"
}

# whether the version that `current` names is sound; starts its service anew
sound() {
    "$prefix/current/bin/crack-agent" selftest || return 1
    [ $service = yes ] || return 0
    install -m 644 "$prefix/current/systemd/crack-agent.service" /etc/systemd/system/ &&
        systemctl daemon-reload && systemctl enable --quiet crack-agent && systemctl restart crack-agent
}

# switch VERSION: make it current; on failure the one before is current again, and runs
switch() {
    local before=""
    [ ! -L "$prefix/current" ] || before=$(readlink "$prefix/current")
    link current "versions/$1"
    if sound; then
        if [ -n "$before" ] && [ "$before" != "versions/$1" ]; then link previous "$before"; fi
        echo "crackscout $1 is current in $prefix"
        return
    fi
    if [ -z "$before" ] || [ "$before" = "versions/$1" ]; then
        die "crackscout $1 is not sound, and there is no version to go back to"
    fi
    link current "$before"
    sound || die "crackscout $1 is not sound, and neither is ${before#versions/}, which is current again"
    die "crackscout $1 is not sound; ${before#versions/} is current again"
}

[ $service = no ] || command -v systemctl >/dev/null || die "no systemctl here; --no-service installs the command alone" 2

if [ $action = roll-back ]; then
    [ -L "$prefix/previous" ] || die "$prefix: there is no previous version" 2
    switch "$(basename "$(readlink "$prefix/previous")")"
    exit
fi

(cd "$here" && sha256sum --quiet --check SHA256SUMS) || die "$here: the bundle is damaged; copy it again" 2
version=$(cat "$here/VERSION")
numbers=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "$python: no Python; see --python" 2
requirements=$here/requirements-$numbers-$(uname -m).txt
[ -f "$requirements" ] ||
    die "this is Python $numbers on $(uname -m); the bundle has $(cd "$here" && ls requirements-*); see --python" 2

new=$prefix/versions/$version
if [ ! -f "$new/.complete" ]; then
    rm -rf "$new"
    mkdir -p "$prefix/versions"
    # TensorRT and GStreamer's bindings come from the system's packages
    "$python" -m venv --without-pip --system-site-packages "$new"
    "$new/bin/python" "$(ls "$here"/wheels/pip-*.whl)/pip" install --quiet --no-index --find-links "$here/wheels" \
        --ignore-installed --no-deps --require-hashes --disable-pip-version-check --no-warn-script-location \
        --root-user-action=ignore --requirement "$requirements" || die "$new: pip could not install the bundle"
    cp -r "$here/systemd" "$new/systemd"
    touch "$new/.complete"
fi

if [ $service = yes ] && [ ! -e /etc/crackscout/device.yaml ]; then
    install -D -m 644 "$here/device.yaml" /etc/crackscout/device.yaml
    echo "settings: /etc/crackscout/device.yaml; name your cameras there, then: systemctl reload crack-agent"
fi
switch "$version"

# two versions are kept: this one and the one to go back to
for old in "$prefix"/versions/*; do
    case $old in
        "$(readlink -f "$prefix/current")" | "$(readlink -f "$prefix/previous")") ;;
        *) rm -rf "$old" ;;
    esac
done
