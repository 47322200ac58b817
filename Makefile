# Every target sets up what it needs: Debian packages, the virtual environment from the lock file, BPF objects.
# The distribution's Python first: the unprivileged server must be able to execute it, which a Python under /root prevents.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; print("/usr/bin/python3" if sys.version_info >= (3, 11) else "python3")' 2>/dev/null || echo python3)
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help up demo test test-guests check fmt bench bench-scan bench-see bench-act fuzz docs bpf setup lock golden clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/.ready: requirements.lock pyproject.toml scripts/setup
	@PYTHON="$(PYTHON)" scripts/setup

setup: $(VENV)/.ready bpf ## everything the other targets need

bpf: $(VENV)/.ready ## the kernel part, compiled
	@$(BIN)/python scripts/hatch_build.py > /dev/null

demo: setup ## one image through its whole life on this machine (KEEP=0: do not keep the console)
	@$(BIN)/shipwall demo $(if $(filter 0,$(KEEP)),--no-keep,)

up: setup ## agent and server on this host, observe only
	@$(BIN)/shipwall up

test: setup check ## every test, including engine, registry, kernel and browser
	@$(BIN)/python -m pytest -q

test-guests: setup ## the hooks on Debian's kernels 6.1 and 6.12, in emulated machines
	@command -v qemu-system-x86_64 > /dev/null || apt-get install -y -q --no-install-recommends qemu-system-x86
	@SHIPWALL_GUESTS=1 $(BIN)/python -m pytest -q tests/guests

check: $(VENV)/.ready ## contracts, types, lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > .cache/contracts.txt 2>&1 || { cat .cache/contracts.txt; exit 1; }

fmt: $(VENV)/.ready ## format and mend what can be mended
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

golden: setup ## renew the golden files (read the difference before you commit it)
	@SHIPWALL_RENEW_GOLDEN=1 $(BIN)/python -m pytest -q tests/golden tests/house/test_formats.py

bench: setup ## what the sensor costs and what a scan needs
	@$(BIN)/python -m scripts.bench

bench-scan: $(VENV)/.ready ## what the scanner costs, beside its targets (ROWS="words of a row's name"); makes its images first
	@PYTHONPATH=scripts $(BIN)/python -m bench_scan $(ROWS)

fuzz: $(VENV)/.ready ## hostile bytes for every parser, SECONDS each (default 20)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r scripts/fuzz/requirements.lock
	@PYTHONPATH=scripts:. $(BIN)/python -m fuzz $(TARGETS) --seconds $(or $(SECONDS),20)

bench-see: setup ## what seeing every system call costs, beside targets and peers
	@$(BIN)/python -m scripts.bench see

bench-act: setup ## what is stopped in time, how often it is not, and what that costs
	@$(BIN)/python -m scripts.bench act

docs: setup ## renew the screenshots of the console from a real run of the demo
	@$(BIN)/python scripts/screenshots.py

lock: ## renew requirements.lock
	@scripts/lock

clean: ## remove what the targets above made in this folder
	rm -rf $(VENV) .cache build dist src/shipwall/kernel/objects
