# Two commands do everything: `make demo` and `make test`. Each makes .venv, installs what it needs, and runs.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
# What pip is told about torch, for instance TORCH_ARGS="--index-url URL" for a build of your choice
TORCH_ARGS ?=
DEVICE_ARGS ?=
FLIGHT ?= tunnel
OUT ?= demo
PIP := $(VENV)/bin/python -m pip install -q --disable-pip-version-check -c .constraints.txt
BIN := $(VENV)/bin
# what stands in for cameras in the tests: an RTSP server, GStreamer's test picture, a compiler for the V4L2 stand-in
CAMERAS := gcc libc6-dev python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly

# what people read our reports with
READERS := chromium gdal-bin fonts-dejavu-core

# A process for each layer: the runtimes under test bring native libraries that do not belong beside torch.
by_layer = $(BIN)/python -m pytest tests/train -m "$(1)" && $(BIN)/python -m pytest tests/export -m "$(1)" && \
	$(BIN)/python -m pytest tests --ignore tests/train --ignore tests/export -m "$(1)"

.PHONY: demo dev test test-agent test-reconnects test-slow test-models check format lint types layers mutants test-gpu bench bench-flight test-faults soak device-bundle test-service clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*##/\t/' | column -t -s "$$(printf '\t')"

demo: $(VENV)/.agent ## render a flight, run the agent on it, show it live on the page, leave its report in OUT
	$(BIN)/crack-agent demo --flight "$(FLIGHT)" --out "$(OUT)" --overwrite

dev: $(VENV)/.dev ## install what training, export and the checks need

test: $(VENV)/.dev ## every test but the slow ones
	.ci/system mosquitto $(CAMERAS) mosquitto-clients iproute2 openssl g++ binutils systemd $(READERS)
	.ci/trt-bindings $(BIN)/python
	.ci/axe
	$(call by_layer,not slow)

test-agent: $(VENV)/.agent-dev ## the device's tests, without torch: make test-agent PYTHON=python3.10 VENV=.venv-3.10
	.ci/system mosquitto $(CAMERAS) mosquitto-clients iproute2 openssl g++ binutils
	.ci/trt-bindings $(BIN)/python
	$(BIN)/python -m pytest tests/agent -m "not slow"

test-slow: $(VENV)/.dev ## the tests that train: minutes
	$(call by_layer,slow)

test-reconnects: $(VENV)/.dev ## a network camera lost 200 times: memory and file handles stay flat (4 minutes)
	.ci/system $(CAMERAS)
	CRACKSCOUT_TEST_RECONNECTS=200 $(BIN)/python -m pytest tests/agent/capture/test_rtsp.py -k flat -s --show-capture=no

check: format lint types layers test test-slow ## all of CI but the other Pythons

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

mutants: $(VENV)/.dev ## break each loss on purpose and see a test fail
	$(BIN)/python -m tests.support.mutants

test-faults: $(VENV)/.dev ## kills, outages, full disks, broken databases: the long form, about half an hour, with a table
	.ci/system mosquitto mosquitto-clients iproute2 openssl
	rm -f .faults.txt
	CRACKSCOUT_FAULTS_LONG=1 CRACKSCOUT_FAULTS_TABLE="$(CURDIR)/.faults.txt" $(BIN)/python -m pytest \
		tests/agent/deliver/test_faults.py tests/agent/deliver/test_mqtt.py tests/agent/deliver/test_commands.py; \
		status=$$?; cat .faults.txt; exit $$status

test-models: $(VENV)/.dev ## export the papers' networks at full width, one by one, with a table; MODELS="rcf hed" for some of them
	$(BIN)/python -m tests.support.full_width $(MODELS)

soak: $(VENV)/.dev ## half an hour of reports over a link that keeps failing
	.ci/system mosquitto
	$(BIN)/python -m tests.support.soak

test-gpu: $(VENV)/.dev ## what only a GPU can show; not part of CI
	$(BIN)/python -m tests.gpu

bench: $(VENV)/.dev .venv-bench/.peers ## speed, as ratios of one run
	$(BIN)/python -m tests.bench

device-bundle: $(VENV)/.agent ## one folder from which a Jetson is installed without a network: DEVICE_ARGS="--machine x86_64 --python 3.11"
	$(BIN)/python systemd/device_bundle.py --out device-bundle $(DEVICE_ARGS)

test-service: $(VENV)/.dev ## boot the systemd unit in a container, kill it, hang it, take its password: minutes, needs root
	.ci/system mosquitto mosquitto-clients iproute2 openssl systemd-container debootstrap
	$(BIN)/python -m tests.systemd.boot

bench-flight: $(VENV)/.dev ## cracks over frames, coverage and false alarms on a rendered flight of 60 s: half an hour
	$(BIN)/python -m tests.bench.bench_flight

clean:
	rm -rf .venv .venv-* demo runs build device-bundle *.egg-info

$(VENV)/bin/python:
	.ci/venv $(PYTHON) $(VENV)

$(VENV)/.agent: $(VENV)/bin/python pyproject.toml .constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.agent-dev: $(VENV)/bin/python pyproject.toml .constraints.txt
	$(PIP) -e '.[agent-dev]'
	touch $@

# torch first and by itself, so that its build is the one asked for and no later step exchanges it
$(VENV)/.dev: $(VENV)/bin/python pyproject.toml .constraints.txt
	$(PIP) $(TORCH_ARGS) torch torchvision
	$(PIP) -e '.[dev]'
	touch $@

# the libraries that speed is compared with, apart: they bring packages that would replace ours
.venv-bench/.peers: $(VENV)/.dev
	.ci/venv $(PYTHON) .venv-bench
	.venv-bench/bin/python -m pip install -q --disable-pip-version-check -c .constraints.txt $(TORCH_ARGS) torch torchvision
	.venv-bench/bin/python -m pip install -q --disable-pip-version-check -c .constraints.txt -e '.[export]' shapely requests fire terminaltables
	.venv-bench/bin/python -m pip install -q --disable-pip-version-check --no-deps sahi==0.12.8 monai==1.6.1 pybboxes
	touch $@
