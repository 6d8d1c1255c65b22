# SPDX-License-Identifier: Apache-2.0
# Two commands: `make demo` and `make test`. Each sets the checkout up first; a second time that takes a second.
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(if $(shell command -v $(name)),$(name))))
THREADLOG := .venv/bin/threadlog

.PHONY: setup demo test chaos bench curves yardstick down lint

setup:
	@[ -n "$(PYTHON)" ] || { echo "python3.11 is missing. On Debian: apt-get install python3.11 python3.11-venv"; exit 2; }
	@$(PYTHON) -m ops.bootstrap

demo: setup
	$(THREADLOG) demo --fresh

test: setup
	.venv/bin/python -m pytest

# Faults that take minutes to play through, on a stack of their own.
chaos: setup
	.venv/bin/python -m pytest -m chaos

bench: setup
	.venv/bin/python -m bench

# `make curves AXES="threads skew"` measures only these; OPTIONS= leaves a million threads out.
OPTIONS = --long
curves: setup
	.venv/bin/python -m bench.curves $(OPTIONS) $(AXES)

yardstick: setup
	.venv/bin/python -m examples.yardstick

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check --quiet .
	.venv/bin/mypy

down:
	$(THREADLOG) down
